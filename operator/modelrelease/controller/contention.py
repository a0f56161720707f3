"""Two ModelReleases for one Deployment or one route: one wins, the other says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.api.status import Phase, parse_status
from modelrelease.controller.specification import specification
from modelrelease.errors import InvalidResource
from modelrelease.ports import Cluster, Key, Kind


@dataclass(frozen=True, slots=True, order=True)
class _Claim:
    """Who claims what; the order in which claims win: under way first, then the older, then by name."""

    is_at_rest: bool
    created: str
    name: str


class Contention:
    """Knows the claims of all releases that were looked at, and asks the API server before a release begins.

    The memory only saves reads at rest; the moment that matters, before anything is created, is decided on a fresh
    list.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._claims: dict[tuple[str, str], set[str]] = {}
        self._of: dict[Key, tuple[tuple[str, str], ...]] = {}

    def remember(self, key: Key, spec: ModelReleaseSpec) -> None:
        """Note what a release claims."""
        claimed = _claimed(key.namespace, spec)
        if self._of.get(key) == claimed:
            return
        self.forget(key)
        self._of[key] = claimed
        for claim in claimed:
            self._claims.setdefault(claim, set()).add(key.name)

    def forget(self, key: Key) -> None:
        """The release is gone."""
        for claim in self._of.pop(key, ()):
            names = self._claims[claim]
            names.discard(key.name)
            if not names:
                del self._claims[claim]

    async def rival(self, key: Key, spec: ModelReleaseSpec, phase: Phase) -> str:
        """Name of the release that wins over `key`; empty where it has the claim."""
        known = {name for claim in _claimed(key.namespace, spec) for name in self._claims.get(claim, ())}
        if phase is not Phase.INITIALIZING and known <= {key.name}:
            return ""
        return await self._winner(key, spec)

    async def _winner(self, key: Key, spec: ModelReleaseSpec) -> str:
        wanted = set(_claimed(key.namespace, spec))
        claims = []
        for manifest in await self._cluster.list(Kind.MODEL_RELEASE, key.namespace):
            body = cast(dict[str, Any], manifest)
            try:
                status = parse_status(body.get("status"))
                other, _ = specification(manifest, status)
            except (InvalidResource, ValueError):
                continue  # what cannot be read cannot do anything, so it claims nothing
            if wanted & set(_claimed(key.namespace, other)):
                metadata = body["metadata"]
                created = str(metadata.get("creationTimestamp", ""))
                claims.append(_Claim(status.phase.is_at_rest, created, metadata["name"]))
        winner = min(claims, default=None)
        return "" if winner is None or winner.name == key.name else winner.name


def _claimed(namespace: str, spec: ModelReleaseSpec) -> tuple[tuple[str, str], ...]:
    return (
        (f"{namespace}/deployment", spec.workload.deployment),
        (f"{namespace}/route", f"{spec.virtual_service_name}#{spec.traffic.route or ''}"),
    )
