"""What lets a release go forward, and what it waits for."""

from __future__ import annotations

from typing import Any

import pytest

from modelrelease.api.status import AnalysisStatus, Phase
from modelrelease.judge import State, Transition
from modelrelease.rollout.analysis import grid_after, grid_before
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import (
    ScaleCanary,
    SetWeight,
)
from modelrelease.rollout.guard import SETTLE_SECONDS
from modelrelease.rollout.seen import MetricsHealth, Seen
from simulation.cases import (
    BACK,
    LATE,
    SPEC,
    TEN,
    Case,
    check,
    strategy,
)
from simulation.looks import NOW, analysis_seen, canary_seen, route_seen, seen_of, spec_of, stable_seen


def _waiting(**changes: Any) -> Seen:
    """Step 3 whose gate has passed; ten stable pods, so that 50 % need five."""
    return seen_of(
        **{"analysis": analysis_seen(SPEC, gate=True), "canary": canary_seen(SPEC, replicas=5, available=5), **changes}
    )


TIME = strategy(advance="Time")
APPROVAL = strategy(
    steps=[{"weight": 5}, {"weight": 10}, {"weight": 20, "approval": True}, {"weight": 50}, {"weight": 100}],
    onStepDeadline="Rollback",
)

FORWARD = (
    Case("enough evidence", _waiting(), SetWeight(50), {"step": 4, "weight": 50, "confirmed_weight": 20}),
    Case("not enough evidence", seen_of(), None, {"step": 3, "weight": 20}, "Evidence for promotion"),
    Case(
        "stale metrics never go forward",
        _waiting(analysis=analysis_seen(SPEC, gate=True, health=MetricsHealth.STALE)),
        None,
        {"step": 3},
        "No evidence",
    ),
    Case("the least duration", _waiting(status={"step_started_at": NOW - 1}), None, {"step": 3}, "lasts at least"),
    Case(
        "capacity leads",
        _waiting(canary=canary_seen(SPEC)),
        ScaleCanary(5),
        {"step": 3, "weight": 20},
    ),
    Case("capacity is waited for", _waiting(canary=canary_seen(SPEC, replicas=5, available=4)), None, {"step": 3}),
    Case("paused by annotation", _waiting(phase=Phase.PAUSED, status={"paused": True}), None, {"step": 3}, "resume"),
    Case(
        "paused by the specification",
        _waiting(phase=Phase.PAUSED, spec=spec_of(paused=True)),
        None,
        {"step": 3},
        "spec.paused",
    ),
    Case(
        "approved by a person",
        _waiting(status={"approved_step": 4}, analysis=analysis_seen(SPEC, health=MetricsHealth.STALE)),
        SetWeight(50),
        {"step": 4},
    ),
    Case(
        "promoted in full",
        _waiting(status={"approved_step": 6}, canary=TEN),
        SetWeight(100),
        {"step": 5, "phase": Phase.BAKING},
    ),
    Case(
        "time is over",
        _waiting(spec=TIME, analysis=analysis_seen(TIME, gate=False, requests=50)),
        SetWeight(50),
        {"step": 4},
    ),
    Case(
        "time is over with too few requests",
        _waiting(spec=TIME, analysis=analysis_seen(TIME, requests=49)),
        None,
        {"step": 3},
        "49 of at least 50",
    ),
    Case(
        "time is over without metrics",
        _waiting(spec=TIME, analysis=analysis_seen(TIME, health=MetricsHealth.UNAVAILABLE)),
        None,
        {"step": 3},
    ),
    Case("the deadline holds", seen_of(status=LATE), None, {"step": 3, "weight": 20}, "longer than 2h"),
    Case(
        "the deadline rolls back",
        seen_of(spec=strategy(onStepDeadline="Rollback"), status=LATE),
        SetWeight(0),
        {**BACK, "outcome_reason": "StepDeadlineExceeded"},
    ),
    Case(
        "the deadline promotes",
        _waiting(spec=strategy(onStepDeadline="Promote"), status=LATE, analysis=analysis_seen(SPEC)),
        SetWeight(50),
        {"step": 4},
    ),
    Case(
        "the deadline promotes nothing without metrics",
        seen_of(
            spec=strategy(onStepDeadline="Promote"),
            status=LATE,
            analysis=analysis_seen(SPEC, health=MetricsHealth.UNAVAILABLE),
        ),
        None,
        {"step": 3, "weight": 20},
        "nothing is promoted without metrics",
    ),
    Case(
        "nor does it end the bake without metrics",
        seen_of(
            Phase.BAKING,
            spec=strategy(onStepDeadline="Promote"),
            status={"step": 5, "weight": 100, "confirmed_weight": 100, **LATE},
            canary=TEN,
            analysis=analysis_seen(SPEC, health=MetricsHealth.STALE),
        ),
        None,
        {"phase": Phase.BAKING, "weight": 100},
        "nothing is promoted without metrics",
    ),
    Case(
        "nothing goes forward beside a stable without pods",
        seen_of(stable=stable_seen(available=0), analysis=analysis_seen(SPEC, gate=True)),
        None,
        {"step": 3, "weight": 20},
        "promote=full",
    ),
    Case(
        "a specification that cannot be read holds",
        _waiting(spec_problem="spec.analysis.interval: too short"),
        None,
        {"step": 3, "weight": 20},
        "too short",
    ),
    Case(
        "but a promotion is brought to its end",
        seen_of(
            Phase.PROMOTING,
            spec_problem="spec.image: empty",
            status={"step": 5, "weight": 0, "promoted_image": SPEC.image},
            stable=stable_seen(image=SPEC.image),
            canary=None,
            route=route_seen(0),
        ),
        None,
        {"phase": Phase.SUCCEEDED},
    ),
    Case(
        "the deadline is not for people",
        _waiting(spec=APPROVAL, status=LATE),
        None,
        {"step": 3, "phase": Phase.PROGRESSING},
        "Waiting for approval",
    ),
)


