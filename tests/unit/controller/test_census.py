"""How many releases there are and where they stand, as Prometheus is told it."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from modelrelease.api.status import MetricStatus, Phase
from modelrelease.census import Census, Entry
from modelrelease.ports import Key, Kind
from modelrelease.rollout.seen import MetricsHealth
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, World, release

NOW = 1_800_000_000.0
COMPARED = (
    MetricStatus(
        name="errorRate",
        stable=0.001,
        canary=0.02,
        stable_requests=900,
        canary_requests=100,
        rollback_evidence=0.7,
        promotion_evidence=0.1,
    ),
    MetricStatus(name="latencyP99Milliseconds", stable=41.0, canary=None, promotion_evidence=0.5),
)
UNDER_WAY = Entry(
    Phase.PROGRESSING,
    health=MetricsHealth.FRESH,
    judged_until=NOW - 12,
    step=2,
    steps=5,
    weight_percent=5,
    step_started_seconds=NOW - 90,
    metrics=COMPARED,
)


class Told:
    """What a census says, by name and labels."""

    def __init__(self, **options: Any) -> None:
        self.census = Census(lambda: NOW, **options)
        self.registry = CollectorRegistry()
        self.registry.register(self.census)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"modelrelease_{name}", labels)

    def of_release(self, name: str, release: str = "detector", **labels: str) -> float | None:
        return self.value(f"release_{name}", release_namespace="vision", release=release, **labels)


def test_releases_are_counted_by_phase_also_where_there_are_none() -> None:
    told = Told()
    for number in range(3):
        told.census.note(Key("vision", f"m{number}"), Entry(Phase.SUCCEEDED))
    told.census.note(Key("vision", "m0"), Entry(Phase.PREPARING))
    told.census.forget(Key("vision", "m1"))
    counts = {phase: told.value("releases", phase=phase) for phase in Phase}
    assert {**dict.fromkeys(Phase, 0.0), Phase.SUCCEEDED: 1.0, Phase.PREPARING: 1.0} == counts


def test_a_release_under_way_is_shown_with_its_figures() -> None:
    told = Told()
    told.census.note(Key("vision", "detector"), UNDER_WAY)
    assert told.of_release("phase", phase="Progressing") == 1
    assert (2, 5, 5) == tuple(told.of_release(name) for name in ("step", "steps", "weight_percent"))
    assert told.of_release("evaluation_lag_seconds") == told.value("evaluation_lag_seconds") == 12
    assert told.of_release("step_started_timestamp_seconds") == NOW - 90
    assert told.of_release("evidence", metric="errorRate", towards="rollback") == 0.7
    assert told.of_release("evidence", metric="latencyP99Milliseconds", towards="promotion") == 0.5
    assert told.of_release("requests", metric="errorRate", arm="canary") == 100
    assert told.of_release("error_ratio", arm="canary") == 0.02
    assert told.of_release("latency_p99_milliseconds", arm="stable") == 41
    assert told.of_release("latency_p99_milliseconds", arm="canary") is None, "there is no value, so none is made up"
    assert {"Fresh": 1, "Stale": 0} == {
        each: told.value("analysed_releases", health=each) for each in ("Fresh", "Stale")
    }


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.is_at_rest])
def test_a_release_at_rest_is_only_counted(phase: Phase) -> None:
    told = Told()
    told.census.note(Key("vision", "detector"), UNDER_WAY)
    told.census.note(Key("vision", "detector"), Entry(phase))
    assert "detector" not in generate_latest(told.registry).decode()
    assert told.value("releases", phase=phase) == 1


def test_series_do_not_grow_with_the_number_of_releases() -> None:
    told = Told(most_releases=3)

    def series() -> int:
        return len([line for line in generate_latest(told.registry).splitlines() if not line.startswith(b"#")])

    for number in range(3):
        told.census.note(Key("vision", f"m{number}"), UNDER_WAY)
    bounded = series()
    for number in range(3, 2000):
        told.census.note(Key("vision", f"m{number}"), UNDER_WAY)
    assert bounded == series()
    assert told.value("releases_not_shown") == 1997
    assert told.of_release("step", "m0") == 2
    assert told.of_release("step", "m3") is None


def test_those_that_began_first_are_shown() -> None:
    told = Told(most_releases=1)
    told.census.note(Key("vision", "resting"), Entry(Phase.STABLE))
    told.census.note(Key("vision", "first"), UNDER_WAY)
    told.census.note(Key("vision", "resting"), UNDER_WAY)
    told.census.note(Key("vision", "first"), UNDER_WAY)
    assert (2, None) == (told.of_release("step", "first"), told.of_release("step", "resting"))


def test_none_is_shown_where_that_is_switched_off() -> None:
    told = Told(most_releases=0)
    told.census.note(Key("vision", "detector"), UNDER_WAY)
    assert told.of_release("step") is None
    assert told.value("releases", phase="Progressing") == 1


def test_a_standby_says_nothing_of_what_it_once_knew() -> None:
    leading = True
    told = Told(is_leading=lambda: leading)
    told.census.note(Key("vision", "detector"), UNDER_WAY)
    leading = False
    assert (0, None) == (told.value("releases", phase="Progressing"), told.of_release("step"))


def test_stalled_releases_are_counted_by_reason() -> None:
    told = Told()
    for number, reason in enumerate(["RouteMissing", "RouteMissing", "StepDeadlineExceeded", ""]):
        told.census.note(Key("vision", f"m{number}"), Entry(Phase.PROGRESSING, reason))
    assert (2, 1) == tuple(
        told.value("stalled_releases", reason=reason) for reason in ("RouteMissing", "StepDeadlineExceeded")
    )


async def test_the_controller_tells_of_each_look() -> None:
    world = World()
    registry = CollectorRegistry()
    registry.register(world.census)
    world.deploy_stable()
    await world.run(60)
    world.apply()
    await world.run(300, until=lambda one: one.weight == 5)
    said = {"release_namespace": "vision", "release": "yolov8-detect"}
    assert registry.get_sample_value("modelrelease_release_weight_percent", said) == 5
    assert registry.get_sample_value("modelrelease_release_step", said) == world.status.step == 2
    await world.run(12)
    assert 0 < (registry.get_sample_value("modelrelease_evaluation_lag_seconds") or 0) < 60
    await world.run(900, until=lambda one: one.status.phase is Phase.SUCCEEDED)
    assert registry.get_sample_value("modelrelease_releases", {"phase": "Succeeded"}) == 1
    assert registry.get_sample_value("modelrelease_release_step", said) is None


async def test_a_release_that_only_a_person_can_get_on_is_counted_and_so_is_a_deleted_one() -> None:
    world = World()
    registry = CollectorRegistry()
    registry.register(world.census)
    world.deploy_stable()
    world.cluster.put(Kind.MODEL_RELEASE, {**release(NEW_IMAGE), "spec": {"image": ""}})
    await world.run(5)
    assert registry.get_sample_value("modelrelease_stalled_releases", {"reason": "InvalidSpec"}) == 1
    await world.cluster.delete(Kind.MODEL_RELEASE, NAMESPACE, NAME)
    world.wake()
    await world.run(5)
    assert registry.get_sample_value("modelrelease_stalled_releases", {"reason": "InvalidSpec"}) is None
