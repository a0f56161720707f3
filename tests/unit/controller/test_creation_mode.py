"""Creation mode from the first apply on: what serves is made, and is said to serve only once it does."""

from __future__ import annotations

from typing import Any

import pytest

from modelrelease.api.status import ConditionStatus, ConditionType, Phase
from modelrelease.ports import Kind
from simulation import World
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, STABLE_IMAGE

TYPO = STABLE_IMAGE.replace("v1.0.0", "v1.0.o")
TEMPLATE: dict[str, Any] = {"spec": {"containers": [{"name": "server"}]}}


def _applied(image: str, template: dict[str, Any] = TEMPLATE) -> World:
    world = World(broken=TYPO)
    workload = {"deployment": NAME, "template": template, "replicas": 3}
    world.apply(image, workload=workload, traffic={"hosts": ["detect.example.com"]})
    return world


def _conditions(world: World) -> dict[ConditionType, ConditionStatus]:
    return {one.type: one.status for one in world.status.conditions}


def _stable(world: World) -> Any:
    return world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME)


async def test_a_first_version_that_does_not_start_is_not_ready() -> None:
    world = _applied(TYPO)
    await world.run(20)

    found = _conditions(world)
    assert (Phase.INITIALIZING, ConditionStatus.FALSE) == (world.status.phase, found[ConditionType.READY])
    assert ConditionStatus.TRUE is not found[ConditionType.SUCCEEDED]
    assert ConditionStatus.FALSE is found[ConditionType.STALLED]
    assert "0 of 3 pods are available" in world.status.message

    await world.run(30)
    assert ConditionStatus.TRUE is _conditions(world)[ConditionType.STALLED]
    assert "ProgressDeadlineExceeded" in world.announcer.reasons


@pytest.mark.parametrize("seconds", [10, 60], ids=["at once", "after the deadline"])
async def test_a_first_version_that_never_served_is_replaced_without_a_release(seconds: int) -> None:
    world = _applied(TYPO)
    await world.run(seconds)
    world.apply(NEW_IMAGE)
    await world.run(30, until=lambda one: one.status.phase is Phase.STABLE)

    assert NEW_IMAGE == _stable(world)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert (ConditionStatus.TRUE, None) == (_conditions(world)[ConditionType.READY], world.status.created_at)
    assert not world.exists(Kind.DEPLOYMENT, f"{NAME}-canary")


async def test_what_has_served_is_replaced_by_a_release_although_it_is_down() -> None:
    world = _applied(STABLE_IMAGE)
    await world.run(20, until=lambda one: one.status.phase is Phase.STABLE)
    world.broken = STABLE_IMAGE
    world.apply(NEW_IMAGE)
    await world.run(30)

    assert STABLE_IMAGE == _stable(world)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert Phase.PREPARING is world.status.phase


@pytest.mark.parametrize("adopted", [False, True], ids=["created", "found"])
async def test_labels_that_contradict_the_selector_do_not_keep_stable_from_its_promotion(adopted: bool) -> None:
    """API servers refuse a template that its own selector does not match; a Service would lose its pods silently."""
    key = "app" if adopted else "app.kubernetes.io/name"
    world = _applied(STABLE_IMAGE, {**TEMPLATE, "metadata": {"labels": {key: "yolov8", "tier": "gpu"}}})
    if adopted:
        world.deploy_stable(3)
    await world.run(60)
    world.apply(NEW_IMAGE)
    await world.run(900, until=lambda one: one.status.phase is Phase.SUCCEEDED)

    spec = _stable(world)["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert "gpu" == labels["tier"]
