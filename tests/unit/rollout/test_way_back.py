"""What takes traffic off the canary, and how everything is put back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelrelease.api.status import (
    ArmStatus,
    ConditionType,
    HeldAutoscaler,
    Outcome,
    Phase,
)
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import (
    DeleteCanary,
    RestoreRoute,
    SetAutoscalerMinimum,
    SetWeight,
)
from modelrelease.rollout.running import mark_of
from modelrelease.rollout.seen import AutoscalerSeen, DeploymentSeen, MetricsHealth, Seen
from simulation.cases import (
    BACK,
    ENTRY,
    NEWER,
    REVISION,
    SPEC,
    STABLE_TEMPLATE,
    STAMPED,
    THIRD,
    Case,
    check,
    gone,
    odd_route,
    rolling,
)
from simulation.looks import NOW, analysis_seen, canary_seen, route_seen, seen_of, spec_of, stable_seen
from simulation.world import NEW_IMAGE, STABLE_IMAGE

CHANGED = ENTRY.model_copy(update={"outcome": Outcome.SUPERSEDED, "reason": "CanaryChanged"})

WAY_BACK = (
    Case(
        "a verdict takes traffic off",
        seen_of(analysis=analysis_seen(SPEC, blame="errors")),
        SetWeight(0),
        {**BACK, "outcome_reason": "ErrorRateTooHigh", "outcome": Outcome.ROLLED_BACK},
    ),
    Case(
        "a verdict counts although metrics are stale by now",
        seen_of(analysis=analysis_seen(SPEC, blame="latency", health=MetricsHealth.STALE)),
        SetWeight(0),
        {**BACK, "outcome_reason": "LatencyTooHigh"},
    ),
    Case(
        "a verdict counts while paused",
        seen_of(Phase.PAUSED, status={"paused": True}, analysis=analysis_seen(SPEC, blame="errors")),
        SetWeight(0),
        BACK,
    ),
    Case(
        "a verdict in the bake names the metric",
        seen_of(Phase.BAKING, analysis=analysis_seen(SPEC, blame="errors-bake")),
        SetWeight(0),
        {**BACK, "outcome_reason": "ErrorRateTooHigh"},
    ),
    Case(
        "a verdict asks for no pod of stable, and says that there is none",
        seen_of(analysis=analysis_seen(SPEC, blame="errors"), stable=stable_seen(available=0)),
        SetWeight(0),
        BACK,
        "Stable has no available pod: nothing answers until it has.",
    ),
    Case(
        "a verdict wins over a promotion",
        seen_of(annotations={"promote": "full"}, analysis=analysis_seen(SPEC, blame="errors")),
        SetWeight(0),
        BACK,
    ),
    Case(
        "a verdict stamped by an operator that died",
        seen_of(canary=canary_seen(SPEC, verdict=f"{REVISION}:LatencyTooHigh")),
        SetWeight(0),
        {**BACK, "outcome_reason": "LatencyTooHigh"},
    ),
    Case(
        "a verdict stamped in another revision means nothing",
        seen_of(canary=canary_seen(SPEC, verdict="0123456789:LatencyTooHigh")),
        None,
        {"phase": Phase.PROGRESSING, "weight": 20},
    ),
    Case(
        "abort beats promote",
        seen_of(annotations={"abort": "smells", "promote": "full"}),
        SetWeight(0),
        {**BACK, "outcome_reason": "Aborted"},
        "smells",
    ),
    Case(
        "abort of this revision",
        seen_of(annotations={"abort": f"true@{REVISION}"}),
        SetWeight(0),
        {**BACK, "outcome_reason": "Aborted"},
    ),
    Case(
        "abort with an address in its reason",
        seen_of(annotations={"abort": "asked oncall@team"}),
        SetWeight(0),
        {**BACK, "outcome_reason": "Aborted"},
        "asked oncall@team",
    ),
    Case("deletion", seen_of(is_deleting=True), SetWeight(0), {**BACK, "outcome_reason": "Deleted"}),
    Case(
        "deletion depends on no metrics",
        seen_of(is_deleting=True, analysis=analysis_seen(SPEC, health=MetricsHealth.UNAVAILABLE)),
        SetWeight(0),
        BACK,
    ),
    Case(
        "deletion before traffic",
        seen_of(Phase.PREPARING, is_deleting=True, status={"weight": 0, "step": 0}),
        None,
        BACK,
    ),
    Case(
        "the first loss of the canary",
        seen_of(canary=gone()),
        SetWeight(0),
        {"phase": Phase.PROGRESSING, "weight": 0, "losses": 1},
    ),
    Case("a canary that is deleted", seen_of(canary=None), SetWeight(0), {"weight": 0, "losses": 1}),
    Case(
        "the second loss is a verdict",
        seen_of(canary=gone(), status={"losses": 1}),
        SetWeight(0),
        {**BACK, "outcome_reason": "CanaryCrashed"},
    ),
    Case(
        "a crash loop is a verdict",
        seen_of(canary=replace(gone(), crash_loop=True)),
        SetWeight(0),
        {**BACK, "outcome_reason": "CanaryCrashed"},
    ),
    Case(
        "a loss whose status write failed is counted once",
        seen_of(canary=gone(), route=route_seen(0, has_canary=True)),
        None,
        {"weight": 0, "losses": 1},
    ),
    Case(
        "a canary lost for good",
        seen_of(canary=gone(), status={"weight": 0, "losses": 1, "step_started_at": NOW - 31}, route=route_seen(0)),
        None,
        {**BACK, "outcome_reason": "CanaryUnavailable"},
    ),
    Case(
        "another image on the canary",
        seen_of(canary=canary_seen(SPEC, image=STABLE_IMAGE)),
        SetWeight(0),
        {**BACK, "outcome_reason": "CanaryChanged", "outcome": Outcome.SUPERSEDED},
    ),
    Case(
        "a tag that was moved",
        seen_of(canary=canary_seen(SPEC, digests=("a@sha256:1", "a@sha256:2"))),
        SetWeight(0),
        {**BACK, "outcome_reason": "CanaryChanged"},
    ),
    Case(
        "environment of the canary edited by hand",
        seen_of(
            spec=spec_of(env=[{"name": "MODEL", "value": "b"}]),
            canary=canary_seen(spec_of(env=[{"name": "MODEL", "value": "b"}]), env=(("MODEL", "c"),)),
        ),
        SetWeight(0),
        {**BACK, "outcome_reason": "CanaryChanged"},
    ),
    Case(
        "anything else in the canary's template edited by hand",
        seen_of(status={"canary_template": "0123456789"}),
        SetWeight(0),
        {**BACK, "outcome_reason": "CanaryChanged", "outcome": Outcome.SUPERSEDED},
    ),
    Case(
        "a template that is as it was",
        seen_of(status={"canary_template": mark_of(canary_seen(SPEC))}),
        None,
        {"phase": Phase.PROGRESSING, "weight": 20},
    ),
    Case(
        "a canary edited before its first step gets no traffic",
        seen_of(
            Phase.PREPARING,
            status={"weight": 0, "confirmed_weight": 0, "step": 0, "ever_weighted": False},
            route=route_seen(0),
            canary=canary_seen(SPEC, image=STABLE_IMAGE),
        ),
        None,
        {**BACK, "outcome_reason": "CanaryChanged", "outcome": Outcome.FAILED},
        f"its image is {STABLE_IMAGE} instead of {NEW_IMAGE}",
    ),
    Case(
        "a canary that is changed once more, too",
        seen_of(status={"canary_template": "0123456789", "history": [CHANGED]}),
        SetWeight(0),
        {**BACK, "outcome_reason": "CanaryChanged", "outcome": Outcome.FAILED},
        "not for the first time",
    ),
    Case(
        "what was changed in another release does not count",
        seen_of(
            status={
                "canary_template": "0123456789",
                "history": [CHANGED.model_copy(update={"revision": "other"}), ENTRY],
            }
        ),
        SetWeight(0),
        {**BACK, "outcome": Outcome.SUPERSEDED},
    ),
    Case(
        "one digest under two repositories is one",
        seen_of(
            canary=canary_seen(SPEC, digest="b@sha256:1", digests=("a@sha256:1", "b@sha256:1")),
            status={"canary": ArmStatus(image=NEW_IMAGE, digest="a@sha256:1")},
        ),
        None,
        {"phase": Phase.PROGRESSING, "weight": 20},
    ),
    Case(
        "a verdict does not wait for a specification that can be read",
        seen_of(spec_problem="spec.image: empty", analysis=analysis_seen(SPEC, blame="errors")),
        SetWeight(0),
        {**BACK, "outcome_reason": "ErrorRateTooHigh"},
    ),
    Case(
        "a newer image supersedes",
        replace(seen_of(), spec=NEWER, generation=2),
        SetWeight(0),
        {**BACK, "outcome": Outcome.SUPERSEDED},
    ),
    Case(
        "a newer environment supersedes",
        replace(seen_of(), spec=spec_of(env=[{"name": "MODEL", "value": "b"}]), generation=2),
        SetWeight(0),
        {**BACK, "outcome": Outcome.SUPERSEDED},
    ),
)


@pytest.mark.parametrize("case", WAY_BACK, ids=str)
def test_what_takes_traffic_off_the_canary(case: Case) -> None:
    decision = check(case)
    assert decision.effect is None or decision.effect_first


COVERING = {"weight": 100, "confirmed_weight": 100, "stable_template": STABLE_TEMPLATE}


def _covering(since_seconds: float, **stable: Any) -> Seen:
    """The canary covers stable, which goes back to its old template."""
    status = {**COVERING, "phase_started_at": NOW - since_seconds}
    return rolling(status=status, route=route_seen(100), stable=stable_seen(is_rolled_out=False, **stable))


ROLLING_BACK = (
    Case(
        "the canary covers stable until all its pods are back",
        _covering(29, available=9),
        None,
        {"weight": 100},
        "9 of 10",
    ),
    Case("but not beyond the progress deadline", _covering(31, available=9), SetWeight(0), {"weight": 0}),
    Case("unless stable has no pod at all", _covering(31, available=0), None, {"weight": 100}, "0 of 10"),
    Case("drained: the route gets its shape back", rolling(), RestoreRoute()),
    Case("a third destination does not hold the way back up", rolling(route=THIRD), RestoreRoute()),
    Case("the drain takes its time", rolling(status={"phase_started_at": NOW - 1}), None, {"weight": 0}),
    Case(
        "the drain does not depend on the route's shape",
        rolling(status={"phase_started_at": NOW - 1}, route=route_seen(0)),
        None,
        {"phase": Phase.ROLLING_BACK},
    ),
    Case(
        "weight that somebody gave meanwhile goes to 0, and the drain begins anew",
        rolling(route=route_seen(30)),
        SetWeight(0),
        {"phase_started_at": NOW},
    ),
    Case("then the canary goes", rolling(route=route_seen(0)), DeleteCanary("uid-canary")),
    Case(
        "a route that is gone sends nothing",
        rolling(route=None, route_problem=("VirtualServiceMissing", "It is gone.")),
        DeleteCanary("uid-canary"),
    ),
    *(
        Case(
            f"nor does one without the canary that cannot be split ({reason})",
            rolling(route=None, route_problem=(reason, "It is odd.")),
            DeleteCanary("uid-canary"),
        )
        for reason in ("RouteMissing", "RouteAmbiguous", "RouteUnsupported")
    ),
    Case(
        "traffic comes off in a route of any shape",
        rolling(**odd_route(20)),
        SetWeight(0),
        {"phase": Phase.ROLLING_BACK},
    ),
    Case("and so does the canary's entry", rolling(**odd_route(0)), RestoreRoute()),
    Case(
        "a route that cannot be read may still send traffic",
        rolling(route=None, route_problem=("Forbidden", "It cannot be read.")),
        None,
        {"phase": Phase.ROLLING_BACK},
        "cannot be read",
    ),
    Case(
        "another release's route is left alone",
        rolling(status={"ever_weighted": False}, conflict="other", route=route_seen(50), canary=None),
        None,
        {"phase": Phase.ROLLED_BACK},
    ),
    Case(
        "the autoscaler gets its minimum back",
        rolling(
            canary=None,
            route=route_seen(0),
            status={"held_autoscaler": HeldAutoscaler(name="hpa", min_replicas=2, held_at=10)},
            autoscaler=AutoscalerSeen("hpa", 10, 20),
        ),
        SetAutoscalerMinimum("hpa", 2),
    ),
    Case(
        "a minimum that somebody set meanwhile stands",
        rolling(
            canary=None,
            route=route_seen(0),
            status={"held_autoscaler": HeldAutoscaler(name="hpa", min_replicas=2, held_at=10)},
            autoscaler=AutoscalerSeen("hpa", 4, 20),
        ),
        None,
        {"phase": Phase.ROLLED_BACK},
    ),
    Case(
        "a minimum that was not changed needs nothing",
        rolling(
            canary=None,
            route=route_seen(0),
            status={"held_autoscaler": HeldAutoscaler(name="hpa", min_replicas=10, held_at=10)},
            autoscaler=AutoscalerSeen("hpa", 10, 20),
        ),
        None,
        {"phase": Phase.ROLLED_BACK, "held_autoscaler": None},
    ),
    Case(
        "superseded releases are followed by the next",
        rolling(canary=None, route=route_seen(0), status={"outcome": Outcome.SUPERSEDED}),
        None,
        {"phase": Phase.INITIALIZING, "outcome": Outcome.SUPERSEDED},
    ),
)


@pytest.mark.parametrize("case", ROLLING_BACK, ids=str)
def test_the_way_back(case: Case) -> None:
    check(case)


def test_a_stable_that_does_not_come_back_is_said_to_stall_the_way_back() -> None:
    early, late = (decide(_covering(since, available=0), NOW).status for since in (29, 31))
    conditions = [status.condition(ConditionType.STALLED) for status in (early, late)]
    assert ["NotStalled", "StableUnavailable"] == [one and one.reason for one in conditions]


@pytest.mark.parametrize(
    ("outcome", "reason", "expected"),
    [
        (Outcome.ROLLED_BACK, "ErrorRateTooHigh", ["RolledBack"]),
        (Outcome.FAILED, "ImagePullBackOff", ["Failed"]),
        (Outcome.ROLLED_BACK, "Aborted", []),
        (Outcome.ROLLED_BACK, "Deleted", []),
        (Outcome.SUPERSEDED, "Superseded", []),
    ],
)
def test_the_end_is_told_once_and_never_what_was_told_at_the_beginning(
    outcome: Outcome, reason: str, expected: list[str]
) -> None:
    status = {"outcome": outcome, "outcome_reason": reason, "message": "Because."}
    decision = decide(rolling(canary=None, route=route_seen(0), status=status), NOW)
    assert expected == [one.reason for one in decision.announcements]
    assert not any("Because" in one.message for one in decision.announcements)
    assert outcome is Outcome.SUPERSEDED or "Because" in decision.status.message


@pytest.mark.parametrize(
    "canary", [None, STAMPED, canary_seen(SPEC)], ids=["at the end", "while it drains", "before it is stamped"]
)
def test_what_keeps_the_way_back_up_is_not_what_it_is_remembered_for(canary: DeploymentSeen | None) -> None:
    status = {"message": "The operator may not list pods.", "outcome_message": "Because.", "phase_started_at": NOW}
    decided = decide(rolling(canary=canary, route=route_seen(0), status=status), NOW).status
    assert "Because." in decided.message
    assert ["Because."] * (canary is None) == [entry.message for entry in decided.history]