@pytest.mark.parametrize("case", FORWARD, ids=str)
def test_going_forward(case: Case) -> None:
    decision = check(case)
    if isinstance(decision.effect, SetWeight) and decision.effect.percent:
        assert not decision.effect_first, "the intent comes first"


@pytest.mark.parametrize(
    ("phase", "expected"),
    [(Phase.PROGRESSING, "4m"), (Phase.PAUSED, ""), (Phase.BAKING, ""), (Phase.ROLLING_BACK, ""), (Phase.FAILED, "")],
    ids=str,
)
def test_when_the_next_step_comes_is_told_only_where_one_comes(phase: Phase, expected: str) -> None:
    said = AnalysisStatus(next_step_estimate="4m", requests_in_step=7)
    paused = {"paused": True} if phase is Phase.PAUSED else {}
    decision = decide(seen_of(phase, status={"analysis": said, **paused}, analysis=None), NOW)
    assert (phase, expected, 7) == (
        decision.status.phase,
        decision.status.analysis.next_step_estimate,
        decision.status.analysis.requests_in_step,
    )


@pytest.mark.parametrize(("confirmed_weight", "is_kept"), [(20, True), (5, False)])
def test_what_was_answered_at_the_last_weight_is_still_judged_where_the_route_had_it(
    confirmed_weight: int, *, is_kept: bool
) -> None:
    status = {"approved_step": 4, "confirmed_weight": confirmed_weight, "step_started_at": NOW - 5}
    seen = _waiting(status=status)
    judge = decide(seen, NOW).status.judge
    assert judge is not None
    state = State.from_json(judge)
    interval = SPEC.analysis.interval
    entered = grid_after(NOW + SETTLE_SECONDS, interval)
    if is_kept:
        assert Transition(3, grid_before(NOW, interval), entered) == state.transition
        assert NOW - 10 == state.cursor_seconds
    else:
        assert (3, None, entered) == (state.step, state.transition, state.cursor_seconds)
