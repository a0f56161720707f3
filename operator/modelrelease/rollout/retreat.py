"""The way back: weight 0, drain, original route, canary removed. It depends on nobody's health."""

from __future__ import annotations

from typing import Any

from modelrelease.api.durations import format_duration
from modelrelease.api.images import image_tag
from modelrelease.api.status import Outcome, Phase, ReleaseStatus
from modelrelease.rollout.conditions import Stall
from modelrelease.rollout.decision import (
    Announcement,
    Decision,
    DeleteCanary,
    Effect,
    RestoreRoute,
    SetAutoscalerMinimum,
    SetStableTemplate,
    SetWeight,
    StampCanary,
)
from modelrelease.rollout.labels import VERDICT
from modelrelease.rollout.outcome import conclude, end_sentence, ended, history_with, stable_tag, stalled
from modelrelease.rollout.running import template_of, without_nulls
from modelrelease.rollout.seen import Seen

CANARY_CHANGED = "CanaryChanged"


def retreat(seen: Seen, now: float, reason: str, sentence: str, outcome: Outcome) -> Decision:
    """Begin the way back for `reason`.

    The weight goes to 0 before anything is written to status. A crash after that leaves weight 0 and a stamp or a
    replayed verdict, from which the next operator comes to the same end.
    """
    changes: dict[str, Any] = {
        "phase": Phase.ROLLING_BACK,
        "outcome": outcome,
        "outcome_reason": reason,
        "phase_started_at": now,
    }
    keeps_traffic = _stable_is_being_replaced(seen) and seen.canary is not None and seen.canary.available > 0
    if reason == CANARY_CHANGED and seen.stable is not None and seen.stable.available > 0:
        keeps_traffic = False  # nobody knows what the canary runs: it serves only where nothing else does
    effect: Effect | None = None
    if not keeps_traffic:
        changes |= {"weight": 0, "confirmed_weight": 0}
        if not _is_somebody_elses_route(seen) and _carries_traffic(seen):
            effect = SetWeight(0)
            if seen.stable is not None and seen.stable.available == 0:
                sentence = f"{sentence} Stable has no available pod: nothing answers until it has."
    return conclude(
        seen,
        now,
        sentence,
        changes={**changes, "outcome_message": sentence},
        effect=effect,
        effect_first=True,
        announcements=(Announcement(reason, sentence, warning=outcome is not Outcome.SUPERSEDED),),
    )


def _carries_traffic(seen: Seen) -> bool:
    """Whether the route gives the canary anything. A route that does not, but is odd otherwise, is mended with its
    shape: to ask for weight 0 until it looks right would never end where a third destination was added."""
    return seen.route is not None and seen.route.weight_percent != 0


def _is_somebody_elses_route(seen: Seen) -> bool:
    """Another ModelRelease manages the route, and this one never gave its canary traffic: hands off."""
    return bool(seen.conflict) and not seen.status.ever_weighted


def _stable_is_being_replaced(seen: Seen) -> bool:
    """Promotion has begun: stable's template may be the new one already."""
    return seen.status.stable_template is not None


def rolling_back(seen: Seen, now: float) -> Decision | None:
    """One step of the way back, or the end of the release."""
    if seen.status.phase is not Phase.ROLLING_BACK:
        return None
    for step in (_stamp, _stable_template, _weight, _drain, _route, _canary, _autoscaler):
        decision = step(seen, now)
        if decision is not None:
            return decision
    return _finish(seen, now)


def _stamp(seen: Seen, now: float) -> Decision | None:
    canary, status = seen.canary, seen.status
    if canary is None or canary.verdict or status.outcome is Outcome.SUPERSEDED:
        return None
    return conclude(
        seen, now, status.outcome_sentence, effect=StampCanary(VERDICT, f"{status.revision}:{status.outcome_reason}")
    )


def _stable_template(seen: Seen, now: float) -> Decision | None:
    """Give stable its old template back, and wait for it while the canary still carries the traffic: for all pods until
    the progress deadline, then for any."""
    status, stable = seen.status, seen.stable
    if status.stable_template is None or stable is None:
        return None
    if without_nulls(template_of(stable)) != without_nulls(status.stable_template):
        return conclude(
            seen,
            now,
            status.outcome_sentence,
            effect=SetStableTemplate(status.stable_template, status.released_template),
        )
    canary_serves = seen.canary is not None and seen.canary.available > 0
    if status.weight == 0 or not canary_serves or stable.is_rolled_out:
        return None
    trouble = f" {stable.trouble.reason}: {stable.trouble.message}" if stable.trouble else ""
    sentence = (
        f"{status.outcome_reason}: stable goes back to {image_tag(stable.image)}; the canary serves until its pods "
        f"are available ({stable.available} of {stable.replicas}).{trouble}"
    )
    if not _is_overdue(status, now):
        return conclude(seen, now, sentence)
    # Pods that serve, be they too few, are better than the version that was aborted.
    return None if stable.available > 0 else stalled(seen, now, "StableUnavailable", sentence)


