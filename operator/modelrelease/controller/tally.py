"""Counts what was decided about a release, from the status before and after it was written."""

from __future__ import annotations

from modelrelease.api.spec import OnStepDeadline
from modelrelease.api.status import Phase, ReleaseStatus
from modelrelease.telemetry import DECISIONS, RELEASE_SECONDS, STEP_SECONDS

_IN_STEP = frozenset({Phase.PROGRESSING, Phase.PAUSED, Phase.BAKING})


def tally(before: ReleaseStatus, after: ReleaseStatus, now: float) -> None:
    """Called once per status that was stored: what is written again after a conflict is not counted twice."""
    decided = _decision(before, after, now)
    if decided is not None:
        outcome, reason = decided
        DECISIONS.labels(outcome=outcome, reason=reason).inc()
    _tally_step(before, after, now)
    if after.history and (not before.history or after.history[0] != before.history[0]):
        entry = after.history[0]
        RELEASE_SECONDS.labels(outcome=entry.outcome).observe(max(0.0, entry.finished_at - entry.started_at))


def _decision(before: ReleaseStatus, after: ReleaseStatus, now: float) -> tuple[str, str] | None:
    """Outcome and reason; None where nothing was decided that is counted."""
    if after.phase is Phase.ROLLING_BACK and before.phase is not Phase.ROLLING_BACK and after.outcome is not None:
        return str(after.outcome), after.outcome_reason or str(after.outcome)
    if after.phase is Phase.SUCCEEDED and before.phase is Phase.PROMOTING:
        return str(Phase.SUCCEEDED), str(Phase.SUCCEEDED)
    if after.phase not in _IN_STEP:
        return None
    if after.step > before.step:
        return ("Started", "CanaryAvailable") if before.step == 0 else ("Advanced", _why(before, now))
    if after.weight < before.weight:
        return "Withdrawn", _why_withdrawn(before, after)
    return None


def _why_withdrawn(before: ReleaseStatus, after: ReleaseStatus) -> str:
    if after.weight > 0:
        return "CapacityLost"
    if after.losses > before.losses:
        return "CanaryLost"
    return "WeightChanged" if after.fights > before.fights else "CanarySuspected"


def _why(before: ReleaseStatus, now: float) -> str:
    """What let the release go on to the next step."""
    if before.approved_step > before.step:
        return "Approved"
    if before.snapshot is None:
        return "Evidence"
    strategy = before.snapshot.strategy
    is_over = now - (before.step_started_at or now) > strategy.step_deadline
    if is_over and strategy.on_step_deadline is OnStepDeadline.PROMOTE:
        return "StepDeadline"
    return str(strategy.advance)


def _tally_step(before: ReleaseStatus, after: ReleaseStatus, now: float) -> None:
    """A step is over when another one begins or the release leaves the steps; draining is not part of it."""
    if before.phase not in _IN_STEP or before.step == 0 or before.step_started_at is None:
        return
    if after.phase in _IN_STEP and after.step == before.step:
        return
    outcome = "Ended" if after.phase is Phase.ROLLING_BACK or after.step < before.step else "Advanced"
    STEP_SECONDS.labels(outcome=outcome).observe(max(0.0, now - before.step_started_at))
