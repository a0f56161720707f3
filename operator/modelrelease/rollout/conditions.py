"""Status conditions, derived from the rest of the status: nothing is remembered in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelrelease.api.status import (
    Condition,
    ConditionStatus,
    ConditionType,
    Outcome,
    Phase,
    ReleaseStatus,
)
from modelrelease.rollout.analysis import UNRESOLVABLE_REASON, unresolvable_sentence
from modelrelease.rollout.labels import RELEASE, release_label
from modelrelease.rollout.revision import revision_of
from modelrelease.rollout.seen import DeploymentSeen, MetricsHealth, Seen

PENDING = "ReleasePending"
"""Reason of conditions while something else is asked for than what the last release was about."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Why nothing moves until a person acts."""

    reason: str
    message: str


def with_conditions(status: ReleaseStatus, seen: Seen, now: float, stall: Stall | None) -> ReleaseStatus:
    """`status` with all eight conditions; transition times change only where a condition's status does."""
    previous = {condition.type: condition for condition in seen.status.conditions}
    fresh = []
    for kind, (state, reason, message) in _facts(status, seen, stall, now).items():
        before = previous.get(kind)
        since = before.last_transition_time if before is not None and before.status is state else now
        fresh.append(
            Condition(
                type=kind,
                status=state,
                reason=reason,
                message=message,
                observed_generation=seen.generation,
                last_transition_time=since,
            )
        )
    return status.model_copy(update={"conditions": fresh, "observed_generation": seen.generation})


_Fact = tuple[ConditionStatus, str, str]


def _facts(status: ReleaseStatus, seen: Seen, stall: Stall | None, now: float) -> dict[ConditionType, _Fact]:
    return {
        ConditionType.READY: _ready(status, seen, stall),
        ConditionType.RECONCILING: _reconciling(status, seen, stall),
        ConditionType.STALLED: _stalled(stall),
        ConditionType.CANARY_AVAILABLE: _canary_available(status, seen, now),
        ConditionType.ANALYSIS_HEALTHY: _analysis_healthy(status, seen),
        ConditionType.PAUSED: _paused(status, seen),
        ConditionType.SUCCEEDED: _succeeded(status, seen),
        ConditionType.ROLLED_BACK: _rolled_back(status),
    }


def _truth(value: bool) -> ConditionStatus:
    return ConditionStatus.TRUE if value else ConditionStatus.FALSE


def is_pending(status: ReleaseStatus, seen: Seen) -> bool:
    """Something else is asked for than what the last release was about: what it came to says nothing about that."""
    answered = status.released_revision if status.phase in (Phase.STABLE, Phase.SUCCEEDED) else status.revision
    return status.phase.is_at_rest and answered != revision_of(seen.spec, status.retries)


def _ready(status: ReleaseStatus, seen: Seen, stall: Stall | None) -> _Fact:
    if stall is not None:
        return ConditionStatus.FALSE, stall.reason, stall.message
    if is_pending(status, seen):
        return ConditionStatus.FALSE, PENDING, status.message
    match status.phase:
        case Phase.STABLE | Phase.SUCCEEDED:
            return ConditionStatus.TRUE, str(status.phase), status.message
        case Phase.ROLLED_BACK | Phase.FAILED:
            return ConditionStatus.FALSE, str(status.phase), status.message
        case _:
            return ConditionStatus.FALSE, "ReleaseInProgress", status.message


def _reconciling(status: ReleaseStatus, seen: Seen, stall: Stall | None) -> _Fact:
    """Never together with Stalled: kstatus would take a release that needs a person for one that is on its way."""
    if stall is not None:
        return ConditionStatus.FALSE, stall.reason, stall.message
    active = not status.phase.is_at_rest or status.phase is Phase.INITIALIZING or is_pending(status, seen)
    return _truth(active), str(status.phase), status.message if active else "No release is under way."


def _stalled(stall: Stall | None) -> _Fact:
    if stall is None:
        return ConditionStatus.FALSE, "NotStalled", "Nothing keeps the operator from going on."
    return ConditionStatus.TRUE, stall.reason, stall.message


