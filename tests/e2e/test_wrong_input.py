"""What people get wrong is refused at admission, or said in a condition; traffic is not touched either way."""

from __future__ import annotations

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
    kube, name = arena.kube, arena.model.name
    before = arena.ground.routes.latest
    assert before is not None
    kube.apply(arena.manifest("v1.1.0", traffic={"route": "nowhere"}))
    message = wait_stalled(arena)
    assert "nowhere" in message

    kube.patch(MODEL_RELEASE, name, {"spec": {"traffic": {"route": None}}})
    message = wait_stalled(arena, unlike=message)
    assert "detect" in message  # several routes, and none is named

    kube.patch(MODEL_RELEASE, name, {"spec": {"traffic": {"route": "detect"}, "analysis": {"provider": "elsewhere"}}})
    message = wait_stalled(arena, unlike=message)
    assert "elsewhere" in message

    assert arena.canary_objects() == []
    assert (kube.get(VIRTUAL_SERVICE, name) or {})["spec"] == before["spec"]
    kube.patch(MODEL_RELEASE, name, {"spec": {"analysis": {**ANALYSIS, "provider": "default"}}})
    arena.wait_weight(20)
    arena.steer(abort="end of the test")
    arena.wait_weight(0, 20)


def wait_stalled(arena: Arena, unlike: str = "") -> str:
    """Message of the condition Stalled once it is true and says something else than before."""

    def message() -> str | None:
        condition = arena.status().condition(ConditionType.STALLED)
        is_new = condition is not None and condition.status == "True" and condition.message != unlike
        return condition.message if condition is not None and is_new else None

    return wait_for("a new message in the condition Stalled", message, 90, seen=arena.conditions)


def test_missing_deployment_is_named(arena: Arena) -> None:
    arena.kube.apply(arena.manifest("v1.1.0", workload={"deployment": "not-there"}, traffic={"route": "detect"}))

    assert "not-there" in wait_stalled(arena)
    assert arena.canary_objects() == []


def test_the_second_release_for_one_deployment_waits_and_says_for_which(arena: Arena) -> None:
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

    assert arena.model.name in wait_for("the second release to be stalled", conflict, 90)
    assert arena.weight() == 0
    assert arena.canary_objects() == []
