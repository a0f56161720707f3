"""What people get wrong is refused at admission, or said in a condition; traffic is not touched either way."""

from __future__ import annotations

import time
from typing import Any

import pytest

from demo.errors import KubectlError
from demo.manifests import MODEL_RELEASE, VIRTUAL_SERVICE
from demo.waiting import wait_for
from e2e.arena import ANALYSIS, Arena
from modelrelease.api.status import ConditionType, parse_status

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strategy": {"steps": [{"weight": 20}, {"weight": 10}, {"weight": 100}]}}, "increase"),
        ({"strategy": {"steps": [{"weight": 20}, {"weight": 50}]}}, "100"),
        ({"analysis": {"interval": "200ms"}}, "at least 1s"),
        ({"image": "http://registry.example.com/model:v1"}, "no scheme"),
    ],
    ids=["falling-steps", "never-full", "too-often", "scheme"],
)
def test_admission_refuses_with_a_sentence(stage: Any, changes: dict[str, Any], sentence: str) -> None:
    kube = stage.kube("default")
    made = {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "metadata": {"name": "wrong"},
        "spec": {"image": "model:v1", "workload": {"deployment": "model"}, **changes},
    }

    with pytest.raises(KubectlError, match=sentence):
        kube.apply(made)

    assert kube.get(MODEL_RELEASE, "wrong") is None


def test_each_mistake_has_a_condition_that_says_what_to_do(arena: Arena) -> None:
    """Several mistakes one after the other on one ModelRelease, and in the end the right one works."""
    kube, name, began = arena.kube, arena.model.name, time.time()
    kube.apply(arena.manifest("v1.1.0", traffic={"route": "nowhere"}))
    message = wait_stalled(arena)
    assert "'nowhere'; set spec.traffic.route to one that it has: " in message

    kube.patch(MODEL_RELEASE, name, {"spec": {"traffic": {"route": None}}})
    message = wait_stalled(arena, unlike=message)
    assert "has 4 http routes; name the one to split in spec.traffic.route: " in message
    assert "detect" in message

    kube.patch(MODEL_RELEASE, name, {"spec": {"traffic": {"route": "detect"}, "analysis": {"provider": "elsewhere"}}})
    message = wait_stalled(arena, unlike=message)
    assert "'elsewhere'" in message
    assert "set analysis.provider to one that is there: default." in message

    assert_untouched(arena, began)
    kube.patch(MODEL_RELEASE, name, {"spec": {"analysis": {**ANALYSIS, "provider": "default"}}})
    arena.wait_weight(20)
    arena.steer(abort="end of the test")
    arena.wait_weight(0, 20)


def assert_untouched(arena: Arena, since: float) -> None:
    """Nothing of a canary is there, nobody has written the VirtualService, and no client noticed anything."""
    assert arena.canary_objects() == []
    assert arena.kube.get(VIRTUAL_SERVICE, arena.model.name) == arena.ground.original
    arena.assert_no_errors(since)


def wait_stalled(arena: Arena, unlike: str = "") -> str:
    """Message of the condition Stalled once it is true and says something else than before."""

    def message() -> str | None:
        condition = arena.status().condition(ConditionType.STALLED)
        is_new = condition is not None and condition.status == "True" and condition.message != unlike
        return condition.message if condition is not None and is_new else None

    return wait_for("a new message in the condition Stalled", message, 90, seen=arena.conditions)


def test_missing_deployment_is_named(arena: Arena) -> None:
    began = time.time()
    arena.kube.apply(arena.manifest("v1.1.0", workload={"deployment": "not-there"}, traffic={"route": "detect"}))

    message = wait_stalled(arena)

    assert "Deployment 'not-there' does not exist" in message
    assert "create it, or give spec.workload.template" in message
    assert_untouched(arena, began)


def test_the_second_release_for_one_deployment_waits_and_says_for_which(arena: Arena) -> None:
    began = time.time()
    arena.install()
    second = arena.manifest("v1.1.0")
    # Both may be made in the same second: then the name decides which is the older one.
    name = f"{arena.model.name}-second"
    second["metadata"] = {**second["metadata"], "name": name}

    arena.kube.apply(second)

    def conflict() -> str | None:
        found = arena.kube.get(MODEL_RELEASE, name) or {}
        condition = parse_status(found.get("status")).condition(ConditionType.STALLED)
        return condition.message if condition and condition.status == "True" else None

    message = wait_for("the second release to be stalled", conflict, 90)
    assert f"{arena.model.name!r} manages the same Deployment or route already; delete one of the two." in message
    assert_untouched(arena, began)
