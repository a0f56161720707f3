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
