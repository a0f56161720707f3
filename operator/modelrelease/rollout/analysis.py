"""From the resource's tolerances to the judge's settings, and from its verdicts to status figures."""

from __future__ import annotations

import math

from modelrelease.api.durations import format_duration
from modelrelease.api.spec import Analysis, Strategy
from modelrelease.api.status import AnalysisStatus, MetricStatus
from modelrelease.judge import Assessment, ErrorTolerance, LatencyTolerance, MetricAssessment, Settings
from modelrelease.rollout.seen import AnalysisSeen

UNRESOLVABLE_REASON = "LatencyUnresolvable"
"""Reason of the condition and the Event where the buckets cannot show stable's P99."""


ALL_FAILED = 0.99
"""Error rate from which the latency is not told any more: how fast a version fails says nothing about how it serves."""


def judge_settings(strategy: Strategy, analysis: Analysis) -> Settings:
    """The judge's settings of a release, from the snapshot that it began with."""
    return Settings(
        false_rollback_probability=analysis.false_rollback_probability,
        missed_regression_probability=analysis.missed_regression_probability,
        errors=ErrorTolerance(
            max_ratio=analysis.error_rate.max_ratio,
            max_increase=analysis.error_rate.max_increase,
            ceiling=analysis.error_rate.ceiling,
        ),
        latency=LatencyTolerance(
            max_ratio=analysis.latency_p99.max_ratio, ceiling_ms=analysis.latency_p99.ceiling_milliseconds
        ),
        harm_budget=analysis.harm_budget,
        weights=tuple(step.weight for step in strategy.steps),
        interval_seconds=analysis.interval,
    )


def grid_after(seconds: float, interval_seconds: float) -> float:
    """First grid point at or after `seconds`. The grid is the multiples of the interval in unix time, so that all
    releases of one interval are evaluated together."""
    return math.ceil(seconds / interval_seconds) * interval_seconds


def grid_before(seconds: float, interval_seconds: float) -> float:
    """Last grid point at or before `seconds`."""
    return math.floor(seconds / interval_seconds) * interval_seconds


def analysis_status(seen: AnalysisSeen | None, previous: AnalysisStatus, now: float) -> AnalysisStatus:
    """The figures that people like to watch."""
    if seen is None or seen.assessment is None:
        return previous
    return AnalysisStatus(
        metrics=[_metric(metric) for metric in seen.assessment.metrics],
        requests_in_step=seen.requests_in_step,
        evaluated_at=now,
        next_step_estimate="" if seen.seconds_to_gate is None else format_duration(max(1.0, seen.seconds_to_gate)),
    )


def _metric(metric: MetricAssessment) -> MetricStatus:
    is_latency = metric.name == "latency"
    return MetricStatus(
        name="latencyP99Milliseconds" if is_latency else "errorRate",
        stable=_rounded(metric.stable_p99_ms if is_latency else metric.stable_value),
        canary=_rounded(metric.canary_p99_ms if is_latency else metric.canary_value),
        stable_requests=metric.requests_stable,
        canary_requests=metric.requests_canary,
        rollback_evidence=round(metric.rollback_evidence, 3),
        promotion_evidence=round(metric.promotion_evidence, 3),
        message="" if metric.resolvable else _unresolvable(metric),
    )


def unresolvable_sentence(assessment: Assessment | None) -> str:
    """Why latency is not compared, and the remedy; empty where it is."""
    metrics = assessment.metrics if assessment is not None else ()
    return next((_unresolvable(metric) for metric in metrics if not metric.resolvable), "")


def _unresolvable(metric: MetricAssessment) -> str:
    p99 = metric.stable_p99_ms
    where = f"around {p99:.0f} ms" if p99 is not None else "where its latencies are"
    return (
        "No latency bucket lies near stable's P99, or it had too few requests to tell, so latency is not compared. Use "
        f"finer buckets {where}."
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def evidence_sentence(assessment: Assessment | None) -> str:
    """The comparison in one sentence, with figures and numbers of requests."""
    if assessment is None:
        return "nothing has been compared yet."
    failing = any(
        metric.name == "errors" and (metric.canary_value or 0.0) >= ALL_FAILED for metric in assessment.metrics
    )
    compared = [metric for metric in assessment.metrics if not (failing and metric.name == "latency")]
    parts = [part for part in map(_comparison, compared) if part]
    requests = max((metric.requests_canary for metric in assessment.metrics), default=0)
    noun = "request" if requests == 1 else "requests"
    return f"{'; '.join(parts)}; {requests:,} canary {noun}." if parts else "nothing has been compared yet."


def _comparison(metric: MetricAssessment) -> str:
    if metric.name == "latency":
        if metric.canary_p99_ms is None or metric.stable_p99_ms is None:
            return ""
        note = "" if metric.resolvable else ", not compared"
        return f"P99 {_milliseconds(metric.canary_p99_ms)} (stable {_milliseconds(metric.stable_p99_ms)}{note})"
    if metric.canary_value is None or metric.stable_value is None:
        return ""
    return f"error rate {metric.canary_value:.2%} (stable {metric.stable_value:.2%})"


def _milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def bars_sentence(assessment: Assessment | None) -> str:
    """How far the evidence has got, as shares of what is needed."""
    if assessment is None or not assessment.metrics:
        return ""
    gate = min((metric.promotion_evidence for metric in assessment.metrics if metric.resolvable), default=0.0)
    back = max((metric.rollback_evidence for metric in assessment.metrics if metric.resolvable), default=0.0)
    return f"Evidence for promotion {gate:.0%}, for rollback {back:.0%}."
