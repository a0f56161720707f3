"""Forward: a step ends when what `advance` asks for is there, and capacity leads traffic."""

from __future__ import annotations

from modelrelease.api.durations import format_duration
from modelrelease.api.images import image_tag
from modelrelease.api.spec import Advance, OnStepDeadline, Step
from modelrelease.api.status import Phase
from modelrelease.judge import Assessment
from modelrelease.rollout.analysis import bars_sentence, evidence_sentence
from modelrelease.rollout.decision import Announcement, Decision, ScaleCanary, SetWeight
from modelrelease.rollout.holding import hold, is_fresh, is_step_overdue, strategy_of
from modelrelease.rollout.outcome import conclude
from modelrelease.rollout.seen import MetricsHealth, Seen
from modelrelease.rollout.stepping import pods_needed, step_changes


def progressing(seen: Seen, now: float) -> Decision | None:
    """Go on to the next step, or say what is waited for."""
    status = seen.status
    if status.phase not in (Phase.PROGRESSING, Phase.PAUSED) or status.snapshot is None or status.step == 0:
        return None
    if status.step >= len(status.snapshot.strategy.steps):
        return _bake(seen, now)
    wanted = Phase.PAUSED if seen.spec.paused or status.paused else Phase.PROGRESSING
    if status.phase is not wanted:
        sentence = "Paused: forward moves wait." if wanted is Phase.PAUSED else "Forward moves go on."
        return conclude(seen, now, sentence, changes={"phase": wanted})
    waiting = _waits_for(seen, now)
    if waiting:
        return _wait(seen, now, waiting)
    return _advance(seen, now)


def _step(seen: Seen) -> Step:
    return strategy_of(seen).steps[seen.status.step - 1]


def is_approved(seen: Seen) -> bool:
    """Whether a person let the release leave the current step."""
    return seen.status.approved_step > seen.status.step


def _waits_for(seen: Seen, now: float) -> str:
    """What the current step still waits for, as the end of a sentence; empty when it may end."""
    status, step = seen.status, _step(seen)
    if seen.spec.paused:
        return "Paused by spec.paused; set it to false to go on."
    if status.paused:
        return "Paused; annotate with modelrelease.dev/resume=true to go on."
    if is_approved(seen):
        return ""
    if seen.stable is None or seen.stable.available == 0:
        return "Stable has no available pod to compare with. Mend it, or annotate with modelrelease.dev/promote=full."
    if step.approval:
        return "Waiting for approval; annotate with modelrelease.dev/promote=next."
    left = (status.step_started_at or now) + step.min_duration - now
    if left > 0:
        return f"The step lasts at least {format_duration(step.min_duration)}; {format_duration(max(1, left))} left."
    if _is_promoted_by_deadline(seen, now):
        return ""
    if strategy_of(seen).advance is Advance.TIME:
        return _time_waits_for(seen)
    return _evidence_waits_for(seen)


def _time_waits_for(seen: Seen) -> str:
    analysis, snapshot = seen.analysis, seen.status.snapshot
    if snapshot is None or analysis is None or analysis.health is not MetricsHealth.FRESH:
        return f"Waiting for fresh metrics. {analysis.message if analysis is not None else ''}".strip()
    needed = snapshot.analysis.min_requests
    if analysis.requests_in_step < needed:
        return f"Waiting for requests: {analysis.requests_in_step} of at least {needed} canary requests in this step."
    return ""


def _evidence_waits_for(seen: Seen) -> str:
    analysis = seen.analysis
    if analysis is None or analysis.assessment is None or analysis.health is not MetricsHealth.FRESH:
        return f"No evidence: {analysis.message if analysis is not None else 'no metrics yet.'}"
    if analysis.assessment.gate_passed:
        return ""
    seconds = analysis.seconds_to_gate
    when = f" About {format_duration(max(1.0, seconds))} to the next step." if seconds is not None else ""
    return f"{bars_sentence(analysis.assessment)}{when}"


def _is_promoted_by_deadline(seen: Seen, now: float) -> bool:
    """Whether the step ends without the evidence that it lacks. Never without metrics: a bad one would not be seen."""
    promotes = strategy_of(seen).on_step_deadline is OnStepDeadline.PROMOTE
    return promotes and is_step_overdue(seen, now) and is_fresh(seen)


def _wait(seen: Seen, now: float, waiting: str) -> Decision:
    status = seen.status
    step, steps = status.step, len(strategy_of(seen).steps)
    figures = evidence_sentence(_assessment(seen))
    sentence = f"Step {step} of {steps}, {status.weight} %: {figures} {waiting}"
    if _step(seen).approval and not is_approved(seen):
        return conclude(seen, now, sentence)  # the deadline is for evidence; a person may take all the time
    return hold(seen, now, sentence)


def _advance(seen: Seen, now: float) -> Decision:
    """The next step, after the canary has the capacity for it."""
    status, strategy, canary = seen.status, strategy_of(seen), seen.canary
    steps = len(strategy.steps)
    following = steps if status.approved_step >= steps else status.step + 1
    weight = strategy.steps[following - 1].weight
    needed = pods_needed(seen, strategy, weight)
    if canary is not None and canary.replicas < needed:
        sentence = f"Scaling the canary from {canary.replicas} to {needed} pods for {weight} % of the traffic."
        return conclude(
            seen, now, sentence, effect=ScaleCanary(needed), announcements=(Announcement("CanaryScaled", sentence),)
        )
    if canary is None or canary.available < needed:
        available = canary.available if canary is not None else 0
        trouble = f" {canary.trouble.reason}: {canary.trouble.message}" if canary and canary.trouble else ""
        return _wait(seen, now, f"Waiting for capacity: {available} of {needed} canary pods are available.{trouble}")
    figures = f"Step {status.step}: {evidence_sentence(_assessment(seen))}"
    if is_approved(seen):
        figures = "A person approved it."
    elif _is_promoted_by_deadline(seen, now):
        figures = f"The step deadline is over, and onStepDeadline is Promote. {figures}"
    sentence = (
        f"Step {following} of {steps}: {image_tag(status.canary.image)} gets {weight} % of the traffic. {figures}"
    )
    phase = Phase.BAKING if following == steps else Phase.PROGRESSING
    changes = {**step_changes(seen, now, following), "phase": phase, "phase_started_at": now}
    return conclude(
        seen,
        now,
        sentence,
        changes=changes,
        effect=SetWeight(weight),
        announcements=(Announcement("StepStarted", sentence),),
    )


def _assessment(seen: Seen) -> Assessment | None:
    return seen.analysis.assessment if seen.analysis is not None else None


def _bake(seen: Seen, now: float) -> Decision:
    """The release is at its last step without being in the bake: a canary that came back from a loss."""
    return conclude(seen, now, seen.status.message, changes={"phase": Phase.BAKING, "phase_started_at": now})
