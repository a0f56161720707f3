"""Weights that are not as they should be, and pods that are not there."""

from __future__ import annotations

import pytest

from modelrelease.api.status import (
    Phase,
)
from modelrelease.rollout.decision import (
    ScaleCanary,
    SetWeight,
)
from modelrelease.rollout.seen import MetricsHealth
from simulation.cases import (
    BACK,
    LATE,
    SPEC,
    Case,
    check,
    odd_route,
    strategy,
)
from simulation.looks import NOW, analysis_seen, canary_seen, route_seen, seen_of, stable_seen

ROLLBACK = strategy(onStepDeadline="Rollback")

ROUTES = (
    Case(
        "our own unfinished write is finished",
        seen_of(status={"confirmed_weight": 5}, route=route_seen(5)),
        SetWeight(20),
        {"fights": 0, "weight": 20},
    ),
    Case(
        "somebody else's weight is put back, also before ours was confirmed",
        seen_of(status={"confirmed_weight": 5}, route=route_seen(70)),
        SetWeight(20),
        {"fights": 1, "weight": 20},
    ),
    Case(
        "somebody else's weight is put back",
        seen_of(route=route_seen(70)),
        SetWeight(20),
        {"fights": 1, "paused": False},
    ),
    Case(
        "the third time pauses",
        seen_of(route=route_seen(70), status={"fights": 2}),
        SetWeight(20),
        {"fights": 3, "paused": True, "paused_reason": "WeightsContested"},
    ),
    Case(
        "after that nobody fights",
        seen_of(
            Phase.PAUSED,
            route=route_seen(70),
            status={"fights": 3, "paused": True, "paused_reason": "WeightsContested"},
        ),
        None,
        {"fights": 3},
        "Stop the other writer",
    ),
    Case(
        "and at 0 nothing is written again and again where only another destination is foreign",
        seen_of(
            Phase.PAUSED,
            route=route_seen(0, is_consistent=False),
            status={"weight": 0, "fights": 3, "paused": True, "paused_reason": "WeightsContested"},
        ),
        None,
        {"fights": 3, "weight": 0},
        "Stop the other writer",
    ),
    Case(
        "but to 0 it is set back however often",
        seen_of(
            Phase.PAUSED,
            route=route_seen(70),
            status={"weight": 0, "fights": 3, "paused": True, "paused_reason": "WeightsContested"},
        ),
        SetWeight(0),
        {"fights": 3, "weight": 0},
        "Stop the other writer",
    ),
    Case(
        "a verdict is subject to no such limit",
        seen_of(
            Phase.PAUSED,
            route=route_seen(70),
            status={"fights": 3, "paused": True, "paused_reason": "WeightsContested"},
            analysis=analysis_seen(SPEC, blame="errors"),
        ),
        SetWeight(0),
        BACK,
    ),
    Case(
        "an edit of stable's destination is followed, and no fight",
        seen_of(route=route_seen(20, is_alike=False), status={"fights": 2}),
        SetWeight(20),
        {"fights": 2, "paused": False, "weight": 20},
    ),
    Case(
        "not where somebody else keeps writing",
        seen_of(
            Phase.PAUSED,
            route=route_seen(20, is_alike=False),
            status={"fights": 3, "paused": True, "paused_reason": "WeightsContested"},
        ),
        None,
        {"fights": 3},
    ),
    Case(
        "0 is not overwritten without fresh metrics",
        seen_of(route=route_seen(0, has_canary=True), analysis=analysis_seen(SPEC, health=MetricsHealth.STALE)),
        None,
        {"weight": 20, "step": 3},
    ),
    Case(
        "from 0 the release starts over, approvals forgotten",
        seen_of(route=route_seen(0, has_canary=True), status={"approved_step": 4}),
        None,
        {"weight": 0, "step": 1, "approved_step": 0, "fights": 1},
    ),
    Case(
        "a removed destination is put back",
        seen_of(route=route_seen(0)),
        SetWeight(20),
        {"fights": 1, "weight": 20},
    ),
    Case(
        "a route that is gone stalls",
        seen_of(route=None, route_problem=("VirtualServiceMissing", "It is gone.")),
        None,
        {"weight": 20, "step": 3},
        "It is gone",
    ),
    Case(
        "so does one that was edited so that it cannot be split any more",
        seen_of(**odd_route(20), analysis=analysis_seen(SPEC, gate=True)),
        None,
        {"weight": 20, "step": 3, "fights": 0},
        "It was renamed. The release holds with 20 % on the canary",
    ),
    Case(
        "the judge sees, and traffic comes off in every shape",
        seen_of(**odd_route(20), analysis=analysis_seen(SPEC, blame="errors")),
        SetWeight(0),
        BACK,
    ),
    Case(
        "before the first step as well",
        seen_of(Phase.PREPARING, **odd_route(20)),
        SetWeight(0),
        {"phase": Phase.PREPARING},
    ),
    Case(
        "then it waits for a route that can be split",
        seen_of(Phase.PREPARING, **odd_route(0)),
        None,
        {"phase": Phase.PREPARING},
        "It was renamed",
    ),
    Case(
        "a weight that was written late begins the step anew",
        seen_of(status={"confirmed_weight": 5}, analysis=analysis_seen(SPEC, gate=True)),
        None,
        {"step": 3, "step_started_at": NOW, "confirmed_weight": 20},
    ),
    Case(
        "pods are missing: the next lower step that they can carry",
        seen_of(canary=canary_seen(SPEC, available=1)),
        SetWeight(5),
        {"step": 2, "weight": 5},
    ),
    Case(
        "a weight lowered before its status write is no foreign one",
        seen_of(canary=canary_seen(SPEC, available=1), route=route_seen(5)),
        SetWeight(5),
        {"step": 2, "weight": 5, "fights": 0},
    ),
    Case("a canary scaled down by hand", seen_of(canary=canary_seen(SPEC, replicas=1)), ScaleCanary(2), {"weight": 20}),
    Case(
        "stable grew: more pods are asked for first",
        seen_of(stable=stable_seen(replicas=20), status={"capacity": 2}),
        ScaleCanary(4),
        {"weight": 20, "scaled_at": NOW},
    ),
    Case(
        "while they start a healthy canary keeps its weight",
        seen_of(
            stable=stable_seen(replicas=20),
            canary=canary_seen(SPEC, replicas=4, available=2),
            status={"capacity": 2, "scaled_at": NOW - 5},
        ),
        None,
        {"weight": 20, "step": 3},
    ),
    Case(
        "pods that are missing while they start count as ever",
        seen_of(
            stable=stable_seen(replicas=20),
            canary=canary_seen(SPEC, replicas=4, available=1),
            status={"capacity": 2, "scaled_at": NOW - 5},
        ),
        SetWeight(5),
        {"weight": 5, "step": 2, "capacity": 1},
    ),
    Case(
        "pods that do not start in time are missing",
        seen_of(
            stable=stable_seen(replicas=20),
            canary=canary_seen(SPEC, replicas=4, available=2),
            status={"capacity": 2, "scaled_at": NOW - 31},
        ),
        SetWeight(5),
        {"weight": 5, "step": 2},
    ),
    Case(
        "once they are there the weight rests on them",
        seen_of(
            stable=stable_seen(replicas=20),
            canary=canary_seen(SPEC, replicas=4, available=4),
            status={"capacity": 2, "scaled_at": NOW - 5},
        ),
        None,
        {"weight": 20, "capacity": 4},
    ),
    Case(
        "a canary that somebody gave more pods keeps them",
        seen_of(canary=canary_seen(SPEC, replicas=10, available=10), status={"capacity": 2}),
        None,
        {"weight": 20},
    ),
    Case(
        "stable shrank as its traffic left: the canary needs as many pods as before",
        seen_of(
            stable=stable_seen(replicas=2, available=2),
            canary=canary_seen(SPEC, replicas=1, available=1),
            status={"capacity": 2, "stable_size": 10},
        ),
        ScaleCanary(2),
        {"weight": 20, "stable_size": 10},
    ),
    Case(
        "stable's largest size is remembered",
        seen_of(stable=stable_seen(replicas=6), status={"stable_size": 4}),
        None,
        {"weight": 20, "stable_size": 6},
    ),
    Case(
        "pods for the next step are no surplus",
        seen_of(canary=canary_seen(SPEC, replicas=5, available=3), status={"capacity": 2}),
        None,
        {"weight": 20, "step": 3},
    ),
    Case(
        "a stable at 0 tells nothing about the size that is needed",
        seen_of(
            stable=stable_seen(replicas=0, available=0),
            canary=canary_seen(SPEC, replicas=10, available=10),
            status={"capacity": 2, "stable_size": 10},
        ),
        None,
        {"weight": 20, "capacity": 2},
        "Stable has no available pod",
    ),
    Case(
        "no traffic is pushed onto a stable without pods",
        seen_of(stable=stable_seen(available=0), canary=canary_seen(SPEC, available=1), status={"capacity": 2}),
        None,
        {"weight": 20},
    ),
    Case(
        "stable's scaling to 0 does not shrink what comes back",
        seen_of(
            stable=stable_seen(replicas=0, available=0),
            status={"weight": 0, "losses": 1, "stable_size": 10, "step_started_at": NOW - 5},
            route=route_seen(0, has_canary=True),
            canary=canary_seen(SPEC, available=1),
        ),
        None,
        {"weight": 0},
        "waiting for the others",
    ),
    Case(
        "a fixed number of canary pods",
        seen_of(
            spec=strategy(canaryReplicas=1),
            canary=canary_seen(strategy(canaryReplicas=1), replicas=1, available=1),
        ),
        None,
        {"weight": 20},
    ),
    Case(
        "back at the step's weight after a loss",
        seen_of(status={"weight": 0, "losses": 1}, route=route_seen(0, has_canary=True)),
        SetWeight(20),
        {"step": 3, "weight": 20},
    ),
    Case(
        "what it answered before its loss is judged first",
        seen_of(status={"weight": 0, "losses": 1, "step_started_at": NOW - 10}, route=route_seen(0, has_canary=True)),
        None,
        {"weight": 0},
        "is judged before it gets traffic",
    ),
    Case(
        "and then it gets its traffic",
        seen_of(status={"weight": 0, "losses": 1, "step_started_at": NOW - 11}, route=route_seen(0, has_canary=True)),
        SetWeight(20),
        {"step": 3, "weight": 20},
    ),
    Case(
        "after a loss all pods of the step are waited for",
        seen_of(
            status={"weight": 0, "losses": 1, "step_started_at": NOW - 5},
            route=route_seen(0, has_canary=True),
            canary=canary_seen(SPEC, available=1),
        ),
        None,
        {"weight": 0},
        "waiting for the others",
    ),
    Case(
        "pods that never come back cost a step",
        seen_of(
            status={"weight": 0, "losses": 1, "step_started_at": NOW - 31},
            route=route_seen(0, has_canary=True),
            canary=canary_seen(SPEC, available=1),
        ),
        SetWeight(5),
        {"step": 2, "weight": 5},
    ),
    Case(
        "no way up while paused",
        seen_of(status={"weight": 0, "losses": 1, "paused": True}, route=route_seen(0, has_canary=True)),
        None,
        {"weight": 0},
    ),
    Case(
        "no way up without metrics",
        seen_of(
            status={"weight": 0, "losses": 1},
            route=route_seen(0, has_canary=True),
            analysis=analysis_seen(SPEC, health=MetricsHealth.STALE),
        ),
        None,
        {"weight": 0},
    ),
    Case(
        "which is said once the step's deadline is over",
        seen_of(
            status={"weight": 0, "losses": 1, **LATE},
            route=route_seen(0, has_canary=True),
            analysis=analysis_seen(SPEC, health=MetricsHealth.STALE),
        ),
        None,
        {"weight": 0},
        "longer than 2h",
    ),
    Case(
        "or ends the release",
        seen_of(
            spec=ROLLBACK,
            status={"weight": 0, "losses": 1, **LATE},
            route=route_seen(0, has_canary=True),
            analysis=analysis_seen(ROLLBACK, health=MetricsHealth.STALE),
        ),
        None,
        {**BACK, "outcome_reason": "StepDeadlineExceeded"},
    ),
    Case(
        "so does a 0 of somebody else's without metrics",
        seen_of(
            spec=ROLLBACK,
            status=LATE,
            route=route_seen(0, has_canary=True),
            analysis=analysis_seen(ROLLBACK, health=MetricsHealth.STALE),
        ),
        None,
        {**BACK, "outcome_reason": "StepDeadlineExceeded"},
    ),
)


@pytest.mark.parametrize("case", ROUTES, ids=str)
def test_route_and_capacity(case: Case) -> None:
    check(case)
