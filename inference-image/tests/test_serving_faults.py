from __future__ import annotations

from pathlib import Path

import pytest

from yolo_serving.errors import BadSetting
from yolo_serving.faults import FaultPlan, Faults, parse_faults


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("none", FaultPlan()),
        ("", FaultPlan()),
        ("errors", FaultPlan(error_ratio=1.0)),
        ("errors:0.005", FaultPlan(error_ratio=0.005)),
        ("errors-after:90", FaultPlan(errors_after_seconds=90)),
        ("errors-when-file:/faults/errors", FaultPlan(errors_when_file=Path("/faults/errors"))),
        (
            "errors:0.005,errors-when-file:/x:0.2",
            FaultPlan(error_ratio=0.005, errors_when_file=Path("/x"), errors_when_file_ratio=0.2),
        ),
        ("slow:150", FaultPlan(slow_seconds=0.15, slow_ratio=1.0)),
        ("slow:150:0.3", FaultPlan(slow_seconds=0.15, slow_ratio=0.3)),
        ("crash", FaultPlan(crash_after_ready_seconds=10)),
        ("crash:2.5", FaultPlan(crash_after_ready_seconds=2.5)),
        ("crash-after:7", FaultPlan(crash_after_requests=7)),
        ("never-ready", FaultPlan(never_ready=True)),
        ("errors:0.01, slow:20:0.5", FaultPlan(error_ratio=0.01, slow_seconds=0.02, slow_ratio=0.5)),
    ],
)
def test_every_form(text: str, plan: FaultPlan) -> None:
    assert plan == parse_faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "error",
        "errors:2",
        "errors:-1",
        "errors:nan",
        "slow",
        "slow:x",
        "slow:inf",
        "crash:1:2",
        "never-ready:1",
        "errors-when-file:/x:2",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="FAULT="):
        parse_faults(text)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_ratio_is_compared_with_the_dice() -> None:
    rolls = iter([0.0, 0.29, 0.3, 0.99])
    faults = Faults(FaultPlan(error_ratio=0.3), dice=lambda: next(rolls))
    assert [faults.fails() for _ in range(4)] == [True, True, False, False]


def test_errors_begin_after_a_time() -> None:
    clock = Clock()
    faults = Faults(FaultPlan(errors_after_seconds=90), clock=clock, dice=lambda: 0.5)
    before = faults.fails()
    clock.now += 90
    assert (before, faults.fails()) == (False, True)


def test_the_file_is_looked_at_not_more_often_than_every_20_milliseconds(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "errors"
    faults = Faults(FaultPlan(errors_when_file=file), clock=clock, dice=lambda: 0.5)
    seen = [faults.fails()]
    file.touch()
    clock.now += 0.019
    seen.append(faults.fails())
    clock.now += 0.002
    seen.append(faults.fails())
    assert seen == [False, False, True]


def test_with_the_file_another_share_fails(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "errors"
    rolls = iter([0.1, 0.004, 0.1, 0.3])
    plan = FaultPlan(error_ratio=0.005, errors_when_file=file, errors_when_file_ratio=0.2)
    faults = Faults(plan, clock=clock, dice=lambda: next(rolls))
    before = [faults.fails(), faults.fails()]
    file.touch()
    clock.now += 1
    assert [*before, faults.fails(), faults.fails()] == [False, True, True, False]


def test_delay_falls_on_its_share() -> None:
    rolls = iter([0.1, 0.6])
    faults = Faults(FaultPlan(slow_seconds=0.2, slow_ratio=0.5), dice=lambda: next(rolls))
    assert [faults.extra_delay_seconds() for _ in range(2)] == [0.2, 0.0]


def test_the_process_dies_at_the_nth_prediction() -> None:
    deaths: list[int] = []
    faults = Faults(FaultPlan(crash_after_requests=3), die=lambda: deaths.append(1))
    counts = []
    for _ in range(3):
        faults.begin_prediction()
        counts.append(len(deaths))
    assert counts == [0, 0, 1]
