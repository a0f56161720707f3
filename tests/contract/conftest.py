"""Worlds that the contract suites run in: the fakes, and a real API server with Istio's resource definitions."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from contract.world import UNSERVED, World
from fakes import FakeCluster
from modelrelease.adapters.cluster import ApiServer, KubernetesCluster

_ROOT = Path(__file__).parents[2]

if TYPE_CHECKING:
    from localcluster.controlplane import ControlPlane

_ISTIO_KINDS = tuple(f"{kind}.networking.istio.io" for kind in ("virtualservices", "destinationrules", "gateways"))


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    from localcluster.controlplane import ControlPlane  # noqa: PLC0415 - only integration tests need it

    with ControlPlane(manifests=[_ROOT / "crds" / "modelreleases.modelrelease.dev.yaml"]) as started:
        started.apply(_istio_definitions())
        yield started


@pytest_asyncio.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    namespaces = f"test-{uuid.uuid4().hex[:8]}", f"test-{uuid.uuid4().hex[:8]}"
    if request.param == "fake":
        cluster = FakeCluster(unserved={UNSERVED})
        yield World(cluster, *namespaces, lambda allowed: _gated(cluster, allowed))
        return
    started: ControlPlane = request.getfixturevalue("control_plane")
    started.apply("\n---\n".join(map(_namespace, namespaces)))
    server = await ApiServer.connect(kubeconfig=started.kubeconfig)
    yield World(
        KubernetesCluster(server),
        *namespaces,
        lambda allowed: KubernetesCluster(server, write_seconds=lambda: 10.0 if allowed() else 0.0),
    )
    await server.close()


def _namespace(name: str) -> str:
    """With the account that pods must have and that nobody makes here: there is no controller manager."""
    account = f"{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: default, namespace: {name}}}}}"
    return f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}\n---\n{account}"


def _gated(cluster: FakeCluster, allowed: Callable[[], bool]) -> FakeCluster:
    cluster.writes_allowed = allowed
    return cluster


def _istio_definitions() -> str:
    """Istio's own definitions of the kinds that are written, so that what is written is valid to Istio."""
    from localcluster.blueprint import custom_resources  # noqa: PLC0415
    from localcluster.folders import Cache  # noqa: PLC0415

    path = custom_resources(Cache.from_environment())
    if not path.exists():
        pytest.fail("Istio's resource definitions are not in the cache; `make demo` builds them")
    documents = path.read_text(encoding="utf-8").split("\n---\n")
    return "\n---\n".join(one for one in documents if any(f"name: {kind}" in one for kind in _ISTIO_KINDS))
