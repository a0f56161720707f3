"""Random schedules on the fakes: the whole controller, thousands of times, each repeated exactly by its seed."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from modelrelease.api.status import Phase
from modelrelease.errors import Conflict, Forbidden, Retryable, Throttled
from modelrelease.ports import Kind
from simulation.history import CANARY, IMAGES, RESHAPED, WISHES, History, Killed
from simulation.world import NAME

MOST_ACTIONS = 12
_CHUNK = 4
BEGINNINGS = (
    Phase.PREPARING, Phase.PROGRESSING, Phase.BAKING, Phase.PROMOTING, Phase.ROLLING_BACK, Phase.SUCCEEDED,
)  # fmt: skip
"""Where the trouble begins: left to chance alone, few schedules would leave the first step."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happened under one seed; `problem` is empty where all was well. `phases` are those before the calm, in which
    nothing goes wrong any more."""

    seed: int
    actions: tuple[str, ...]
    problem: str
    end: str
    phases: frozenset[str]


def play(seed: int) -> Schedule:
    """A schedule from its beginning to the calm after it."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    happened: Counter[str] = Counter()
    actions: list[str] = []
    spec = _spec(chance)
    history = History(lambda what: happened.update([what]), seed=seed, rps=chance.choice((20, 60)), spec=spec)
    try:
        history.begin(chance.choice((1, 3)), chance.choice(BEGINNINGS))
        for _ in range(chance.randint(3, MOST_ACTIONS)):
            name, act = _action(chance, history)
            actions.append(name)
            act()
            history.nothing_is_broken()
        phases = _phases(happened)
        history.end()
    except Exception:  # noqa: BLE001 - whatever it is, it belongs to this seed
        return Schedule(seed, tuple(actions), traceback.format_exc(limit=-2), "", _phases(happened))
    end = next((what for what in happened if what.startswith("end ")), "end nothing begun")
    return Schedule(seed, tuple(actions), "", end.removeprefix("end "), phases)


def _phases(happened: Counter[str]) -> frozenset[str]:
    return frozenset(what.removeprefix("phase ") for what in happened if what.startswith("phase "))


def _spec(chance: random.Random) -> dict[str, Any]:
    """How this schedule releases: any strategy that a user may write, with short times."""
    weights = chance.choice(((1, 5, 20, 50, 100), (20, 100), (100,), (1, 50, 100)))
    steps = [{"weight": weight, "minDuration": chance.choice(("1s", "5s"))} for weight in weights]
    if chance.random() < 0.2:
        chance.choice(steps)["approval"] = True
    strategy: dict[str, Any] = {
        "steps": steps,
        "advance": chance.choice(("Evidence", "Time")),
        "bakeTime": chance.choice(("0s", "10s")),
        "drainDelay": chance.choice(("0s", "5s")),
        "progressDeadline": "30s",
    }
    if chance.random() < 0.3:
        strategy["canaryReplicas"] = chance.choice((1, 3))
    if chance.random() < 0.3:
        strategy |= {"stepDeadline": "20s", "onStepDeadline": chance.choice(("Hold", "Rollback", "Promote"))}
    if chance.random() < 0.2:
        strategy["holdAutoscaler"] = False
    analysis = {
        "interval": "1s",
        "lag": "1s",
        "warmUp": "0s",
        "harmBudget": 0.02,
        "errorRate": {"maxIncrease": 0.01},
        "latencyP99": {"maxRatio": 2.0},
        "minRequests": chance.choice((1, 50)),
    }
    traffic = {"route": "primary"} if chance.random() < 0.5 else {}
    return {"strategy": strategy, "analysis": analysis, "traffic": traffic}


