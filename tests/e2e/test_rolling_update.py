"""The inference image's own end: Kubernetes replaces its pods, without any release, and no client notices."""

from __future__ import annotations

import time

import pytest

from demo.scenes import STABLE
from demo.waiting import wait_for
from e2e.arena import Arena

pytestmark = pytest.mark.e2e

OTHER = "v1.1.0"


def test_rolling_update_of_the_deployment_loses_no_request(arena: Arena) -> None:
    """One replica, there and back: all traffic moves to a pod that has just started, twice."""
    began = time.time()
    for version in (OTHER, STABLE):
        roll(arena, version)
        arena.wait_clients_get(version)
    arena.traffic.check_alive()
    records = arena.traffic.since(began)

    arena.assert_no_errors(began)
    assert {record.version for record in records} == {STABLE, OTHER}
    assert len(records) >= arena.traffic.rate * (time.time() - began) * 0.9
    assert {record.version for record in arena.traffic.since(time.time() - 1)} == {STABLE}


def roll(arena: Arena, version: str) -> None:
    """Set the Deployment's image, and wait until no pod of another one is left, not even one that is ending."""
    name, image = arena.model.name, arena.image(version)

    def images() -> set[str]:
        pods = arena.kube.list("pods", "-l", f"app={name}")
        return {pod["spec"]["containers"][0]["image"] for pod in pods}

    arena.kube.run("set", "image", f"deployment/{name}", f"serving={image}")
    arena.kube.wait_rolled_out(name, 90)
    wait_for(f"pods of {version} only", lambda: images() == {image}, 60, seen=lambda: str(images()))
