"""A cluster of the test's own, which it installs the operator on and removes it from, as the quickstart says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.build import go
from localcluster.controlplane import ControlPlane
from localcluster.folders import Cache
from localcluster.progress import Silent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def bare() -> Iterator[ControlPlane]:
    """Kubernetes with its controllers, and Istio's kinds."""
    istio = go.build(Cache.from_environment(), go.ISTIO, Silent()) / "crd-all.gen.yaml"
    with ControlPlane(controller_manager=True, manifests=[istio]) as control_plane:
        yield control_plane