def _action(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    """The next thing that happens: one that is possible now."""
    exists = history.world.exists
    possible: list[Callable[[random.Random, History], tuple[str, Callable[[], None]]]] = [
        _ask, _canary, _canary, _scale, _prometheus, _hide, _restart, _kill, _kill, _refuse, _refuse, _wait, _wait,
    ]  # fmt: skip
    if exists(Kind.MODEL_RELEASE, NAME):
        possible += [_annotate, _annotate, _pause, _delete]
    if exists(Kind.DEPLOYMENT, CANARY):
        possible += [_meddle]
    if exists(Kind.VIRTUAL_SERVICE, NAME):
        possible += [_weights, _lose_route, _reshape_route]
    return chance.choice(possible)(chance, history)


def _ask(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    image, value = chance.choice(IMAGES), chance.choice((None, "a", "b"))
    return f"ask for {image} with {value}", lambda: history.ask_for(image, value)


def _canary(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    how = chance.choice(("well", "well", "crashing", "not starting", "failing"))
    return f"the canary is {how}", lambda: history.the_canary_is(how)


def _scale(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    replicas = chance.choice((0, 1, 3, 4))
    return f"scale stable to {replicas}", lambda: history.scale_stable(replicas)


def _prometheus(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    down = chance.random() < 0.5
    return f"Prometheus is {'down' if down else 'up'}", lambda: history.prometheus(down)


def _hide(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    kind, seconds = chance.choice((Kind.POD, Kind.DEPLOYMENT, Kind.VIRTUAL_SERVICE)), chance.choice((3, 30))
    return f"no {kind.value.plural} for {seconds} s", lambda: history.hide(kind, seconds)


def _restart(_: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    return "restart", history.restart


def _kill(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    number, before = chance.randint(1, 5), chance.random() < 0.5
    name = f"kill {'before' if before else 'after'} write {number}"
    return name, lambda: history.fail_a_write(number, Killed(), before=before)


def _refuse(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    number, before = chance.randint(1, 5), chance.random() < 0.5
    errors = (Conflict("somebody was first"), Retryable("503"), Throttled("429", 3.0), Forbidden("not you"))
    error = chance.choice(errors)
    name = f"{type(error).__name__} {'before' if before else 'after'} write {number}"
    return name, lambda: history.fail_a_write(number, error, before=before)


def _wait(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    seconds = chance.choice((5, 20, 40))
    return f"wait {seconds} s", lambda: history.wait(seconds)


def _annotate(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    wish = chance.choice(WISHES)
    return f"annotate {wish[0]}={wish[1]}", lambda: history.annotate(wish)


def _pause(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    paused = chance.random() < 0.5
    return f"paused: {paused}", lambda: history.pause(paused)


def _delete(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    seconds, force = chance.choice((0, 2, 30)), chance.random() < 0.3
    return f"delete{' by force' if force else ''}, and {seconds} s", lambda: history.delete(seconds, force=force)


def _meddle(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    how = chance.choice(("delete", "scale", "image"))
    return f"meddle with the canary: {how}", lambda: history.meddle_with_the_canary(how)


def _weights(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    weight = chance.choice((None, 0, 7, 70))
    return f"somebody sets the weight to {weight}", lambda: history.meddle_with_the_route(weight)


def _lose_route(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    seconds = chance.choice((2, 40))
    return f"no route for {seconds} s", lambda: history.lose_the_route(seconds)


def _reshape_route(chance: random.Random, history: History) -> tuple[str, Callable[[], None]]:
    how, seconds = chance.choice(sorted(RESHAPED)), chance.choice((2, 40))
    return f"the route is reshaped ({how}) for {seconds} s", lambda: history.reshape_the_route(how, seconds)


def play_many(first: int, count: int, processes: int, say: Callable[[str], None]) -> Iterator[Schedule]:
    """`count` schedules, side by side; what is wrong with one is said at once."""
    done = bad = 0
    with ProcessPoolExecutor(processes) as pool:
        for schedule in pool.map(play, range(first, first + count), chunksize=_CHUNK):
            done += 1
            if schedule.problem:
                bad += 1
                say(f"VIOLATION seed {schedule.seed} (make campaign SEED={schedule.seed}): {schedule.problem[:600]}")
            if done % 100 == 0:
                say(f"{done} of {count} schedules, {bad} with violations")
            yield schedule
