"""What plans predicted is held against what releases took."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from demo.errors import DemoError
from demo.foresight import Comparison, Course, course_of, judge, predicted_course, summary
from modelrelease.api.status import Phase, ReleaseStatus, parse_status

PREDICTED = Course(preparing=6.0, steps=(20.0, 15.0), bake=20.0, promoting=12.0)
ACTUAL = Course(preparing=8.0, steps=(25.0, 15.0), bake=21.0, promoting=14.0)
ONE = Comparison(PREDICTED, ACTUAL, 50.0)


def told(phase: Phase, **status: Any) -> ReleaseStatus:
    return parse_status({"phase": phase, **status})


def at(second: float) -> str:
    return f"2026-11-21T12:00:{second:09.6f}Z"


def course() -> list[ReleaseStatus]:
    entry = {
        "revision": "0123456789",
        "image": "x:1",
        "outcome": "Succeeded",
        "reason": "Succeeded",
        "message": "Done.",
        "startedAt": at(1),
        "finishedAt": at(50),
        "duration": "49s",
    }
    return [
        told(Phase.PREPARING, startedAt=at(1)),
        told(Phase.PROGRESSING, step=1, stepStartedAt=at(9.5)),
        told(Phase.PROGRESSING, step=1, stepStartedAt=at(9.5), weight=1),
        told(Phase.PROGRESSING, step=2, stepStartedAt=at(20)),
        told(Phase.BAKING, step=3, stepStartedAt=at(25), phaseStartedAt=at(25)),
        told(Phase.PROMOTING, step=3, stepStartedAt=at(25), phaseStartedAt=at(45)),
        told(Phase.PROMOTING, step=3, stepStartedAt=at(25), phaseStartedAt=at(47)),
        told(Phase.SUCCEEDED, history=[entry]),
    ]


def test_the_parts_of_a_release_are_read_from_what_the_operator_wrote() -> None:
    assert Course(preparing=8.5, steps=(10.5, 5.0), bake=20.0, promoting=5.0) == course_of(course())


@pytest.mark.parametrize("missing", [{3}, {5, 6}, {7}])
def test_a_release_that_skipped_something_is_not_compared(missing: set[int]) -> None:
    with pytest.raises(DemoError, match="all its steps"):
        course_of([status for number, status in enumerate(course()) if number not in missing])


def test_a_plan_is_read_as_the_plugin_writes_it() -> None:
    steps = [{"typicalSeconds": 20.0}, {"typicalSeconds": 15.0}]
    plan = {"preparingSeconds": 6.0, "steps": steps, "bakeSeconds": 20.0, "promotingSeconds": 12.0}
    assert PREDICTED == predicted_course(plan)
    assert {"all_steps": 35.0, "total": 73.0} == PREDICTED.sums


def test_a_promise_that_does_not_hold_is_said() -> None:
    assert [] == judge([ONE])
    late = replace(ONE, actual=replace(ACTUAL, steps=(40.0, 15.0), bake=20.0, promoting=12.0))
    assert [] == judge([ONE, ONE, late]), "the median counts"
    assert [
        "plan: step 1: the median of 3 releases is -50% off",
        "plan: all steps: the median of 3 releases is -36% off",
    ] == judge([ONE, late, late])
    swapped = replace(ONE, predicted=replace(PREDICTED, steps=(10.0, 30.0)))
    assert 2 == len(judge([swapped])), "errors of two steps do not cancel out"
    early = replace(ONE, predicted=replace(PREDICTED, preparing=60.0))
    assert ["plan: total: the median of 1 releases is +53% off"] == judge([early])


def test_the_figures_that_are_kept() -> None:
    figures = summary([ONE])
    assert {
        "step_1": -0.2,
        "step_2": 0.0,
        "all_steps": -0.125,
        "total": pytest.approx(73 / 83 - 1, abs=0.001),
    } == figures["off_by"]
    assert [25.0, 15.0] == figures["median_seconds"]["actual"]["steps"]
    row = ONE.row()
    assert {
        "preparing": 6.0,
        "steps": [20.0, 15.0],
        "bake": 20.0,
        "promoting": 12.0,
        "all_steps": 35.0,
        "total": 73.0,
    } == (row["predicted"])
