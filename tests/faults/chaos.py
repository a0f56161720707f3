"""Random schedules on the real API server: what people do, what the world does, and faults, from one seed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from faults.api_proxy import Fault, drop, lose_reply, refuse, throttle
from faults.manifests import CANARY, NAME, NEW_IMAGE, NEWER_IMAGE, OLD_IMAGE
from faults.metrics_proxy import LIES
from faults.stage import Scene, Stage, TooLateError
from faults.stories import keep_running
from faults.writes import Asked
from modelrelease.api.status import Phase
from modelrelease.ports import Kind

MOST_ACTIONS = 7
QUICK_LIES = ("refused", "empty", "nan", "old", "html", "status-error")
Act = Callable[[Scene, random.Random], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happened under one seed; `problems` is empty where all was well."""

    seed: int
    actions: tuple[str, ...]
    problems: tuple[str, ...]
    end: str


async def play(stage: Stage, seed: int) -> Schedule:
    """One schedule to the calm after it. Times are real, so a replay is the same only in what is done."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    actions: list[str] = []
    async with stage.scene(replicas=chance.choice((1, 2))) as scene:
        keeper = asyncio.create_task(keep_running(scene))
        try:
            await scene.apply()
            for _ in range(chance.randint(2, MOST_ACTIONS)):
                await asyncio.sleep(chance.uniform(0.2, 4.0))
                actions.append(await chance.choice(ACTIONS)(scene, chance))
            await _calm(scene)
            end = f"{scene.status.phase} {scene.status.outcome_reason}".strip()
            return Schedule(seed, tuple(actions), tuple(await _problems(scene)), end)
        except TooLateError as late:
            return Schedule(seed, tuple(actions), (str(late),), "")
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)


async def _calm(scene: Scene) -> None:
    """All faults end; what stands is promoted, and then nobody does anything more."""
    scene.api.rules.clear()
    scene.api.mend()
    scene.api.alter_event = None
    scene.metrics.tell(None)
    scene.world.canary.error_rate = scene.world.stable.error_rate = 0.0
    scene.world.canary.crashes, scene.world.canary.starts = False, True
    if scene.manifest(Kind.VIRTUAL_SERVICE) is None:
        await _restore_route(scene)
    if scene.manifest(Kind.MODEL_RELEASE) is not None:
        await scene.kube.merge(Kind.MODEL_RELEASE, scene.namespace, NAME, {"spec": {"paused": False}})
        await scene.annotate("resume", "true")
        await asyncio.sleep(1)
        if not scene.is_over:
            await scene.annotate("promote", "full")
    await scene.until(_is_calm)


def _is_calm(scene: Scene) -> bool:
    """At rest and not about to begin: Initializing is an end only where there is nothing to release."""
    release = scene.manifest(Kind.MODEL_RELEASE)
    if release is None:
        return scene.manifest(Kind.DEPLOYMENT, CANARY) is None
    phase = scene.status.phase
    return phase.is_at_rest and phase is not Phase.INITIALIZING and not release["metadata"].get("finalizers")


async def _problems(scene: Scene) -> list[str]:
    writes_at_rest = await scene.rest(1.5)
    found = scene.violations()
    if writes_at_rest:
        last = [asked.signature for _, asked in scene.api.writes[-writes_at_rest:]]
        found.append(f"I6: writes at rest: {last}")
    return [*found, *(f"left over: {one}" for one in scene.left_over())]


# --- what people do


async def _ask(scene: Scene, chance: random.Random) -> str:
    image = chance.choice((NEW_IMAGE, NEWER_IMAGE, OLD_IMAGE))
    await scene.apply(image)
    return f"ask for {image}"


async def _annotate(scene: Scene, chance: random.Random) -> str:
    wishes = (("promote", "next"), ("promote", "full"), ("abort", "it smells"), ("retry", "true"), ("pause", "true"))
    name, value = chance.choice((*wishes, ("resume", "true")))
    await scene.annotate(name, value)
    return f"annotate {name}={value}"


async def _delete(scene: Scene, chance: random.Random) -> str:
    await scene.delete()
    seconds = chance.choice((0.0, 0.5, 8.0))
    await asyncio.sleep(seconds)
    if chance.random() < 0.5:
        await scene.until(lambda one: one.manifest(Kind.MODEL_RELEASE) is None)
        await scene.apply()
        return f"delete, {seconds} s, and apply again"
    return "delete"


# --- what the world does


async def _canary(scene: Scene, chance: random.Random) -> str:
    how = chance.choice(("failing", "crashing", "slow to start", "well"))
    scene.world.canary.error_rate = 1.0 if how == "failing" else 0.0
    scene.world.canary.crashes = how == "crashing"
    scene.world.start_seconds = 3.0 if how == "slow to start" else 0.3
    return f"the canary is {how}"


async def _meddle(scene: Scene, chance: random.Random) -> str:
    how = chance.choice(("delete", "scale", "image"))
    if how == "delete":
        await scene.delete(Kind.DEPLOYMENT, CANARY)
    else:
        container = {"name": "server", "image": "somebody/else:v0"}
        image = {"template": {"spec": {"containers": [container]}}}
        patch = {"spec": {"replicas": 0} if how == "scale" else image}
        await scene.kube.merge(Kind.DEPLOYMENT, scene.namespace, CANARY, patch)
    return f"meddle with the canary: {how}"


async def _weights(scene: Scene, chance: random.Random) -> str:
    weight = chance.choice((0, 7, 70))
    if scene.weight:
        await scene.set_weights(100 - weight, weight)
    return f"somebody sets the weight to {weight}"


async def _lose_route(scene: Scene, chance: random.Random) -> str:
    seconds = chance.choice((0.5, 4.0))
    await scene.delete(Kind.VIRTUAL_SERVICE)
    await asyncio.sleep(seconds)
    await _restore_route(scene)
    return f"no route for {seconds} s"


async def _restore_route(scene: Scene) -> None:
    await scene.until(lambda one: one.manifest(Kind.VIRTUAL_SERVICE) is None)
    await scene.serve_route()
    await scene.until(lambda one: one.manifest(Kind.VIRTUAL_SERVICE))


# --- faults


async def _kill(scene: Scene, _: random.Random) -> str:
    if scene.operator.is_alive:
        os.kill(scene.operator.pid, signal.SIGKILL)
    return "kill the operator"


async def _freeze(scene: Scene, chance: random.Random) -> str:
    seconds = chance.choice((1.0, 8.0))
    if scene.operator.is_alive:
        scene.operator.freeze()
        await asyncio.sleep(seconds)
        scene.operator.wake()
    return f"freeze the operator for {seconds} s"


FAULTS: dict[str, Fault] = {
    "drop": drop,
    "lose the reply of": lose_reply,
    "refuse with 409": refuse(409, "the object has been modified"),
    "refuse with 500": refuse(500),
    "refuse with 403": refuse(403, "not you"),
    "throttle": throttle(1),
}


def _is_write(asked: Asked) -> bool:
    return asked.is_write and not asked.is_lease


async def _fail_writes(scene: Scene, chance: random.Random) -> str:
    name, times = chance.choice(sorted(FAULTS)), chance.randint(1, 3)
    scene.api.on(_is_write, FAULTS[name], times)
    return f"{name} the next {times} writes"


async def _cut(scene: Scene, chance: random.Random) -> str:
    seconds = chance.choice((1.0, 7.0))
    scene.api.cut()
    await asyncio.sleep(seconds)
    scene.api.mend()
    return f"cut the API server off for {seconds} s"


async def _cut_watches(scene: Scene, _: random.Random) -> str:
    scene.api.cut_watches()
    return "cut the watches"


async def _lie(scene: Scene, chance: random.Random) -> str:
    lie = chance.choice(QUICK_LIES)
    scene.metrics.tell(LIES[lie])
    await asyncio.sleep(chance.uniform(0.5, 3.0))
    if chance.random() < 0.7:
        scene.metrics.tell(None)
        return f"Prometheus lies for a moment: {lie}"
    return f"Prometheus lies from now on: {lie}"


ACTIONS: tuple[Act, ...] = (
    _ask, _annotate, _annotate, _delete, _canary, _canary, _meddle, _weights, _lose_route,
    _kill, _kill, _freeze, _fail_writes, _fail_writes, _cut, _cut_watches, _lie,
)  # fmt: skip


async def play_many(
    stage: Stage, seeds: list[int], side_by_side: int, told: tuple[list[Schedule], Callable[[str], None]]
) -> None:
    """Some at a time; each is put into the list when it is done, and what is wrong with one is said at once."""
    waiting, (done, say) = list(seeds), told

    async def work() -> None:
        while waiting:
            schedule = await play(stage, waiting.pop(0))
            done.append(schedule)
            for problem in schedule.problems:
                say(f"VIOLATION seed {schedule.seed} (make campaign SEED={schedule.seed} WORLD=real): {problem[:500]}")
            if len(done) % 5 == 0:
                say(f"{len(done)} of {len(seeds)} schedules, {sum(bool(one.problems) for one in done)} with violations")

    await asyncio.gather(*(work() for _ in range(side_by_side)))
