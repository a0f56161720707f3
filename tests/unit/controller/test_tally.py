"""What is counted of decisions: each once, with its outcome and reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from modelrelease.api.status import Phase
from modelrelease.controller.tally import tally
from simulation import Canary, World
from simulation.looks import NOW, spec_of, status_of

Counted = Callable[[str], dict[tuple[str, ...], float]]


def _samples(name: str, *labels: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == name
    }


@pytest.fixture
def counted() -> Counted:
    """What was counted since the test began, by labels."""
    names = {
        "modelrelease_decisions_total": ("outcome", "reason"),
        "modelrelease_step_seconds_count": ("outcome",),
        "modelrelease_step_seconds_sum": ("outcome",),
        "modelrelease_release_seconds_count": ("outcome",),
    }
    before = {name: _samples(name, *labels) for name, labels in names.items()}

    def since(name: str) -> dict[tuple[str, ...], float]:
        name = f"modelrelease_{name}"
        now = _samples(name, *names[name])
        return {key: value - before[name].get(key, 0) for key, value in now.items() if value != before[name].get(key)}

    return since


async def begun(canary: Canary | None = None, **spec: object) -> World:
    world = World(canary=canary or Canary())
    world.deploy_stable()
    await world.run(60)
    world.apply(**spec)
    return world


def _ended(world: World) -> bool:
    return bool(world.status.history) and world.status.phase.is_at_rest


async def test_a_good_version(counted: Counted) -> None:
    world = await begun()
    await world.run(900, until=_ended)
    assert {
        ("Started", "CanaryAvailable"): 1,
        ("Advanced", "Evidence"): 4,
        ("Succeeded", "Succeeded"): 1,
    } == counted("decisions_total")
    assert {("Advanced",): 5} == counted("step_seconds_count"), "the bake is the fifth"
    assert {("Succeeded",): 1} == counted("release_seconds_count")
    entry = world.status.history[0]
    assert 0 < counted("step_seconds_sum")["Advanced",] < entry.finished_at - entry.started_at


async def test_a_bad_version(counted: Counted) -> None:
    world = await begun(Canary(error_rate=0.5))
    await world.run(900, until=_ended)
    assert world.status.phase is Phase.ROLLED_BACK
    assert {("Started", "CanaryAvailable"): 1, ("RolledBack", "ErrorRateTooHigh"): 1} == counted("decisions_total")
    assert {("Ended",): 1} == counted("step_seconds_count")
    assert {("RolledBack",): 1} == counted("release_seconds_count")


async def test_one_that_never_starts(counted: Counted) -> None:
    world = await begun(Canary(starts=False), strategy={"progressDeadline": "1m"})
    await world.run(300, until=_ended)
    (decided,) = counted("decisions_total")
    assert decided[0] == "Failed"
    assert {("Failed",): 1} == counted("release_seconds_count")
    assert {} == counted("step_seconds_count")


async def test_a_person_who_promotes(counted: Counted) -> None:
    world = await begun()
    await world.run(60, until=lambda one: one.weight == 1)
    world.annotate("promote", "next")
    await world.run(60, until=lambda one: one.weight == 5)
    world.annotate("abort", "enough")
    await world.run(300, until=_ended)
    assert {
        ("Started", "CanaryAvailable"): 1,
        ("Advanced", "Approved"): 1,
        ("RolledBack", "Aborted"): 1,
    } == counted("decisions_total")
    assert {("Advanced",): 1, ("Ended",): 1} == counted("step_seconds_count")


async def test_a_canary_that_is_lost_for_a_while(counted: Counted) -> None:
    world = await begun()
    await world.run(300, until=lambda one: one.weight == 5)
    world.canary.crashes = True
    await world.run(60, until=lambda one: one.weight == 0)
    world.canary.crashes = False
    await world.run(60, until=lambda one: one.weight > 0)
    assert counted("decisions_total")["Withdrawn", "CanaryLost"] == 1


async def test_time_is_a_reason_of_its_own(counted: Counted) -> None:
    world = await begun(strategy={"advance": "Time"})
    await world.run(300, until=lambda one: one.weight == 5)
    assert counted("decisions_total")["Advanced", "Time"] == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"weight": 5, "step": 2}, "CapacityLost"),
        ({"weight": 0, "losses": 1}, "CanaryLost"),
        ({"weight": 0, "step": 1, "fights": 1}, "WeightChanged"),
        ({"weight": 0}, "CanarySuspected"),
    ],
)
def test_why_weight_was_taken_back(counted: Counted, change: dict[str, int], expected: str) -> None:
    before = status_of(spec_of())
    tally(before, before.model_copy(update=change), NOW)
    assert {("Withdrawn", expected): 1} == counted("decisions_total")
