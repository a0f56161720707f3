"""Things that happen to a release while it runs."""

from __future__ import annotations

import pytest

from demo.manifests import MODEL_RELEASE
from demo.waiting import wait_for
from e2e.arena import ANALYSIS, HOLD_FIRST, Arena

pytestmark = pytest.mark.e2e


def test_deleting_the_release_in_its_middle_leaves_stable_alone_and_nothing_behind(arena: Arena) -> None:
    arena.install(HOLD_FIRST)
    began = arena.start("v1.1.0")
    arena.wait_weight(20)
    arena.wait_clients_get("v1.1.0")

    arena.kube.delete(MODEL_RELEASE, arena.model.name, timeout_seconds=60)

    assert arena.canary_objects() == []
    latest = arena.ground.routes.latest
    assert latest is not None
    assert latest["spec"] == arena.ground.original["spec"]
    assert arena.shares("v1.1.0", 1) == 0
    arena.assert_no_errors(began)
    assert arena.kube.get("deployment", arena.model.name) is not None


def test_weights_that_somebody_else_wrote_are_put_right(arena: Arena) -> None:
    arena.install(HOLD_FIRST)
    arena.start("v1.1.0")
    arena.wait_weight(20)
    wait_for("the operator to have read its weight back", lambda: arena.status().confirmed_weight == 20, 60)
    latest = arena.ground.routes.latest
    assert latest is not None
    http = latest["spec"]["http"]
    for route in http:
        if route["name"] == "detect":
            route["route"][0]["weight"], route["route"][1]["weight"] = 30, 70

    arena.kube.patch("virtualservices.networking.istio.io", arena.model.name, {"spec": {"http": http}})

    assert "70" in arena.wait_event("WeightChanged")
    arena.wait_weight(20, 60)
    arena.steer(abort="end of the test")
    arena.wait_weight(0, 20)


def test_canary_whose_pod_is_deleted_loses_its_traffic_and_gets_it_back(arena: Arena) -> None:
    # Requests that the pod loses as it goes, more on a busy machine, must not end the release here.
    arena.install(HOLD_FIRST, {**ANALYSIS, "errorRate": {"maxIncrease": 0.9}})
    began = arena.start("v1.1.0")
    arena.wait_weight(20)
    arena.wait_clients_get("v1.1.0")
    (pod,) = arena.kube.pods(f"app={arena.model.canary}")

    arena.kube.delete("pod", pod["metadata"]["name"], wait=False)

    arena.wait_weight(0, 15)
    arena.wait_weight(20)
    arena.assert_no_errors(began, of_stable=True)
    arena.steer(abort="end of the test")
    arena.wait_weight(0, 20)
