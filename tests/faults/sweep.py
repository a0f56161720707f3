"""The same run again and again, each time with one fault at another write: before it is applied, and after.

A run without a fault learns the writes. They are known by what they say and not by their number, because how often
figures are refreshed is a matter of time.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from faults.api_proxy import Exchange, Fault, drop, lose_reply, refuse, strike, throttle
from faults.stage import Scene, Stage
from faults.stories import STORIES, End, Prepare, Story, play

MOST_REPETITIONS = 2
"""Of writes that say the same, figures apart, so many are tried."""

FAULTS: dict[str, Callable[[Scene], Fault]] = {
    "killed before": lambda scene: strike(_kill(scene), before=True),
    "killed after": lambda scene: strike(_kill(scene), before=False),
    "reply lost": lambda _: lose_reply,
    "dropped": lambda _: drop,
    "conflict": lambda _: refuse(409, "the object has been modified"),
    "internal error": lambda _: refuse(500),
    "unavailable": lambda _: refuse(503),
    "throttled": lambda _: throttle(1),
}


def _kill(scene: Scene) -> Callable[[], None]:
    return lambda: os.kill(scene.operator.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault at one write of one story."""

    story: Story
    fault: str
    write: str

    def __str__(self) -> str:
        return f"{self.story.name}: {self.fault} {self.write}"


@dataclass
class Sweep:
    """Results so far."""

    calm: dict[str, End] = field(default_factory=dict)
    writes: dict[str, list[str]] = field(default_factory=dict)
    tried: Counter[str] = field(default_factory=Counter)
    not_reached: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        return {
            "writes": {story: len(writes) for story, writes in self.writes.items()},
            "runs": dict(self.tried),
            "not reached": self.not_reached,
            "violations": self.violations,
        }


async def learn(stage: Stage, sweep: Sweep, story: Story) -> None:
    """The run without a fault, which must be in order itself."""
    run = await play(stage, story)
    sweep.violations += [f"{story.name} without a fault: {problem}" for problem in run.problems]
    if run.end is None:
        return
    sweep.calm[story.name] = run.end
    sweep.writes[story.name] = [write for write in run.signatures if int(write.rpartition("#")[2]) <= MOST_REPETITIONS]


def trials(sweep: Sweep, story: Story, faults: tuple[str, ...]) -> Iterator[Trial]:
    for fault in faults:
        for write in sweep.writes.get(story.name, ()):
            yield Trial(story, fault, write)


def _at(trial: Trial) -> Prepare:
    """The fault at the write of this signature."""

    def prepare(scene: Scene) -> Callable[[], bool]:
        signature, _, number = trial.write.rpartition(" #")
        seen = 0

        def matches(asked: Any) -> bool:
            nonlocal seen
            if asked.is_write and not asked.is_lease and asked.signature == signature:
                seen += 1
                return seen == int(number)
            return False

        inner = FAULTS[trial.fault](scene)

        async def fault(exchange: Exchange) -> Any:
            return await inner(exchange)

        rule = scene.api.on(matches, fault)
        return lambda: rule.struck > 0

    return prepare


async def attempt(stage: Stage, sweep: Sweep, trial: Trial) -> list[str]:
    """One trial: what is wrong with it, which also goes into the sweep."""
    run = await play(stage, trial.story, _at(trial))
    sweep.tried[f"{trial.story.name}: {trial.fault}"] += 1
    if not run.fault_happened:
        sweep.not_reached.append(str(trial))
    calm = sweep.calm[trial.story.name]
    found = [f"{trial}: {problem}" for problem in run.problems]
    if run.end is not None and run.end != calm:
        found.append(f"{trial}: I5: ended as {run.end} and not as {calm}")
    sweep.violations += found
    return found


async def run_all(
    stage: Stage, wanted: list[tuple[str, tuple[str, ...]]], side_by_side: int, say: Callable[[Sweep, str], None]
) -> Sweep:
    """All trials of these stories and faults, some at a time; `say` is told of progress and of each violation."""
    sweep = Sweep()
    await asyncio.gather(*(learn(stage, sweep, STORIES[story]) for story, _ in wanted))
    waiting = [trial for story, faults in wanted for trial in trials(sweep, STORIES[story], faults)]
    total = len(waiting)
    say(sweep, f"writes: { {name: len(writes) for name, writes in sweep.writes.items()} }, runs to make: {total}")

    async def work() -> None:
        while waiting:
            trial = waiting.pop(0)
            for violation in await attempt(stage, sweep, trial):
                say(sweep, f"VIOLATION {violation}")
            done = sum(sweep.tried.values())
            if done % 10 == 0:
                say(sweep, f"{done} of {total} runs, {len(sweep.violations)} violations")

    await asyncio.gather(*(work() for _ in range(side_by_side)))
    return sweep
