"""Waiting within a step, and what its deadline does about it."""

from __future__ import annotations

from modelrelease.api.durations import format_duration
from modelrelease.api.spec import OnStepDeadline, Strategy
from modelrelease.api.status import Outcome
from modelrelease.rollout.decision import Decision
from modelrelease.rollout.outcome import conclude, stalled
from modelrelease.rollout.retreat import retreat
from modelrelease.rollout.seen import MetricsHealth, Seen


def strategy_of(seen: Seen) -> Strategy:
    """The strategy that the release under way began with."""
    if seen.status.snapshot is None:
        raise ValueError("a release under way has a snapshot")
    return seen.status.snapshot.strategy


def is_step_overdue(seen: Seen, now: float) -> bool:
    """Whether the step has lasted longer than its deadline."""
    return now - (seen.status.step_started_at or now) > strategy_of(seen).step_deadline


def is_fresh(seen: Seen) -> bool:
    """Whether there are metrics to decide on; without them nothing goes forward."""
    return seen.analysis is not None and seen.analysis.health is MetricsHealth.FRESH


def hold(seen: Seen, now: float, sentence: str) -> Decision:
    """Wait, or do what the strategy says when the step's deadline is over."""
    status, strategy = seen.status, strategy_of(seen)
    if not is_step_overdue(seen, now) or seen.spec.paused or status.paused:
        return conclude(seen, now, sentence)
    if strategy.on_step_deadline is OnStepDeadline.ROLLBACK:
        return retreat(seen, now, "StepDeadlineExceeded", f"The step deadline is over. {sentence}", Outcome.ROLLED_BACK)
    limit = format_duration(strategy.step_deadline)
    promotes = strategy.on_step_deadline is OnStepDeadline.PROMOTE
    what = "nothing is promoted without metrics" if promotes and not is_fresh(seen) else "it goes on collecting"
    overdue = f"The step has lasted longer than {limit} without enough evidence; {what}. {sentence}"
    return stalled(seen, now, "StepDeadlineExceeded", overdue)
