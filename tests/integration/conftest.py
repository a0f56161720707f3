"""A real API server on which the operator is installed as its users install it; one for all of these tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.crd.releases import ROOT, Releases, eventually
from localcluster.build import go
from localcluster.controlplane import ControlPlane
from localcluster.folders import Cache
from localcluster.progress import Silent

OVERLAY = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{base}]
components: [{policy}]
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """deploy/base with the policy on promotions switched on by one line, and a namespace for people to work in."""
    overlay = tmp_path_factory.mktemp("overlay")
    base, policy = (os.path.relpath(ROOT / path, overlay) for path in ("deploy/base", "deploy/policies/promote"))
    (overlay / "kustomization.yaml").write_text(OVERLAY.format(base=base, policy=policy), encoding="utf-8")
    istio = go.build(Cache.from_environment(), go.ISTIO, Silent()) / "crd-all.gen.yaml"
    with ControlPlane(controller_manager=True, manifests=[istio]) as control_plane:
        control_plane.kubectl("apply", "--server-side", "--kustomize", overlay)
        control_plane.kubectl("wait", "--for=condition=Established", "crd/modelreleases.modelrelease.dev")
        control_plane.kubectl("create", "namespace", "vision")
        eventually(lambda: control_plane.kubectl("get", "mr", "--namespace", "vision"))
        eventually(lambda: control_plane.kubectl("explain", "mr"))  # its schema is published a moment later
        yield control_plane


@pytest.fixture
def releases(installed: ControlPlane) -> Releases:
    return Releases(installed)
