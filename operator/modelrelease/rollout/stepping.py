"""A step and its weight: how one begins, and how the weight follows the pods that are there."""

from __future__ import annotations

from typing import Any

from modelrelease.api.spec import Strategy
from modelrelease.api.status import Phase
from modelrelease.judge import enter_step
from modelrelease.rollout.analysis import grid_after, grid_before, judge_settings
from modelrelease.rollout.capacity import replicas_needed, step_for_capacity
from modelrelease.rollout.decision import Announcement, Decision, ScaleCanary, SetWeight
from modelrelease.rollout.guard import SETTLE_SECONDS, SHIFTING
from modelrelease.rollout.holding import hold, is_fresh
from modelrelease.rollout.outcome import conclude
from modelrelease.rollout.seen import DeploymentSeen, Seen

LATE_SECONDS = 10.0
"""A weight that is written later than this after its step was decided on makes the step begin anew."""


def began_late(seen: Seen, now: float) -> Decision | None:
    """The step's weight could be written only long after the decision: the step begins with its weight, not before."""
    status, route = seen.status, seen.route
    if status.phase not in SHIFTING or route is None or status.weight in (0, status.confirmed_weight):
        return None
    late = now - (status.step_started_at or now) > LATE_SECONDS
    if not late or route.weight_percent != status.weight or status.snapshot is None:
        return None
    return conclude(seen, now, status.message, changes=step_changes(seen, now, status.step))


def capacity_follows(seen: Seen, now: float) -> Decision | None:
    """The canary grows with stable and never shrinks, since stable's pods may go because its traffic does; the weight
    goes down only where pods that it rests on are missing."""
    status, canary, stable = seen.status, seen.canary, seen.stable
    if status.phase not in SHIFTING or canary is None or stable is None or status.snapshot is None or status.step == 0:
        return None
    strategy = status.snapshot.strategy
    needed = pods_needed(seen, strategy, strategy.steps[status.step - 1].weight)
    if canary.replicas < needed:
        return conclude(seen, now, status.message, changes={"scaled_at": now}, effect=ScaleCanary(needed))
    if status.weight == 0:
        return None
    if canary.available >= needed:
        is_new = status.capacity not in (0, needed)
        return conclude(seen, now, status.message, changes={"capacity": needed}) if is_new else None
    grows = canary.available >= min(needed, status.capacity or needed)
    in_time = now - (status.scaled_at or status.step_started_at or now) <= strategy.progress_deadline
    if (grows and in_time) or stable.available == 0:
        return None  # new pods are starting, or stable could not take the traffic anyway
    return _lowered(seen, now, needed)


def pods_needed(seen: Seen, strategy: Strategy, weight_percent: int) -> int:
    """Canary pods for a weight beside stable's full size."""
    return replicas_needed(strategy, stable_size(seen), weight_percent)


def stable_size(seen: Seen) -> int:
    """Most replicas that stable had in this release, at least 1: that many served all traffic.

    An autoscaler takes stable's pods away as its traffic leaves, and somebody may delete stable: its present size tells
    nothing about what the traffic needs.
    """
    return max(1, seen.status.stable_size, seen.stable.replicas if seen.stable is not None else 0)


def _lowered(seen: Seen, now: float, needed: int) -> Decision | None:
    """The highest step that the pods there are can carry; None where that is the present one."""
    status, canary = seen.status, seen.canary
    if canary is None or status.snapshot is None:
        return None
    strategy = status.snapshot.strategy
    step = max(1, step_for_capacity(strategy, stable_size(seen), canary.available, status.step))
    if step == status.step:
        return None
    weight = strategy.steps[step - 1].weight
    sentence = (
        f"Only {canary.available} of {needed} canary pods are available, so the weight goes from {status.weight} % "
        f"down to {weight} %."
    )
    return conclude(
        seen,
        now,
        sentence,
        changes={**step_changes(seen, now, step), "phase": Phase.PROGRESSING},
        effect=SetWeight(weight),
        effect_first=True,
        announcements=(Announcement("CapacityLost", sentence, warning=True),),
    )


def step_changes(seen: Seen, now: float, step: int) -> dict[str, Any]:
    """Status changes that begin `step` (from 1), with the judge's gates reset.

    What was answered at the weight so far is still judged, though its samples come later, where the route is known to
    have had that weight until now.
    """
    status = seen.status
    if status.snapshot is None:
        raise ValueError("a release without a snapshot cannot enter a step")
    strategy, analysis = status.snapshot.strategy, status.snapshot.analysis
    weight = strategy.steps[step - 1].weight
    changes: dict[str, Any] = {
        "step": step,
        "weight": weight,
        "step_started_at": now,
        "ever_weighted": True,
        "capacity": pods_needed(seen, strategy, weight),
    }
    state = seen.analysis.state if seen.analysis is not None else None
    if state is not None:
        at = grid_after(now + SETTLE_SECONDS, analysis.interval)
        is_at_weight = status.weight > 0 and status.weight == status.confirmed_weight
        left = grid_before(now, analysis.interval) if is_at_weight else None
        settings = judge_settings(strategy, analysis)
        entered = enter_step(state, settings, step=step - 1, at_seconds=at, left_seconds=left)
        changes["judge"] = entered.to_json()
    return changes


def come_back(seen: Seen, now: float) -> Decision | None:
    """The canary is available again after a loss (or after the route stood at 0): back to the step's weight."""
    status, canary = seen.status, seen.canary
    if status.phase not in SHIFTING or status.weight != 0 or status.step == 0:
        return None
    if status.paused or seen.spec.paused:
        return conclude(seen, now, "Paused at weight 0.")
    if canary is None or canary.available == 0 or status.snapshot is None:
        return conclude(seen, now, status.message)
    step = _step_to_come_back_to(seen, canary, status.snapshot.strategy, now)
    if step is None:
        sentence = f"{canary.available} of {canary.replicas} canary pods are available again; waiting for the others."
        return conclude(seen, now, sentence)
    if not is_fresh(seen):
        return hold(seen, now, "The canary is available again; waiting for fresh metrics before it gets traffic.")
    if not _is_judged_until_loss(seen, now):
        sentence = "The canary is available again; what it answered last is judged before it gets traffic."
        return conclude(seen, now, sentence)
    changes = step_changes(seen, now, step)
    sentence = f"The canary is available again and gets {changes['weight']} % of the traffic."
    return conclude(
        seen,
        now,
        sentence,
        changes=changes,
        effect=SetWeight(changes["weight"]),
        announcements=(Announcement("CanaryBack", sentence),),
    )


def _is_judged_until_loss(seen: Seen, now: float) -> bool:
    """Whether all that the canary answered before its weight went to 0 has been judged.

    Samples are judged late, and a step begins with what comes after it: a canary that is back sooner than that, after
    its pods were not ready for some seconds, would be spared the errors that it made while it went down.
    """
    status, state = seen.status, seen.analysis.state if seen.analysis is not None else None
    if status.snapshot is None or state is None:
        return True
    return state.cursor_seconds >= grid_after(
        (status.step_started_at or now) + SETTLE_SECONDS, status.snapshot.analysis.interval
    )


def _step_to_come_back_to(seen: Seen, canary: DeploymentSeen, strategy: Strategy, now: float) -> int | None:
    """The step that was left; a lower one where its pods do not all come back in time; None: wait for them."""
    status = seen.status
    if canary.available >= pods_needed(seen, strategy, strategy.steps[status.step - 1].weight):
        return status.step
    if now - (status.step_started_at or now) <= strategy.progress_deadline:
        return None
    return max(1, step_for_capacity(strategy, stable_size(seen), canary.available, status.step))
