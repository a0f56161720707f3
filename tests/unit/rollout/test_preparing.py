"""Before any traffic moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelrelease.api.status import ConditionStatus, ConditionType, HeldAutoscaler, Outcome, Phase
from modelrelease.rollout.canary import canary_deployment
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import (
    CreateDeployment,
    DeleteCanary,
    SetAutoscalerMinimum,
    SetWeight,
    StampCanary,
)
from modelrelease.rollout.labels import AUTOSCALER
from modelrelease.rollout.seen import AutoscalerSeen, MetricsHealth, Seen
from simulation.cases import (
    REVISION,
    SPEC,
    TEN,
    Case,
    check,
    gone,
    strategy,
)
from simulation.looks import NOW, analysis_seen, canary_seen, route_seen, seen_of, spec_of, stable_seen
from simulation.world import NAME, deployment, service

PREPARING: dict[str, Any] = {"step": 0, "weight": 0, "confirmed_weight": 0, "ever_weighted": False, "steps": 0}
ONE_STEP = strategy(steps=[{"weight": 100}])


def _preparing(spec: Any = SPEC, **changes: Any) -> Seen:
    status = {**PREPARING, **changes.pop("status", {})}
    return seen_of(
        Phase.PREPARING, spec=spec, status=status, **{"canary": canary_seen(spec, replicas=1, available=1), **changes}
    )


HPA = AutoscalerSeen("hpa", 2, 20)
HELD = HeldAutoscaler(name="hpa", min_replicas=2, held_at=10)


def _canary_with(held: HeldAutoscaler) -> Any:
    return canary_deployment(deployment(10), service(), SPEC, release=NAME, revision=REVISION, replicas=1, held=held)


PREPARATION = (
    Case("the first step", _preparing(), SetWeight(1), {"phase": Phase.PROGRESSING, "step": 1, "weight": 1}),
    Case(
        "no traffic without eyes",
        _preparing(analysis=analysis_seen(SPEC, health=MetricsHealth.STALE)),
        None,
        {"phase": Phase.PREPARING},
        "No samples",
    ),
    Case(
        "no traffic beside a broken stable",
        _preparing(stable=stable_seen(available=0)),
        None,
        {"phase": Phase.PREPARING},
        "promote=full",
    ),
    Case(
        "a broken stable does not block its own fix",
        _preparing(stable=stable_seen(available=0), status={"approved_step": 6, "steps": 5}, canary=TEN),
        SetWeight(100),
        {"phase": Phase.BAKING, "step": 5},
    ),
    Case(
        "not even with a single step",
        _preparing(
            ONE_STEP,
            stable=stable_seen(available=0),
            status={"approved_step": 2, "steps": 1},
            canary=canary_seen(ONE_STEP, replicas=10, available=10),
        ),
        SetWeight(100),
        {"phase": Phase.BAKING, "step": 1},
    ),
    Case(
        "no weight before the first step, whoever gave it",
        _preparing(route=route_seen(20), canary=gone()),
        SetWeight(0),
        {"phase": Phase.PREPARING, "weight": 0},
    ),
    Case(
        "too late",
        _preparing(canary=gone(), status={"phase_started_at": NOW - 31}),
        None,
        {"phase": Phase.ROLLING_BACK, "outcome": Outcome.FAILED, "outcome_reason": "ProgressDeadlineExceeded"},
    ),
    Case(
        "the canary is made with what its autoscaler gets back",
        _preparing(canary=None, canary_service=None, autoscaler=HPA),
        CreateDeployment(_canary_with(HELD)),
        {"held_autoscaler": HELD},
    ),
    Case(
        "an autoscaler that came later is recorded",
        _preparing(autoscaler=HPA),
        None,
        {"held_autoscaler": HELD},
    ),
    Case(
        "then it is written on the canary",
        _preparing(autoscaler=HPA, status={"held_autoscaler": HELD}),
        StampCanary(AUTOSCALER, HELD.model_dump_json()),
    ),
    Case(
        "then its minimum is held",
        _preparing(
            autoscaler=HPA,
            status={"held_autoscaler": HELD},
            canary=canary_seen(SPEC, replicas=1, available=1, manifest=_canary_with(HELD)),
        ),
        SetAutoscalerMinimum("hpa", 10),
    ),
    Case(
        "no minimum above its maximum, which would be refused",
        _preparing(autoscaler=AutoscalerSeen("hpa", 2, 5)),
        None,
        {"held_autoscaler": HELD.model_copy(update={"held_at": 5})},
    ),
    Case(
        "nor one that was recorded before",
        _preparing(autoscaler=AutoscalerSeen("hpa", 2, 5), status={"held_autoscaler": HELD}),
        None,
        {"held_autoscaler": HELD.model_copy(update={"held_at": 5})},
    ),
    Case(
        "the autoscaler is left alone",
        _preparing(strategy(holdAutoscaler=False), autoscaler=AutoscalerSeen("hpa", 2, 20)),
        SetWeight(1),
        {"held_autoscaler": None},
    ),
    Case("an earlier canary goes", _preparing(canary=canary_seen(SPEC, revision="before")), DeleteCanary("uid-canary")),
    Case(
        "a conflict fails without touching the route",
        _preparing(conflict="other", route=route_seen(50)),
        None,
        {"phase": Phase.ROLLING_BACK, "outcome": Outcome.FAILED},
    ),
    Case(
        "policies are named before any traffic",
        _preparing(uncovered_policies=("NetworkPolicy/a",)),
        None,
        {"weight": 0, "uncovered_policies": ["NetworkPolicy/a"]},
    ),
    Case(
        "policies that were named hold nothing up",
        _preparing(uncovered_policies=("NetworkPolicy/a",), status={"uncovered_policies": ["NetworkPolicy/a"]}),
        SetWeight(1),
    ),
    Case(
        "policies that were mended are forgotten",
        _preparing(status={"uncovered_policies": ["NetworkPolicy/a"]}),
        None,
        {"weight": 0, "uncovered_policies": []},
    ),
    Case(
        "policies stop",
        _preparing(strategy(policyCoverage="Require"), uncovered_policies=("NetworkPolicy/a",)),
        None,
        {"phase": Phase.ROLLING_BACK, "outcome_reason": "PolicyUncovered"},
    ),
    Case(
        "latency that cannot be resolved holds on request",
        _preparing(
            spec_of(analysis={"latencyP99": {"onUnresolvable": "Hold"}}), analysis=analysis_seen(SPEC, resolvable=False)
        ),
        None,
        {"phase": Phase.PREPARING},
        "set spec.analysis.latencyP99.onUnresolvable to Skip",
    ),
)


@pytest.mark.parametrize("case", PREPARATION, ids=str)
def test_before_any_traffic(case: Case) -> None:
    check(case)


def test_uncovered_policies_are_said_once_and_stay_in_a_condition() -> None:
    first = decide(_preparing(uncovered_policies=("NetworkPolicy/a",)), NOW)
    again = decide(replace(_preparing(uncovered_policies=("NetworkPolicy/a",)), status=first.status), NOW)

    assert ["PolicyUncovered"] == [one.reason for one in first.announcements]
    assert ["StepStarted"] == [one.reason for one in again.announcements]
    for status in (first.status, again.status):
        condition = status.condition(ConditionType.CANARY_AVAILABLE)
        assert condition is not None
        assert "PolicyUncovered" == condition.reason
        assert "NetworkPolicy/a" in condition.message
        assert "modelrelease.dev/release=yolov8-detect" in condition.message


def test_that_errors_alone_will_decide_is_said_with_the_first_step_and_once() -> None:
    first = _preparing(analysis=analysis_seen(SPEC, resolvable=False))

    said = decide(first, NOW)
    after = decide(replace(first, status=said.status), NOW + 1)

    assert (SetWeight(1), False) == (said.effect, said.effect_first), "the condition is written before traffic moves"
    condition = said.status.condition(ConditionType.ANALYSIS_HEALTHY)
    assert condition is not None
    assert (ConditionStatus.TRUE, "LatencyUnresolvable") == (condition.status, condition.reason)
    assert "finer buckets" in condition.message
    assert ["LatencyUnresolvable", "StepStarted"] == [one.reason for one in said.announcements]
    assert "LatencyUnresolvable" not in [one.reason for one in after.announcements]


@pytest.mark.parametrize(("since_seconds", "expected"), [(29, "NotStalled"), (31, "MetricsUnavailable")])
def test_metrics_that_do_not_come_are_said_to_stall_the_release(since_seconds: float, expected: str) -> None:
    blind = analysis_seen(SPEC, health=MetricsHealth.UNAVAILABLE)
    decision = decide(_preparing(analysis=blind, status={"phase_started_at": NOW - since_seconds}), NOW)
    condition = decision.status.condition(ConditionType.STALLED)
    assert condition is not None
    assert (expected, None, Phase.PREPARING) == (condition.reason, decision.effect, decision.status.phase)
