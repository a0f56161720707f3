"""The bake, and stable's replacement under the canary's cover."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelrelease.api.snapshot import snapshot_of
from modelrelease.api.spec import EnvVar
from modelrelease.api.status import ConditionStatus, ConditionType, Outcome, Phase
from modelrelease.rollout.canary import completed
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import (
    DeleteCanary,
    RestoreRoute,
    SetStableTemplate,
    SetWeight,
)
from modelrelease.rollout.labels import TEMPLATE
from modelrelease.rollout.revision import template_digest
from modelrelease.rollout.running import template_of
from modelrelease.rollout.seen import MetricsHealth, PodTrouble, Seen
from simulation.cases import (
    BACK,
    NEWER,
    REVISION,
    SPEC,
    STABLE_TEMPLATE,
    STAMPED,
    TEN,
    THIRD,
    Case,
    check,
    gone,
    odd_route,
)
from simulation.looks import NOW, analysis_seen, canary_seen, route_seen, seen_of, spec_of, stable_seen
from simulation.world import NEW_IMAGE, STABLE_IMAGE, deployment

PROMOTING: dict[str, Any] = {
    "step": 5,
    "weight": 100,
    "confirmed_weight": 100,
    "stable_template": STABLE_TEMPLATE,
}


def _promoting(spec: Any = SPEC, **changes: Any) -> Seen:
    status = {**PROMOTING, **changes.pop("status", {})}
    return seen_of(
        Phase.PROMOTING, spec=spec, status=status, **{"canary": canary_seen(spec, replicas=10, available=10), **changes}
    )


def _template_of(image: str, **changes: Any) -> Any:
    body = deployment(10)
    template = body["spec"]["template"]  # type: ignore[index,call-overload]
    template["spec"]["containers"][0].update({"image": image, **changes})  # type: ignore[index,call-overload]
    return template


def _stable_with(image: str, annotations: dict[str, str] | None = None, **changes: Any) -> Any:
    manifest: Any = deployment(10)
    manifest["spec"]["template"] = _template_of(image)
    manifest["metadata"]["annotations"] = annotations or {}
    return stable_seen(image=image, manifest=manifest, **changes)


def _waiting(changed_at: float) -> Any:
    """Stable whose last pod is refused since `changed_at`."""
    trouble = PodTrouble("FailedCreate", "exceeded quota")
    return _stable_with(
        NEW_IMAGE, is_rolled_out=False, available=9, trouble=trouble, pods_changed_at_seconds=changed_at
    )


DROPPED = EnvVar(name="MODEL", value="b")
KEPT = {"name": "THREADS", "value": "2"}


def _stable_with_env() -> Any:
    manifest: Any = deployment(10)
    manifest["spec"]["template"] = _template_of(STABLE_IMAGE, env=[KEPT, DROPPED.model_dump()])
    return stable_seen(manifest=manifest, env=(("THREADS", "2"), ("MODEL", "b")))


WITH_ENV = _stable_with_env()
ENV = spec_of(STABLE_IMAGE, env=[{"name": "MODEL", "value": "b"}])
CREATED_TEMPLATE: Any = {"metadata": {}, "spec": {"containers": [{"name": "server", "resources": {}}]}}
CREATED = spec_of(STABLE_IMAGE, workload={"template": CREATED_TEMPLATE})
BAKED: dict[str, Any] = {"step": 5, "weight": 100, "confirmed_weight": 100}

PROMOTION = (
    Case(
        "the bake",
        seen_of(Phase.BAKING, status={**BAKED, "step_started_at": NOW - 5}, canary=TEN),
        None,
        {"phase": Phase.BAKING},
        "the bake lasts another",
    ),
    Case(
        "the bake is over",
        seen_of(Phase.BAKING, status={**BAKED, "promoted_image": STABLE_IMAGE}, canary=TEN),
        None,
        {"phase": Phase.PROMOTING, "stable_template": STABLE_TEMPLATE, "promoted_image": STABLE_IMAGE},
    ),
    Case(
        "no promotion without metrics",
        seen_of(Phase.BAKING, status=BAKED, canary=TEN, analysis=analysis_seen(SPEC, health=MetricsHealth.UNAVAILABLE)),
        None,
        {"phase": Phase.BAKING},
        "no evidence",
    ),
    Case(
        "but by a person",
        seen_of(
            Phase.BAKING,
            status={**BAKED, "approved_step": 6},
            canary=TEN,
            analysis=analysis_seen(SPEC, health=MetricsHealth.UNAVAILABLE),
        ),
        None,
        {"phase": Phase.PROMOTING},
    ),
    Case(
        "the bake pauses",
        seen_of(Phase.BAKING, spec=spec_of(paused=True), status=BAKED, canary=TEN),
        None,
        {"phase": Phase.BAKING},
        "Paused",
    ),
    Case(
        "a canary that was edited covers nothing more",
        _promoting(canary=canary_seen(SPEC, replicas=10, available=10, image="somebody/else:v0")),
        SetWeight(0),
        {**BACK, "outcome": Outcome.SUPERSEDED, "outcome_reason": "CanaryChanged"},
        "was edited: its image is somebody/else:v0",
    ),
    Case(
        "also while stable rolls",
        _promoting(
            canary=canary_seen(SPEC, replicas=10, available=10, env=(("MODEL", "x"),), revision="f00"),
            stable=_stable_with(NEW_IMAGE, is_rolled_out=False, available=8),
        ),
        SetWeight(0),
        {**BACK, "outcome": Outcome.SUPERSEDED, "outcome_reason": "CanaryChanged"},
    ),
    Case(
        "an edited canary serves where nothing else does",
        _promoting(
            canary=canary_seen(SPEC, replicas=10, available=10, image="somebody/else:v0"),
            stable=_stable_with(NEW_IMAGE, is_rolled_out=False, available=0),
        ),
        None,
        {"phase": Phase.ROLLING_BACK, "weight": 100, "outcome_reason": "CanaryChanged"},
    ),
    Case(
        "and where stable is gone",
        _promoting(canary=canary_seen(SPEC, replicas=10, available=10, image="somebody/else:v0"), stable=None),
        None,
        {"phase": Phase.PROMOTING, "weight": 100},
        "the canary keeps serving",
    ),
    Case(
        "an edited canary is left by a stable that is through",
        _promoting(
            canary=canary_seen(SPEC, replicas=10, available=10, image="somebody/else:v0"),
            stable=_stable_with(NEW_IMAGE),
        ),
        SetWeight(0),
        {"phase": Phase.PROMOTING, "weight": 0},
    ),
    Case(
        "an edit of the specification is none of the canary",
        _promoting(
            spec_of(env=[{"name": "MODEL", "value": "later"}]),
            canary=canary_seen(SPEC, replicas=10, available=10),
            stable=_stable_with(NEW_IMAGE, is_rolled_out=False, available=8),
            status={"snapshot": snapshot_of(SPEC, 0), "revision": REVISION},
        ),
        None,
        {"phase": Phase.PROMOTING, "weight": 100},
    ),
    Case("stable gets the image", _promoting(), SetStableTemplate(_template_of(NEW_IMAGE))),
    Case(
        "an environment alone",
        _promoting(ENV),
        SetStableTemplate(_template_of(STABLE_IMAGE, env=[{"name": "MODEL", "value": "b"}])),
    ),
    Case(
        "a template alone",
        _promoting(CREATED),
        SetStableTemplate(
            {
                **completed(CREATED_TEMPLATE, STABLE_TEMPLATE, ("app",)),
                "spec": {"containers": [{"name": "server", "resources": {}, "image": STABLE_IMAGE}]},
            },
            template_digest(CREATED_TEMPLATE),
        ),
    ),
    Case(
        "a template that stable has already",
        _promoting(
            CREATED,
            stable=_stable_with(STABLE_IMAGE, {TEMPLATE: template_digest(CREATED_TEMPLATE)}),
        ),
        SetWeight(0),
        {"weight": 0},
    ),
    Case(
        "stable rolls",
        _promoting(stable=_stable_with(NEW_IMAGE, is_rolled_out=False)),
        None,
        {"weight": 100},
        "rolls out",
    ),
    Case(
        "stable that does not get on for too long stalls, and the canary serves",
        _promoting(stable=_waiting(NOW - 31), status={"phase_started_at": NOW - 90}),
        None,
        {"phase": Phase.PROMOTING, "weight": 100},
        "FailedCreate: exceeded quota. Mend what keeps stable's pods from getting ready",
    ),
    Case(
        "stable's pods are too young",
        _promoting(stable=_stable_with(NEW_IMAGE, pods_changed_at_seconds=NOW - 1)),
        None,
        {"weight": 100},
    ),
    Case(
        "young pods are better than none",
        _promoting(stable=_stable_with(NEW_IMAGE, pods_changed_at_seconds=NOW - 1), canary=gone()),
        SetWeight(0),
        {"weight": 0, "phase": Phase.PROMOTING},
    ),
    Case(
        "stable scaled to 0 gets no traffic",
        _promoting(stable=_stable_with(NEW_IMAGE, replicas=0, available=0)),
        None,
        {"weight": 100},
    ),
    Case(
        "traffic goes back",
        _promoting(stable=_stable_with(NEW_IMAGE)),
        SetWeight(0),
        {"weight": 0, "phase": Phase.PROMOTING},
    ),
    Case(
        "a third destination does not hold that up",
        _promoting(stable=_stable_with(NEW_IMAGE), status={"weight": 0}, route=THIRD),
        RestoreRoute(),
    ),
    Case(
        "edited before stable was touched: gives way",
        replace(_promoting(), spec=NEWER),
        None,
        {"phase": Phase.ROLLING_BACK, "outcome": Outcome.SUPERSEDED, "weight": 100},
    ),
    Case(
        "an environment that nobody analysed is not promoted",
        replace(_promoting(), spec=spec_of(env=[{"name": "MODEL", "value": "b"}])),
        None,
        {"phase": Phase.ROLLING_BACK, "outcome": Outcome.SUPERSEDED},
    ),
    Case(
        "edited later: finishes first",
        replace(_promoting(stable=_stable_with(NEW_IMAGE, is_rolled_out=False)), spec=NEWER),
        None,
        {"phase": Phase.PROMOTING},
    ),
    Case(
        "the cover is lost",
        _promoting(stable=_stable_with(NEW_IMAGE, is_rolled_out=False), canary=gone()),
        SetWeight(0),
        {**BACK, "outcome_reason": "CanaryLost"},
    ),
    Case(
        "the cover of an environment alone is lost before stable is touched",
        _promoting(ENV, canary=canary_seen(ENV, available=0, ready=0)),
        SetWeight(0),
        {**BACK, "outcome_reason": "CanaryLost"},
    ),
    Case(
        "a canary that came back into the route while it drains gets nothing again, and drains anew",
        _promoting(stable=_stable_with(NEW_IMAGE), status={"weight": 0}, route=route_seen(5)),
        SetWeight(0),
        {"weight": 0, "phase_started_at": NOW},
    ),
    Case(
        "a route without canary, once stable runs the release, is the end too",
        _promoting(stable=_stable_with(NEW_IMAGE), route=route_seen(0)),
        None,
        {"weight": 0, "phase": Phase.PROMOTING, "fights": 0},
    ),
    Case(
        "both are lost",
        _promoting(stable=_stable_with(NEW_IMAGE, is_rolled_out=False, available=0), canary=gone()),
        None,
        {"phase": Phase.PROMOTING},
        "Neither",
    ),
    Case(
        "abort while stable rolls keeps the canary serving",
        _promoting(annotations={"abort": "x"}, stable=_stable_with(NEW_IMAGE, is_rolled_out=False)),
        None,
        {"phase": Phase.ROLLING_BACK, "weight": 100},
    ),
    Case(
        "somebody else's weight while stable rolls is put back",
        _promoting(stable=_stable_with(NEW_IMAGE, is_rolled_out=False), route=route_seen(50)),
        SetWeight(100),
        {"fights": 1, "paused": False},
    ),
    Case(
        "a destination that somebody removed while stable rolls, too",
        _promoting(stable=_stable_with(NEW_IMAGE, is_rolled_out=False), route=route_seen(0)),
        SetWeight(100),
        {"fights": 1},
    ),
    Case(
        "but not for ever: the promotion goes on",
        _promoting(stable=_stable_with(NEW_IMAGE), route=route_seen(50), status={"fights": 3}),
        SetWeight(0),
        {"weight": 0, "paused": False},
    ),
    Case(
        "a weight of 0 that the operator wrote before it died is the end",
        _promoting(stable=_stable_with(NEW_IMAGE), route=route_seen(0, has_canary=True)),
        None,
        {"weight": 0, "phase": Phase.PROMOTING, "fights": 0},
    ),
    Case(
        "no weight for a canary without pods",
        _promoting(stable=_stable_with(NEW_IMAGE), route=route_seen(50), canary=gone()),
        SetWeight(0),
        {"weight": 0},
    ),
    Case(
        "deletion while stable rolls takes it back",
        _promoting(is_deleting=True, stable=_stable_with(NEW_IMAGE, is_rolled_out=False)),
        None,
        {"phase": Phase.ROLLING_BACK, "weight": 100},
    ),
    Case(
        "deletion after the traffic is back leaves stable as it is",
        _promoting(is_deleting=True, stable=_stable_with(NEW_IMAGE), status={"weight": 0}, route=THIRD),
        RestoreRoute(),
        {"phase": Phase.PROMOTING},
    ),
    Case(
        "nor does it wait for a route that is gone",
        _promoting(
            is_deleting=True,
            stable=_stable_with(NEW_IMAGE),
            status={"weight": 0},
            route=None,
            route_problem=("VirtualServiceMissing", "It is gone."),
        ),
        DeleteCanary("uid-canary"),
        {"phase": Phase.PROMOTING},
    ),
    Case(
        "a route that was edited gives stable its traffic in every shape",
        _promoting(stable=_stable_with(NEW_IMAGE), **odd_route(100)),
        SetWeight(0),
        {"phase": Phase.PROMOTING, "weight": 0},
    ),
    Case(
        "also where it is a share that no release has set",
        _promoting(**odd_route(60)),
        SetStableTemplate(_template_of(NEW_IMAGE), ""),
        {"phase": Phase.PROMOTING, "weight": 100, "fights": 0},
    ),
    Case(
        "a route that cannot be read may still send the canary something",
        _promoting(
            stable=_stable_with(NEW_IMAGE),
            status={"weight": 0},
            route=None,
            route_problem=("Forbidden", "It cannot be read."),
        ),
        None,
        {"phase": Phase.PROMOTING},
        "cannot be read",
    ),
    Case(
        "also where only the route says so",
        _promoting(is_deleting=True, stable=_stable_with(NEW_IMAGE), route=route_seen(0, has_canary=True)),
        None,
        {"phase": Phase.PROMOTING, "weight": 0},
    ),
    Case(
        "a variable that the specification dropped goes from stable, others stay",
        _promoting(status={"released_env": [DROPPED], "stable_template": template_of(WITH_ENV)}, stable=WITH_ENV),
        SetStableTemplate(_template_of(NEW_IMAGE, env=[KEPT])),
    ),
    Case(
        "one that somebody has set anew stays, too",
        _promoting(
            status={
                "released_env": [EnvVar(name="MODEL", value="other")],
                "stable_template": template_of(WITH_ENV),
            },
            stable=WITH_ENV,
        ),
        SetStableTemplate(_template_of(NEW_IMAGE, env=[KEPT, DROPPED.model_dump()])),
    ),
    Case(
        "the end",
        _promoting(stable=_stable_with(NEW_IMAGE), status={"weight": 0}, route=route_seen(0), canary=None),
        None,
        {
            "phase": Phase.SUCCEEDED,
            "released_revision": REVISION,
            "promoted_image": NEW_IMAGE,
            "stable_template": None,
        },
    ),
)


@pytest.mark.parametrize("case", PROMOTION, ids=str)
def test_the_end_of_a_good_release(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(
    ("begun_ago", "changed_ago", "expected"),
    [
        (29, 90, (ConditionStatus.FALSE, "NotStalled")),
        (90, 29, (ConditionStatus.FALSE, "NotStalled")),
        (90, 31, (ConditionStatus.TRUE, "ProgressDeadlineExceeded")),
    ],
    ids=["just begun", "pods get ready", "nothing changes"],
)
def test_a_promotion_stalls_where_stable_does_not_get_on(
    begun_ago: float, changed_ago: float, expected: tuple[ConditionStatus, str]
) -> None:
    seen = _promoting(stable=_waiting(NOW - changed_ago), status={"phase_started_at": NOW - begun_ago})
    stalled = decide(seen, NOW).status.condition(ConditionType.STALLED)
    assert stalled is not None
    assert expected == (stalled.status, stalled.reason)


def test_an_abort_comes_too_late_once_stable_has_its_traffic_back() -> None:
    """To roll stable back then would be without a canary that covers it."""
    seen = _promoting(annotations={"abort": "x"}, stable=_stable_with(NEW_IMAGE), status={"weight": 0}, route=THIRD)
    decision = decide(seen, NOW)
    assert (Phase.PROMOTING, "NothingToDo") == (decision.status.phase, decision.announcements[0].reason)
    assert "set spec.image" in decision.announcements[0].message


def test_an_empty_variable_is_dropped_although_the_api_server_leaves_its_value_out() -> None:
    """Else the promotion would ask for the same template again and again."""
    empty = EnvVar(name="FLAG", value="")
    manifest: Any = deployment(10)
    manifest["spec"]["template"] = _template_of(STABLE_IMAGE, env=[KEPT, {"name": "FLAG"}])
    stable = stable_seen(manifest=manifest, env=(("THREADS", "2"), ("FLAG", "")))
    asked = _promoting(status={"released_env": [empty], "stable_template": template_of(stable)}, stable=stable)

    effect: Any = decide(asked, NOW).effect
    assert SetStableTemplate(_template_of(NEW_IMAGE, env=[KEPT])) == effect

    manifest["spec"]["template"] = effect.template
    given = stable_seen(manifest=manifest, image=NEW_IMAGE, env=(("THREADS", "2"),))
    assert SetWeight(0) == decide(replace(asked, stable=given), NOW).effect


def test_nulls_in_a_template_are_no_difference() -> None:
    """Old API servers write `creationTimestamp: null`; to restore that for ever would be a hot loop."""
    before = {**STABLE_TEMPLATE, "metadata": {**STABLE_TEMPLATE["metadata"], "creationTimestamp": None}}
    status = {**PROMOTING, "stable_template": before, "outcome": Outcome.ROLLED_BACK, "outcome_reason": "Aborted"}
    seen = seen_of(Phase.ROLLING_BACK, status=status, canary=STAMPED)
    assert SetWeight(0) == decide(seen, NOW).effect


def test_what_is_recorded_is_what_was_released_whatever_is_asked_for_by_then() -> None:
    spec = spec_of(env=[{"name": "MODEL", "value": "b"}])
    seen = _promoting(
        spec,
        stable=_stable_with(NEW_IMAGE),
        status={"weight": 0, "snapshot": snapshot_of(spec, 0)},
        route=route_seen(0),
        canary=None,
    )
    edited = replace(seen, spec=spec_of(env=[{"name": "MODEL", "value": "c"}]))

    status = decide(edited, NOW).status

    assert (Phase.SUCCEEDED, [DROPPED]) == (status.phase, status.released_env)
