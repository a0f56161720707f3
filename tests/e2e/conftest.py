"""The cluster with the operator for the whole session, and a served model under load for each test.

Whoever runs these tests finds the cluster as it was configured: what is up stays up. Several workers may do so at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pytest

from demo.manifests import Model
from demo.scenes import TURNS_BAD, VERSIONS
from demo.stage import Stage, set_up
from e2e.arena import Arena, arena_in
from localcluster.progress import Silent


@pytest.fixture(scope="session")
def stage() -> Stage:
    """Cluster, images and operator as this checkout has them."""
    return set_up((*VERSIONS, TURNS_BAD), Silent())


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Model:
    """Names of the test's own: a namespace and a host."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    digest = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:6]  # long names differ at their end
    name = f"e2e-{words[:36].strip('-')}-{digest}"
    return Model(name, f"{name}.example.com")


@pytest.fixture
def arena(stage: Stage, model: Model) -> Iterator[Arena]:
    """v1.0.0 serves, pictures come in, and nothing is released yet."""
    with arena_in(stage, model) as made:
        yield made
