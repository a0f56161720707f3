"""Between releases: what begins one, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelrelease.api.status import (
    Phase,
)
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import (
    AddFinalizer,
    DeleteCanary,
    RemoveFinalizer,
    RestoreRoute,
)
from modelrelease.rollout.revision import revision_of
from simulation.cases import (
    ENTRY,
    NEWER,
    SPEC,
    Case,
    check,
    resting,
)
from simulation.looks import NOW, canary_seen, route_seen, spec_of, stable_seen

AT_REST = (
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
    Case("no stable", resting(stable=None), None, {"phase": Phase.SUCCEEDED}, "create it"),
    Case("a conflict", resting(conflict="other"), None, {"phase": Phase.SUCCEEDED}, "'other'"),
    Case(
        "leftovers: route first",
        resting(canary=canary_seen(SPEC), route=route_seen(20)),
        RestoreRoute(),
        {"phase_started_at": NOW},
    ),
    Case("leftovers drain", resting(canary=canary_seen(SPEC), status={"phase_started_at": NOW - 1}), None),
    Case("leftovers go", resting(canary=canary_seen(SPEC)), DeleteCanary("uid-canary")),
    Case(
        "leftovers behind a route that cannot be read stay",
        resting(canary=canary_seen(SPEC), route=None, route_problem=("RouteUnsupported", "Odd.")),
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
