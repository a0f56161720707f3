"""Between releases: what begins one, and what does not."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from modelrelease.api.spec import EnvVar
from modelrelease.api.status import ConditionStatus, ConditionType, HeldAutoscaler, Phase
from modelrelease.controller.refresh import is_significant
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import (
    AddFinalizer,
    DeleteCanary,
    RemoveFinalizer,
    RestoreRoute,
    SetAutoscalerMinimum,
    SetStableTemplate,
)
from modelrelease.rollout.labels import AUTOSCALER
from modelrelease.rollout.revision import revision_of
from modelrelease.rollout.seen import AutoscalerSeen, DeploymentSeen, Seen
from simulation.cases import (
    ENTRY,
    NEWER,
    SPEC,
    STABLE_TEMPLATE,
    Case,
    check,
    resting,
)
from simulation.looks import NOW, canary_seen, route_seen, seen_of, spec_of, stable_seen
from simulation.world import NEW_IMAGE, deployment


def _half_promoted() -> DeploymentSeen:
    """Stable in the middle of a promotion, none of its pods available."""
    manifest: Any = deployment(10)
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = NEW_IMAGE
    return stable_seen(image=NEW_IMAGE, manifest=manifest, available=0, is_rolled_out=False)


def _replaced(stable: DeploymentSeen, **canary: Any) -> Seen:
    """A ModelRelease without any status, beside a canary that an earlier one left with all traffic."""
    left = canary_seen(SPEC, **canary)
    return seen_of(Phase.INITIALIZING, stable=stable, canary=left, route=route_seen(100))


HELD = HeldAutoscaler(name="hpa", min_replicas=2, held_at=10)


def _holding() -> DeploymentSeen:
    """A canary that tells which autoscaler its release held."""
    canary = canary_seen(SPEC)
    manifest: Any = copy.deepcopy(canary.manifest)
    manifest["metadata"]["annotations"][AUTOSCALER] = HELD.model_dump_json()
    return replace(canary, manifest=manifest)


AT_REST = (
    Case(
        "a promotion of which no status knows is taken back first",
        _replaced(_half_promoted()),
        SetStableTemplate(STABLE_TEMPLATE),
    ),
    Case(
        "no traffic goes to a stable without pods",
        _replaced(stable_seen(available=0)),
        None,
        {"phase": Phase.INITIALIZING},
        "goes on serving",
    ),
    Case("unless the canary has none either", _replaced(stable_seen(available=0), available=0), RestoreRoute()),
    Case("a stable that is back takes the traffic", _replaced(stable_seen()), RestoreRoute()),
    Case("nothing to do", resting(), None, {"phase": Phase.SUCCEEDED}),
    Case("no finalizer at rest", resting(has_finalizer=True), RemoveFinalizer()),
    Case("a new image begins with the finalizer", replace(resting(), spec=NEWER), AddFinalizer()),
    Case(
        "a new image begins",
        replace(resting(has_finalizer=True), spec=NEWER),
        None,
        {"phase": Phase.PREPARING, "weight": 0, "step": 0, "retries": 0, "last_handled": []},
    ),
    Case(
        "a new environment begins",
        replace(resting(has_finalizer=True), spec=spec_of(env=[{"name": "MODEL", "value": "b"}])),
        None,
        {"phase": Phase.PREPARING},
    ),
    Case(
        "released by digest",
        resting(
            status={"promoted_image": "harbor.example.com/vision/yolov8-detect@sha256:1"},
            stable=stable_seen(image="harbor.example.com/vision/yolov8-detect@sha256:1"),
        ),
        None,
        {"phase": Phase.SUCCEEDED},
    ),
    Case("drift", resting(stable=stable_seen()), None, {"phase": Phase.SUCCEEDED}, "by somebody else"),
    Case(
        "what was rolled back stays so",
        resting(Phase.ROLLED_BACK, stable=stable_seen()),
        None,
        {"phase": Phase.ROLLED_BACK},
    ),
    Case(
        "what was condemned and is asked for again is another release",
        resting(
            Phase.STABLE,
            status={"revision": "before", "released_revision": "before", "history": [ENTRY]},
            stable=stable_seen(),
            has_finalizer=True,
        ),
        None,
        {"phase": Phase.PREPARING, "retries": 1, "revision": revision_of(SPEC, 1)},
    ),
    Case(
        "no route",
        replace(resting(route=None, route_problem=("RouteMissing", "No route.")), spec=NEWER),
        None,
        {"phase": Phase.SUCCEEDED},
        "No route",
    ),
    Case(
        "a route that is missing is noticed before a release is asked for",
        resting(route=None, route_problem=("RouteMissing", "No route.")),
        None,
        {"phase": Phase.SUCCEEDED, "message": "No route."},
    ),
    Case(
        "metrics that are not configured, too",
        resting(metrics_problem=("UnknownSource", "No source.")),
        None,
        {"phase": Phase.SUCCEEDED, "message": "No source."},
    ),
    Case(
        "a container that is missing, too",
        replace(resting(), spec=spec_of(NEW_IMAGE, workload={"container": "gpu"})),
        None,
        {"phase": Phase.SUCCEEDED},
        "'gpu'",
    ),
    Case(
        "what waits is not shown as what runs",
        replace(resting(), spec=NEWER.model_copy(update={"paused": True})),
        None,
        {"phase": Phase.SUCCEEDED, "tag": "v1.1.0"},
        "The release of v1.2.0 waits",
    ),
    Case(
        "nor what cannot begin",
        replace(resting(route=None, route_problem=("RouteMissing", "No route.")), spec=NEWER),
        None,
        {"tag": "v1.1.0", "message": "The release of v1.2.0 waits. No route."},
    ),
    Case(
        "what was rolled back is named by its image",
        resting(Phase.ROLLED_BACK, stable=stable_seen()),
        None,
        {"phase": Phase.ROLLED_BACK, "tag": "v1.1.0"},
    ),
    Case(
        "a variable that is not asked for any more is released away",
        resting(
            has_finalizer=True,
            status={"released_env": [EnvVar(name="MODEL", value="b")], "released_revision": "before"},
            stable=stable_seen(image=NEW_IMAGE, env=(("MODEL", "b"),)),
        ),
        None,
        {"phase": Phase.PREPARING},
    ),
    Case(
        "one that nobody released is stable's own",
        resting(stable=stable_seen(image=NEW_IMAGE, env=(("MODEL", "b"),))),
        None,
        {"phase": Phase.SUCCEEDED},
    ),
    Case(
        "nor is one that stable had before the first release",
        replace(
            resting(Phase.INITIALIZING, stable=stable_seen(image=NEW_IMAGE, env=(("MODEL", "b"),))),
            spec=spec_of(env=[{"name": "MODEL", "value": "b"}]),
        ),
        None,
        {"phase": Phase.STABLE, "released_env": []},
    ),
    Case("no stable", resting(stable=None), None, {"phase": Phase.SUCCEEDED}, "create it"),
    Case("a conflict", resting(conflict="other"), None, {"phase": Phase.SUCCEEDED}, "'other'"),
    Case(
        "leftovers: route first",
        resting(canary=canary_seen(SPEC), route=route_seen(20)),
        RestoreRoute(),
        {"phase_started_at": NOW},
    ),
    Case(
        "leftovers: what is held is noted before anything else",
        resting(canary=_holding(), route=route_seen(20)),
        None,
        {"held_autoscaler": HELD},
    ),
    Case(
        "what is held is put back though the canary was deleted meanwhile",
        resting(status={"held_autoscaler": HELD}, autoscaler=AutoscalerSeen("hpa", 10, 20)),
        SetAutoscalerMinimum("hpa", 2),
        {"held_autoscaler": HELD},
    ),
    Case(
        "and is forgotten then",
        resting(status={"held_autoscaler": HELD}, autoscaler=AutoscalerSeen("hpa", 2, 20)),
        None,
        {"held_autoscaler": None},
    ),
    Case("leftovers drain", resting(canary=canary_seen(SPEC), status={"phase_started_at": NOW - 1}), None),
    Case("leftovers go", resting(canary=canary_seen(SPEC)), DeleteCanary("uid-canary")),
    Case(
        "leftovers behind a route that cannot be read stay",
        resting(canary=canary_seen(SPEC), route=None, route_problem=("Forbidden", "Odd.")),
        None,
        {},
        "Odd",
    ),
)


@pytest.mark.parametrize("case", AT_REST, ids=str)
def test_at_rest(case: Case) -> None:
    check(case)


def test_an_event_about_drift_is_said_once_and_the_message_goes_with_it() -> None:
    drifted = decide(resting(stable=stable_seen()), NOW)
    again = decide(replace(resting(stable=stable_seen()), status=drifted.status), NOW)
    mended = decide(replace(resting(), status=drifted.status), NOW)

    assert ["StableDrifted"] == [one.reason for one in drifted.announcements]
    assert () == again.announcements
    assert "Stable runs v1.1.0; nothing to release." == mended.status.message


def test_the_story_of_a_rollback_comes_back_after_a_stall() -> None:
    seen = resting(Phase.ROLLED_BACK, stable=None, status={"history": [ENTRY]})
    stalled = decide(seen, NOW)
    mended = decide(replace(seen, stable=stable_seen(), status=stalled.status), NOW)
    assert "The release of v1.1.0 was rolled back after 1m. A person aborted it." == mended.status.message


@pytest.mark.parametrize(
    "trouble",
    [{"route": None, "route_problem": ("RouteMissing", "No route.")}, {"metrics_problem": ("UnknownSource", "None.")}],
    ids=["route", "source"],
)
def test_trouble_at_rest_makes_it_unready_once_and_goes_without_a_trace(trouble: dict[str, Any]) -> None:
    calm = decide(resting(), NOW).status
    found = decide(replace(resting(**trouble), status=calm), NOW)
    again = decide(replace(resting(**trouble), status=found.status), NOW)
    mended = decide(replace(resting(), status=found.status), NOW)

    ready = found.status.condition(ConditionType.READY)
    assert ready is not None
    assert (ConditionStatus.FALSE, 1, None) == (ready.status, len(found.announcements), found.effect)
    assert ((), False) == (again.announcements, is_significant(found.status, again.status))
    assert found.status.message == again.status.message
    assert "Stable runs v1.1.0; nothing to release." == mended.status.message


def test_a_release_that_was_not_begun_leaves_no_message_behind() -> None:
    waiting = decide(replace(resting(), spec=NEWER.model_copy(update={"paused": True})), NOW)
    taken_back = decide(replace(resting(), status=waiting.status), NOW)
    assert "Stable runs v1.1.0; nothing to release." == taken_back.status.message


def test_a_gitops_tool_that_would_take_the_image_back_is_named_at_the_beginning() -> None:
    stable = stable_seen(image=NEW_IMAGE, gitops_owner="argocd-controller")
    begun = decide(replace(resting(has_finalizer=True, stable=stable), spec=NEWER), NOW)
    succeeded = begun.status.condition(ConditionType.SUCCEEDED)

    assert ["ReleaseStarted", "ImageOwnedByGitOps"] == [one.reason for one in begun.announcements]
    assert succeeded is not None
    assert ("ImageOwnedByGitOps", True) == (succeeded.reason, "argocd-controller" in succeeded.message)
