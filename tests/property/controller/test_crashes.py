"""A crash before and after every write ends as the run without one: same end, same objects, no invariant broken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from fakes import Write
from modelrelease.api.status import parse_status
from modelrelease.controller.refresh import is_significant
from modelrelease.errors import Conflict, ReleaseError, Retryable
from modelrelease.ports import Kind, Manifest
from simulation import World
from simulation.invariants import footprint, violations
from simulation.world import NAME, NAMESPACE


class Killed(BaseException):
    """The process is gone; nothing may catch it."""


@dataclass(frozen=True, slots=True)
class Story:
    """What a run is made of."""

    name: str
    error_rate: float = 0.0
    starts: bool = True
    delete_at_weight: int | None = None


STORIES = (
    Story("release"),
    Story("rollback", error_rate=1.0),
    Story("failure", starts=False),
    Story("deletion", delete_at_weight=20),
)


@dataclass(frozen=True, slots=True)
class End:
    phase: str
    reason: str
    image: str
    objects: tuple[str, ...]


def _world(story: Story) -> World:
    world = World(seed=3, rps=60)
    world.canary.error_rate, world.canary.starts = story.error_rate, story.starts
    return world


def _calm(_: World) -> None:
    """Nothing goes wrong."""


async def _play(story: Story, prepare: Callable[[World], None]) -> World:
    """The story to its end; a kill restarts the operator a few seconds later."""
    world = _world(story)
    world.deploy_stable(replicas=2)
    await _seconds(world, 40)
    prepare(world)
    world.apply()
    for _ in range(700):
        await _seconds(world, 1)
        if story.delete_at_weight is not None and world.weight == story.delete_at_weight:
            world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME)
            world.wake()
            story = Story(story.name)
        if _is_over(world):
            break
    await _seconds(world, 10)
    return world


async def _seconds(world: World, seconds: int) -> None:
    for _ in range(seconds):
        try:
            await world.second()
        except Killed:
            world.restart()


def _is_over(world: World) -> bool:
    if not world.exists(Kind.MODEL_RELEASE, NAME):
        return True
    return bool(world.status.history) and world.status.phase.is_at_rest


def _end(world: World) -> End:
    stable = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME))
    kinds = (Kind.MODEL_RELEASE, Kind.DEPLOYMENT, Kind.SERVICE, Kind.VIRTUAL_SERVICE)
    objects = sorted(
        f"{kind.name}/{cast(dict[str, Any], found)['metadata']['name']}"
        for kind in kinds
        for found in world.cluster.all(kind)
    )
    image = stable["spec"]["template"]["spec"]["containers"][0]["image"]
    return End(str(world.status.phase), world.status.outcome_reason, image, tuple(objects))


def _worthwhile(world: World) -> list[int]:
    """Numbers of the writes to crash at: all but mere refreshes of figures."""
    chosen = []
    previous: Manifest | None = None
    for write in world.cluster.writes:
        if write.kind is Kind.MODEL_RELEASE and write.manifest is not None:
            before = parse_status(cast(dict[str, Any], previous or {}).get("status"))
            after = parse_status(cast(dict[str, Any], write.manifest).get("status"))
            previous = write.manifest
            if write.verb == "replace_status" and not is_significant(before, after):
                continue
        chosen.append(write.number)
    return chosen


@dataclass
class Fault:
    """Raises once, at one write of the operator, and knows whether it did."""

    number: int
    error: BaseException
    before: bool = True
    happened: bool = False

    def prepare(self, world: World) -> None:
        first = world.cluster.attempts

        def strike(write: Write) -> None:
            if write.number == first + self.number:
                self.happened = True
                raise self.error

        if self.before:
            world.cluster.before_write = strike
        else:
            world.cluster.after_write = strike


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_crash_at_any_write_changes_nothing_but_time(story: Story, before: bool) -> None:
    calm = await _play(story, _calm)
    assert [] == violations(calm.cluster.history)
    numbers = _worthwhile(calm)
    assert len(numbers) >= 6

    for number in numbers:
        fault = Fault(number, Killed(), before=before)
        world = await _play(story, fault.prepare)
        where = f"{story.name}: killed {'before' if before else 'after'} write {number} of {numbers}"
        assert fault.happened, where
        assert _end(calm) == _end(world), where
        assert [] == violations(world.cluster.history), where
        assert footprint(calm.cluster.history) == footprint(world.cluster.history), where
        await asyncio.sleep(0)


@pytest.mark.parametrize("error", [Conflict("somebody was first"), Retryable("503")], ids=["conflict", "retryable"])
async def test_any_write_may_fail_once(error: ReleaseError) -> None:
    story = STORIES[0]
    calm = await _play(story, _calm)

    for number in _worthwhile(calm):
        fault = Fault(number, error)
        world = await _play(story, fault.prepare)
        assert fault.happened, number
        assert _end(calm) == _end(world), f"{error} at write {number}"
        assert [] == violations(world.cluster.history)
