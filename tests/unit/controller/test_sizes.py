"""Scenes about how many pods each arm has, where others scale stable as its traffic leaves."""

from __future__ import annotations

from typing import Any, cast

from modelrelease.api.status import Phase
from modelrelease.ports import Kind
from simulation import World
from simulation.world import NAME, NAMESPACE

CANARY = f"{NAME}-canary"
STRATEGY = {
    "steps": [{"weight": weight, "minDuration": "5s"} for weight in (1, 5, 20, 50, 100)],
    "bakeTime": "10s",
    "drainDelay": "5s",
    "progressDeadline": "30s",
}


async def _world(replicas: int, **strategy: Any) -> World:
    made = World(rps=60)
    made.deploy_stable(replicas)
    await made.run(40)
    made.apply(strategy={**STRATEGY, **strategy})
    return made


def _replicas(world: World, name: str) -> int:
    found = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, name))
    return int(found["spec"]["replicas"])


def _scale_stable(world: World, replicas: int) -> None:
    world.touch(Kind.DEPLOYMENT, NAME, lambda body: body["spec"].update(replicas=replicas))


async def test_a_canary_has_the_pods_that_stable_had_where_an_autoscaler_takes_stables_away() -> None:
    world = await _world(10, holdAutoscaler=False)
    least = {50: 10, 100: 10}
    while not world.status.phase.is_at_rest or not world.status.history:
        await world.run(1)
        if world.status.phase in (Phase.PROGRESSING, Phase.BAKING):
            if world.weight in least:
                least[world.weight] = min(least[world.weight], _replicas(world, CANARY))
            wanted = max(2, 10 * (100 - world.weight) // 100)
            if wanted != _replicas(world, NAME):
                _scale_stable(world, wanted)
    assert (Phase.SUCCEEDED, {50: 5, 100: 10}) == (world.status.phase, least)


async def test_a_promotion_in_full_waits_for_the_pods_of_a_stable_that_is_gone() -> None:
    world = await _world(10)
    await world.run(300, until=lambda one: one.weight == 5)
    world.cluster.remove(Kind.DEPLOYMENT, NAMESPACE, NAME)
    world.annotate("promote", "full")
    await world.run(60, until=lambda one: one.weight == 100)
    assert 10 == _replicas(world, CANARY)


def _autoscaler(minimum: int, maximum: int) -> Any:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"minReplicas": minimum, "maxReplicas": maximum, "scaleTargetRef": target},
    }


def _minimum(world: World) -> int:
    found = cast(dict[str, Any], world.cluster.peek(Kind.AUTOSCALER, NAMESPACE, NAME))
    return int(found["spec"]["minReplicas"])


async def test_an_autoscaler_whose_minimum_somebody_lowers_is_held_again_three_times_and_gets_theirs_at_the_end() -> (
    None
):
    world = await _held(minimum=2, maximum=20)
    minimums = []
    for _ in range(4):
        world.touch(Kind.AUTOSCALER, NAME, lambda body: body["spec"].update(minReplicas=3))
        await world.run(2)
        minimums.append(_minimum(world))
    assert [4, 4, 4, 3] == minimums
    assert 3 == world.announcer.reasons.count("AutoscalerChanged")
    await world.run(600, until=lambda one: one.status.phase is Phase.SUCCEEDED)
    assert 3 == _minimum(world)


async def test_what_somebody_lowered_the_minimum_to_is_put_back() -> None:
    world = await _held(minimum=2, maximum=20)
    world.touch(Kind.AUTOSCALER, NAME, lambda body: body["spec"].update(minReplicas=3))
    await world.run(600, until=lambda one: one.status.phase is Phase.SUCCEEDED)
    assert 3 == _minimum(world)


async def test_a_stable_larger_than_its_autoscalers_maximum_is_held_at_that() -> None:
    world = await _held(minimum=2, maximum=3)
    assert 3 == _minimum(world)


async def _held(minimum: int, maximum: int) -> World:
    """A release at its first step, stable having four pods."""
    world = World(rps=60)
    world.deploy_stable(4)
    world.cluster.put(Kind.AUTOSCALER, _autoscaler(minimum, maximum))
    await world.run(40)
    world.apply(strategy=STRATEGY)
    await world.run(300, until=lambda one: one.weight == 1)
    return world
