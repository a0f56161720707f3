"""What a contract test is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modelrelease.ports import Cluster, Kind

UNSERVED = Kind.AUTHORIZATION_POLICY
"""A kind that no world serves."""


@dataclass(frozen=True)
class World:
    """A cluster behind the port, with an empty namespace for this test."""

    cluster: Cluster
    namespace: str
    other_namespace: str
    only_if: Callable[[Callable[[], bool]], Cluster]
    """The same cluster for a writer that asks first."""
