"""Releases back to back, good and bad, with faults, by one operator that is never restarted: does anything pile up?"""

from __future__ import annotations

import asyncio
import random
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from faults.api_proxy import drop, lose_reply, refuse, throttle
from faults.manifests import NEW_IMAGE, NEWER_IMAGE
from faults.metrics_proxy import LIES
from faults.stage import Scene, Stage
from modelrelease.api.status import Phase

SAMPLE_SECONDS = 10.0
SETTLED_SECONDS = 300.0
"""From here on memory counts: caches and pools are filled."""
GROWTH_ALLOWED = 0.05
_FAULTS = (drop, lose_reply, refuse(409), refuse(500), refuse(503), throttle(1))
_LIES = ("refused", "empty", "html", "nan")


@dataclass
class Soak:
    """What was counted."""

    releases: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    violations: list[str] = field(default_factory=list)
    samples: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    served_requests: int = 0
    lost_requests: int = 0

    def growth(self) -> float | None:
        """Of RSS, from the first sample after the settling to the highest of the last quarter; None for short runs."""
        later = [values["rss_mib"] for at, values in self.samples if at >= SETTLED_SECONDS]
        if len(later) < 8:
            return None
        return max(later[-len(later) // 4 :]) / later[0] - 1

    def report(self) -> dict[str, Any]:
        names = sorted({name for _, values in self.samples for name in values})
        ranges = {name: self._range(name) for name in names}
        growth = self.growth()
        return {
            "releases": dict(self.releases),
            "faults": self.faults,
            "violations": self.violations,
            "served requests": self.served_requests,
            "lost requests": self.lost_requests,
            "first, highest, last": ranges,
            "RSS growth after 5 minutes": None if growth is None else round(growth, 4),
        }

    def _range(self, name: str) -> list[float]:
        values = [round(sample[name], 1) for _, sample in self.samples if name in sample]
        return [values[0], max(values), values[-1]]


async def run(stage: Stage, minutes: float, seed: int, say: Callable[[str], None]) -> Soak:
    """One scene for so long."""
    soak, chance, began = Soak(), random.Random(seed), monotonic()  # noqa: S311 - repeatable
    async with stage.scene() as scene:
        scene.operator.start()
        sampling = asyncio.create_task(_sample(scene, soak, began))
        while monotonic() - began < minutes * 60:
            await _one_release(scene, soak, chance)
            say(
                f"{soak.releases.total()} releases {dict(soak.releases)}, {soak.faults} faults, "
                f"{len(soak.violations)} violations, {soak.lost_requests} lost requests, "
                f"{soak.samples[-1][1] if soak.samples else ''}"
            )
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        soak.served_requests, soak.lost_requests = scene.world.served_requests, scene.world.lost_requests
    growth = soak.growth()
    if growth is not None and growth > GROWTH_ALLOWED:
        soak.violations.append(f"RSS grew by {growth:.1%} after the first {SETTLED_SECONDS / 60:g} minutes")
    if soak.lost_requests:
        soak.violations.append(f"{soak.lost_requests} requests met no available pod")
    return soak


async def _one_release(scene: Scene, soak: Soak, chance: random.Random) -> None:
    """A version that differs from stable's, good or bad, under a few faults."""
    is_bad = chance.random() < 0.3
    scene.world.canary.error_rate = 1.0 if is_bad else 0.0
    image = NEWER_IMAGE if scene.stable_image == NEW_IMAGE else NEW_IMAGE
    env = [{"name": "ATTEMPT", "value": str(soak.releases.total())}]
    known = _last_end(scene)
    await scene.apply(image, env=env)
    disturbing = asyncio.create_task(_disturb(scene, soak, chance))
    try:
        await scene.until(lambda one: _last_end(one) > known)
    finally:
        disturbing.cancel()
        await asyncio.gather(disturbing, return_exceptions=True)
        scene.metrics.tell(None)
        scene.api.rules.clear()
    await scene.until(lambda one: one.is_over)
    writes_at_rest = await scene.rest(1.0)
    wanted = Phase.ROLLED_BACK if is_bad else Phase.SUCCEEDED
    found = scene.violations()
    if scene.status.phase is not wanted:
        found.append(f"ended {scene.status.phase} and not {wanted}: {scene.status.message}")
    if writes_at_rest:
        found.append(f"I6: {writes_at_rest} writes at rest")
    found += [f"left over: {one}" for one in scene.left_over()]
    soak.violations += [f"release {soak.releases.total() + 1}: {one}" for one in found]
    soak.releases[str(scene.status.phase)] += 1
    soak.lost_requests = scene.world.lost_requests
    scene.recorder.trim(scene.namespace)


def _last_end(scene: Scene) -> float:
    return max((entry.finished_at for entry in scene.status.history), default=0.0)


async def _disturb(scene: Scene, soak: Soak, chance: random.Random) -> None:
    """Now and then something fails; Prometheus for a moment only."""
    while True:
        await asyncio.sleep(chance.uniform(1.0, 4.0))
        soak.faults += 1
        what = chance.random()
        if what < 0.7:
            scene.api.on(lambda asked: asked.is_write and not asked.is_lease, chance.choice(_FAULTS))
        elif what < 0.85:
            scene.api.cut_watches()
        else:
            scene.metrics.tell(LIES[chance.choice(_LIES)])
            await asyncio.sleep(1.0)
            scene.metrics.tell(None)


async def _sample(scene: Scene, soak: Soak, began: float) -> None:
    while True:
        await asyncio.sleep(SAMPLE_SECONDS)
        tasks = await asyncio.to_thread(_tasks, scene.operator.metrics_port)
        soak.samples.append((monotonic() - began, {**scene.operator.resources(), "tasks": tasks}))


def _tasks(port: int) -> float:
    """What the operator says of itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("modelrelease_tasks "))
