"""Conditions that tools read: they agree with each other and speak of the present generation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelrelease.api.status import (
    ConditionStatus,
    ConditionType,
    Phase,
)
from modelrelease.rollout.decide import decide
from modelrelease.rollout.seen import MetricsHealth, Seen
from simulation.cases import (
    ENTRY,
    LATE,
    NEWER,
    SPEC,
    resting,
    rolling,
)
from simulation.looks import NOW, analysis_seen, route_seen, seen_of, stable_seen
from simulation.world import NAME

CONDITIONS = (
    ("under way", seen_of(), ("False", "True", "False", "Unknown")),
    ("rolling back", rolling(), ("False", "True", "False", "Unknown")),
    ("succeeded", resting(), ("True", "False", "False", "True")),
    ("stable from the start", resting(Phase.STABLE), ("True", "False", "False", "True")),
    ("rolled back", resting(Phase.ROLLED_BACK, stable=stable_seen()), ("False", "False", "False", "False")),
    (
        "a new image, waiting for spec.paused",
        replace(resting(), spec=NEWER.model_copy(update={"paused": True}), generation=2),
        ("False", "True", "False", "Unknown"),
    ),
    (
        "a new image that cannot begin",
        replace(resting(route=None, route_problem=("RouteMissing", "No.")), spec=NEWER, generation=2),
        ("False", "False", "True", "Unknown"),
    ),
    ("drifted", resting(stable=stable_seen()), ("False", "False", "True", "True")),
    ("overdue", seen_of(status=LATE), ("False", "False", "True", "Unknown")),
    (
        "retried",
        resting(Phase.ROLLED_BACK, annotations={"retry": "true"}, stable=stable_seen()),
        ("False", "True", "False", "Unknown"),
    ),
)


@pytest.mark.parametrize(("name", "seen", "expected"), CONDITIONS, ids=[row[0] for row in CONDITIONS])
def test_ready_reconciling_stalled_and_succeeded_agree(name: str, seen: Seen, expected: tuple[str, ...]) -> None:
    status = decide(seen, NOW).status
    kinds = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED, ConditionType.SUCCEEDED)
    found = tuple(str(condition.status) for kind in kinds if (condition := status.condition(kind)))

    assert expected == found, name
    assert {seen.generation} == {condition.observed_generation for condition in status.conditions}


def test_transition_times_change_only_with_the_status() -> None:
    first = decide(seen_of(), NOW).status
    second = decide(replace(seen_of(), status=first), NOW + 10).status
    third = decide(replace(seen_of(analysis=analysis_seen(SPEC, health=MetricsHealth.STALE)), status=first), NOW + 20)

    assert {NOW} == {condition.last_transition_time for condition in second.conditions}
    changed = {c.type for c in third.status.conditions if c.last_transition_time == NOW + 20}
    assert {ConditionType.ANALYSIS_HEALTHY} == changed


def test_a_promotion_that_a_gitops_tool_would_take_back_is_said_in_a_condition() -> None:
    status = decide(seen_of(stable=stable_seen(gitops_owner="argocd-controller")), NOW).status
    condition = status.condition(ConditionType.SUCCEEDED)
    assert condition is not None
    assert (ConditionStatus.UNKNOWN, "ImageOwnedByGitOps") == (condition.status, condition.reason)
    assert NAME in condition.message


def test_history_keeps_ten_releases() -> None:
    seen = rolling(canary=None, route=route_seen(0), status={"history": [ENTRY] * 10})
    assert 10 == len(decide(seen, NOW).status.history)