def _is_overdue(status: ReleaseStatus, now: float) -> bool:
    """Whether stable has had as much time to come back as a canary has to become available."""
    deadline = status.snapshot.strategy.progress_deadline if status.snapshot is not None else 0.0
    return now - (status.phase_started_at or now) > deadline


def _weight(seen: Seen, now: float) -> Decision | None:
    """Weight 0, whoever gave the canary more; the drain counts from the last time that it had any."""
    status = seen.status
    effect = SetWeight(0) if _carries_traffic(seen) and not _is_somebody_elses_route(seen) else None
    if effect is None and status.weight == 0:
        return None
    changes: dict[str, Any] = {"weight": 0, "confirmed_weight": 0, "phase_started_at": now}
    return conclude(seen, now, status.outcome_sentence, changes=changes, effect=effect, effect_first=True)


def weight_returned(seen: Seen, now: float) -> Decision | None:
    """The canary has traffic again although it is meant to have none: all that this takes off is the weight."""
    if _stable_is_being_replaced(seen) or not _carries_traffic(seen):
        return None
    if seen.status.phase is Phase.ROLLING_BACK:
        return _weight(seen, now)
    is_meant = seen.status.weight > 0
    return None if is_meant else conclude(seen, now, seen.status.message, effect=SetWeight(0), effect_first=True)


def _drain(seen: Seen, now: float) -> Decision | None:
    """Proxies may still send requests to the canary, whatever the route looks like by now."""
    status = seen.status
    if not status.ever_weighted or seen.canary is None or status.snapshot is None:
        return None
    left = (status.phase_started_at or now) + status.snapshot.strategy.drain_delay - now
    if left <= 0:
        return None
    return conclude(seen, now, status.outcome_sentence, again_seconds=min(left, 5.0))


def _route(seen: Seen, now: float) -> Decision | None:
    if seen.route is None or not seen.route.has_canary or _is_somebody_elses_route(seen):
        return None
    return conclude(seen, now, seen.status.outcome_sentence, effect=RestoreRoute())


def _canary(seen: Seen, now: float) -> Decision | None:
    if seen.canary is None:
        return None
    if seen.route is None and seen.route_problem is not None and seen.route_problem[0] not in GONE:
        # The route cannot be read: it may still send traffic to the canary, so the canary stays.
        reason, sentence = seen.route_problem
        return conclude(seen, now, sentence, stall=Stall(reason, sentence))
    return conclude(seen, now, seen.status.outcome_sentence, effect=DeleteCanary(seen.canary.uid))


GONE = ("RouteMissing", "RouteAmbiguous", "RouteUnsupported", "VirtualServiceMissing")
"""Problems of a route that was read: where there is none to see, nothing names the canary."""


def _autoscaler(seen: Seen, now: float) -> Decision | None:
    held = seen.status.held_autoscaler
    if held is None or seen.autoscaler is None or held.min_replicas == held.held_at:
        return None  # nothing to put back
    if seen.autoscaler.min_replicas != held.held_at:
        return None  # put back already, or somebody set another minimum meanwhile: theirs stands
    return conclude(seen, now, seen.status.message, effect=SetAutoscalerMinimum(held.name, held.min_replicas))


def release_autoscaler(seen: Seen, now: float) -> Decision | None:
    """Put the autoscaler's minimum back; also a step of the way forward."""
    return _autoscaler(seen, now)


def _finish(seen: Seen, now: float) -> Decision:
    status = seen.status
    outcome = status.outcome or Outcome.ROLLED_BACK
    phase = {
        Outcome.FAILED: Phase.FAILED,
        Outcome.SUPERSEDED: Phase.INITIALIZING,
    }.get(outcome, Phase.ROLLED_BACK)
    tag, started = image_tag(status.canary.image), status.started_at or now
    detail = status.outcome_sentence
    message = end_sentence(outcome, tag, format_duration(now - started), detail)
    changes = {**ended(phase), "outcome": outcome, "history": history_with(status, outcome, detail, now)}
    return conclude(
        seen,
        now,
        message,
        changes=changes,
        announcements=() if _is_said(status) else (_end(seen, outcome, format_duration(now - started)),),
    )


def _is_said(status: ReleaseStatus) -> bool:
    """Whether the Event with which the way back began says it all: people know what they asked for."""
    return status.outcome is Outcome.SUPERSEDED or status.outcome_reason in ("Aborted", "Deleted")


def _end(seen: Seen, outcome: Outcome, duration: str) -> Announcement:
    """That it is over; why, has been said when the way back began."""
    status = seen.status
    stable = stable_tag(status, status.stable.image) or "stable"
    what = "failed" if outcome is Outcome.FAILED else "was rolled back"
    sentence = (
        f"The release of {image_tag(status.canary.image)} {what} after {duration}: {stable} serves all traffic and the "
        "canary is removed."
    )
    return Announcement(str(outcome), sentence, warning=True)
