"""The order in which rules are asked; the first that answers wins."""

from __future__ import annotations

from collections.abc import Callable

from modelrelease.rollout.autoscaler import hold_again
from modelrelease.rollout.decision import Decision
from modelrelease.rollout.guard import (
    abort,
    another_release,
    canary_lost,
    deletion,
    lost_for_good,
    settings_edited,
    stamped,
    superseded,
    suspicion,
    unreadable,
    verdict,
)
from modelrelease.rollout.outcome import conclude
from modelrelease.rollout.preparing import preparing
from modelrelease.rollout.progressing import progressing
from modelrelease.rollout.promoting import baking, promoting
from modelrelease.rollout.rest import at_rest
from modelrelease.rollout.retreat import rolling_back, weight_returned
from modelrelease.rollout.seen import Seen
from modelrelease.rollout.steering import steer
from modelrelease.rollout.stepping import began_late, capacity_follows, come_back
from modelrelease.rollout.weights import foreign_weight, route_gone, weight_set_to_zero

Rule = Callable[[Seen, float], Decision | None]

RULES: tuple[Rule, ...] = (
    # What takes traffic off the canary comes before everything else.
    verdict,
    stamped,
    abort,
    deletion,
    canary_lost,
    lost_for_good,
    another_release,
    superseded,
    # What a person asked for is recorded before anything moves forward.
    steer,
    settings_edited,
    rolling_back,
    at_rest,
    route_gone,
    # The route and the capacity agree with status before status goes on.
    weight_set_to_zero,
    capacity_follows,  # before foreign_weight: a weight that was lowered without a status write is no foreign one
    foreign_weight,
    hold_again,
    unreadable,
    began_late,
    come_back,
    # Forward.
    preparing,
    progressing,
    baking,
    promoting,
)


# Of these, what asks neither for pods nor for Deployments.
WAY_BACK: tuple[Rule, ...] = (abort, deletion, weight_returned, suspicion)


def decide(seen: Seen, now: float) -> Decision:
    """The next thing to do for one release. Pure: the same look at the same time gives the same decision."""
    for rule in RULES:
        decision = rule(seen, now)
        if decision is not None:
            return decision
    return conclude(seen, now, seen.status.message)


def way_back(seen: Seen, now: float) -> Decision | None:
    """What may be decided at a glance, where Deployments and pods cannot be read: to take traffic off the canary, or
    nothing."""
    return next((decision for rule in WAY_BACK if (decision := rule(seen, now)) is not None), None)