def _canary_available(status: ReleaseStatus, seen: Seen, now: float) -> _Fact:
    if status.phase.is_at_rest:
        return ConditionStatus.FALSE, "NoCanary", "No canary exists outside of a release."
    if seen.is_glance:
        return ConditionStatus.UNKNOWN, "NotRead", "The canary's Deployment or pods cannot be read at present."
    if seen.canary is None:
        return ConditionStatus.FALSE, "NotAvailable", "The canary's Deployment does not exist yet."
    state, reason, message = _availability(status, seen.canary, now)
    if not status.uncovered_policies:
        return state, reason, message
    return state, "PolicyUncovered", f"{message} {policies_sentence(status.uncovered_policies, seen.name)}"


def _availability(status: ReleaseStatus, canary: DeploymentSeen, now: float) -> _Fact:
    if canary.available > 0 and status.phase is Phase.PREPARING and canary.seconds_to_steady(now) > 0:
        return ConditionStatus.FALSE, "NotAvailable", f"A pod of {canary.name} has just become available."
    if canary.available > 0:
        return ConditionStatus.TRUE, "Available", f"At least one pod of {canary.name} is available."
    if canary.trouble is not None:
        return ConditionStatus.FALSE, canary.trouble.reason, canary.trouble.message
    return ConditionStatus.FALSE, "NotAvailable", f"No pod of {canary.name} is available."


def _analysis_healthy(status: ReleaseStatus, seen: Seen) -> _Fact:
    if status.phase.is_at_rest:
        return ConditionStatus.UNKNOWN, "NotAnalysing", "No analysis is under way."
    healthy = seen.analysis is None or seen.analysis.health in (MetricsHealth.FRESH, MetricsHealth.WAITING)
    skipped = unresolvable_sentence(seen.analysis.assessment) if seen.analysis is not None and healthy else ""
    if seen.analysis is None or (healthy and status.phase is Phase.PREPARING):
        return ConditionStatus.UNKNOWN, "NotAnalysing", "Analysis begins with the first step."
    if skipped:
        return ConditionStatus.TRUE, UNRESOLVABLE_REASON, skipped
    return _truth(healthy), "MetricsFresh" if healthy else str(seen.analysis.health), seen.analysis.message


def _paused(status: ReleaseStatus, seen: Seen) -> _Fact:
    if seen.spec.paused:
        return ConditionStatus.TRUE, "SpecPaused", "spec.paused is true; set it to false to go on."
    if status.paused:
        reason = status.paused_reason or "Annotation"
        return ConditionStatus.TRUE, reason, "Paused; annotate with modelrelease.dev/resume=true to go on."
    return ConditionStatus.FALSE, "NotPaused", "Forward moves are allowed."


def _succeeded(status: ReleaseStatus, seen: Seen) -> _Fact:
    if is_pending(status, seen):
        return ConditionStatus.UNKNOWN, PENDING, status.message
    owner = seen.stable.gitops_owner if seen.stable is not None else ""
    if owner and not status.phase.is_at_rest:
        return ConditionStatus.UNKNOWN, "ImageOwnedByGitOps", gitops_sentence(owner, seen.spec.workload.deployment)
    match status.phase:
        case Phase.SUCCEEDED:
            return ConditionStatus.TRUE, "Succeeded", status.message
        case Phase.STABLE:
            return ConditionStatus.TRUE, "NothingToRelease", status.message
        case Phase.ROLLED_BACK | Phase.FAILED:
            return ConditionStatus.FALSE, status.outcome_reason or str(status.phase), status.message
        case _:
            return ConditionStatus.UNKNOWN, "ReleaseInProgress", status.message


def gitops_sentence(owner: str, deployment: str) -> str:
    """Why a promotion would not last, and the remedy."""
    return (
        f"{owner} owns the image of {deployment} and would take a promotion back; leave the image out of its manifest "
        "or let it ignore that field."
    )


def policies_sentence(policies: Sequence[str], release: str) -> str:
    """Which policies would not guard the canary, and the remedy."""
    return (
        f"These policies select stable's pods but not the canary's: {', '.join(policies)}. Widen their selectors, or "
        f"copy them for pods with the label {RELEASE}={release_label(release)}."
    )


def _rolled_back(status: ReleaseStatus) -> _Fact:
    if status.phase is Phase.ROLLED_BACK:
        return ConditionStatus.TRUE, status.outcome_reason or "RolledBack", status.message
    if status.phase is Phase.ROLLING_BACK and status.outcome is Outcome.ROLLED_BACK:
        return ConditionStatus.FALSE, "RollingBack", status.message
    return ConditionStatus.FALSE, "NotRolledBack", "This release was not rolled back."
