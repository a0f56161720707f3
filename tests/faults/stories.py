"""Runs that end by themselves, and how the end of one with a fault is compared with that of one without."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from faults.checks import footprint
from faults.stage import Scene, Stage, TooLateError
from faults.surroundings import Behaviour

RESTART_SECONDS = 0.3
"""Until the kubelet starts a killed operator anew; its Lease takes longer."""


@dataclass(frozen=True, slots=True)
class Story:
    """What a run is made of."""

    name: str
    canary: Behaviour = field(default_factory=Behaviour)
    delete_at_weight: int | None = None


STORIES = {
    story.name: story
    for story in (
        Story("release"),
        Story("rollback", canary=Behaviour(error_rate=1.0)),
        Story("deletion", delete_at_weight=20),
    )
}


@dataclass(frozen=True, slots=True)
class End:
    """What must be equal, whatever went wrong on the way (I5)."""

    phase: str
    reason: str
    image: str
    left_over: tuple[str, ...]
    footprint: Counter[tuple[str, str, str]] = field(compare=True)


@dataclass(frozen=True, slots=True)
class Run:
    """How one run went."""

    end: End | None
    problems: tuple[str, ...]
    signatures: tuple[str, ...]
    """Of the operator's writes, in order; the n-th of equal ones has `#n` at its end."""
    fault_happened: bool


Prepare = Callable[[Scene], Callable[[], bool]]
"""Sets a fault up, and says afterwards whether it happened."""


async def play(stage: Stage, story: Story, prepare: Prepare | None = None) -> Run:
    """One story to its end, and a moment of rest."""
    async with stage.scene() as scene:
        behaviour = story.canary
        scene.world.canary = Behaviour(behaviour.error_rate, behaviour.latency_ms, behaviour.starts, behaviour.crashes)
        happened = prepare(scene) if prepare is not None else _never
        keeper = asyncio.create_task(keep_running(scene))
        try:
            return await _to_the_end(scene, story, happened)
        except TooLateError as late:
            return Run(None, (str(late),), (), happened())
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)


def _never() -> bool:
    return False


async def _to_the_end(scene: Scene, story: Story, happened: Callable[[], bool]) -> Run:
    await scene.apply()
    if story.delete_at_weight is not None:
        await scene.until(lambda one: one.weight == story.delete_at_weight)
        await scene.delete()
    await scene.until(lambda one: one.is_over)
    writes_at_rest = await scene.rest()
    problems = scene.violations()
    if writes_at_rest:
        last = [asked.signature for _, asked in scene.api.writes[-writes_at_rest:]]
        problems.append(f"I6: writes at rest: {last}")
    if scene.world.lost_requests:
        problems.append(f"{scene.world.lost_requests} requests met no available pod")
    revisions = scene.revisions
    end = End(
        str(scene.status.phase),
        scene.status.outcome_reason,
        scene.stable_image,
        tuple(scene.left_over()),
        footprint(revisions),
    )
    return Run(end, tuple(problems), tuple(numbered([asked.signature for _, asked in scene.api.writes])), happened())


def numbered(signatures: list[str]) -> list[str]:
    """Equal ones told apart by the order in which they came."""
    counts: Counter[str] = Counter()
    found = []
    for signature in signatures:
        counts[signature] += 1
        found.append(f"{signature} #{counts[signature]}")
    return found


async def keep_running(scene: Scene) -> None:
    """The kubelet: an operator that has ended is started again."""
    scene.operator.start()
    while True:
        await asyncio.sleep(0.05)
        if not scene.operator.is_alive:
            await asyncio.sleep(RESTART_SECONDS)
            scene.operator.start()
