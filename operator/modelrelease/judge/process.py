"""The judge of one release: windows in, state on, and what the state says.

All choices (stakes, thresholds, discounts, fresh starts) are made from windows before the one that they are used on.
That is what lets one look after each window, for as long as one likes, without being fooled by chance more often than
the settings allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from modelrelease.judge.assessment import verdict
from modelrelease.judge.evidence import (
    Array,
    Comparisons,
    Counts,
    alternatives,
    compare,
    log_factors_alone,
    smoothed_rate,
)
from modelrelease.judge.latency import TARGET_EXCEEDANCE, histogram_of
from modelrelease.judge.mixture import LOST, Mixture, restart, stored
from modelrelease.judge.samples import Arm, Window
from modelrelease.judge.settings import Settings
from modelrelease.judge.state import MetricState, State
from modelrelease.judge.steps import with_threshold

BLOCK = 250
"""Releases that are judged in one array operation: enough to make its overhead small, few enough for the cache."""

MetricName = Literal["errors", "latency"]

METRICS: tuple[MetricName, ...] = ("errors", "latency")

TYPICAL_ERROR_RATE = 0.005
"""Assumed where nothing is known yet; chooses the first stakes only."""


def observe(state: State, settings: Settings, window: Window) -> State:
    """The state after a window. One that is already judged changes nothing, so that a gap can be replayed safely.

    Raises:
        ValueError: the window is partly judged already, so its counts cannot be told apart.
    """
    return observe_many([(state, settings, window)])[0]


def observe_many(releases: Sequence[tuple[State, Settings, Window]]) -> list[State]:
    """``observe`` for many releases at once, one window each; thousands cost little more than one.

    Raises:
        ValueError: as ``observe``, for any of them; then none is judged.
    """
    judged: list[State] = []
    for start in range(0, len(releases), BLOCK):
        judged += _observe_block(releases[start : start + BLOCK])
    return judged


def _observe_block(releases: Sequence[tuple[State, Settings, Window]]) -> list[State]:
    counted = [_counted(*release) for release in releases]
    plans = [
        (index, name, plan)
        for index, (_, settings, _) in enumerate(releases)
        for name in METRICS
        if (plan := plan_of(counted[index], settings, name)).is_due(_metric(counted[index], name))
    ]
    due = [(_metric(counted[index], name), plan) for index, name, plan in plans]
    found = dict(zip(((index, name) for index, name, _ in plans), _compared(due), strict=True))
    return [
        _with_verdict(state, found.get((index, "errors")), found.get((index, "latency")), releases[index][1])
        for index, state in enumerate(counted)
    ]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one metric is judged in the present step.

    weight: of the canary, percent; 0 before the first step.
    ratio, increase: the margin r and d. gate_increase: d for the next weight.
    typical_rate: what to assume before anything is known.
    """

    weight: int
    ratio: float
    increase: float
    gate_increase: float
    typical_rate: float

    def is_due(self, metric: MetricState) -> bool:
        """Whether what waits is worth a comparison: at least one canary request is to be expected in it.

        Compared earlier, a canary request would meet only the few stable requests that happened to be next to it, and
        all the others would be wasted. Only numbers of requests decide, never how they ended.
        """
        return 0 < self.weight < 100 and metric.pending.stable * self.weight >= 100 - self.weight


def plan_of(state: State, settings: Settings, name: MetricName) -> Plan:
    """How a metric is judged in the state's step."""
    weight = settings.weights[state.step] if state.step >= 0 else 0
    following = settings.weights[state.step + 1 :]
    if name == "errors":
        ratio, increase, typical = settings.errors.max_ratio, settings.errors.max_increase, TYPICAL_ERROR_RATE
    else:
        ratio, increase, typical = state.latency.ratio, 0.0, TARGET_EXCEEDANCE
    gate_increase = increase
    if following and following[0] < 100:
        # A share H of all requests may be harmed: at a small next weight only catastrophes must be excluded.
        gate_increase = max(increase, min(0.5, 100 * settings.harm_budget / following[0]))
    return Plan(weight, ratio, increase, gate_increase, typical)


def _metric(state: State, name: MetricName) -> MetricState:
    return state.errors if name == "errors" else state.latency


def _counted(state: State, settings: Settings, window: Window) -> State:
    """The state with a window's requests counted, and everything judged that needs no comparison with stable."""
    if window.end_seconds <= state.cursor_seconds:
        return state
    if window.start_seconds < state.cursor_seconds:
        raise ValueError(f"a window from {window.start_seconds} reaches back over the cursor {state.cursor_seconds}")
    if state.latency.bound_ms is None:
        state = with_threshold(state, settings)
    weight = settings.weights[state.step] if state.step >= 0 else 0
    canary, stable = window.canary, window.stable
    errors = _with_counts(state.errors, Counts(canary.errors, canary.requests, stable.errors, stable.requests), weight)
    latency = _with_counts(state.latency, _slow_counts(window, state.latency.bound_ms), weight)
    if errors.ceiling is not None and settings.errors.ceiling is not None:
        grown = _grown_alone(errors.ceiling, (canary.errors, canary.requests), settings.errors.ceiling, errors)
        errors = replace(errors, ceiling=grown)
    if latency.ceiling is not None and settings.latency.ceiling_ms is not None:
        above = _above(canary, settings.latency.ceiling_ms)
        latency = replace(latency, ceiling=_grown_alone(latency.ceiling, above, TARGET_EXCEEDANCE, latency))
    return State(
        cursor_seconds=window.end_seconds,
        step=state.step,
        blame=state.blame,
        latency_share=state.latency_share,
        errors=errors,
        latency=latency,
        stable_before=state.stable_before,
        stable_step=state.stable_step.plus(histogram_of(stable)),
        canary_step=state.canary_step.plus(histogram_of(canary)),
    )


def _with_counts(metric: MetricState, counts: Counts, weight: int) -> MetricState:
    if weight == 0:
        return replace(metric, past=(metric.past[0] + counts.stable_bad, metric.past[1] + counts.stable))
    if weight < 100:
        waiting = metric.pending + counts if metric.pending.stable or metric.pending.canary else counts
        return metric.counted(metric.step + counts, waiting)
    seen = metric.counted(metric.step + counts, metric.pending)
    if metric.bake is None or metric.bake_limit is None:
        return seen
    grown = _grown_alone(metric.bake, (counts.canary_bad, counts.canary), metric.bake_limit, metric)
    return replace(seen, bake=grown)


def _compared(due: Sequence[tuple[MetricState, Plan]]) -> list[MetricState]:
    """The metrics after what waited in each is compared."""
    if not due:
        return []
    rows = [
        (
            metric.pending.canary_bad,
            metric.pending.canary,
            metric.pending.stable_bad,
            metric.pending.stable,
            plan.ratio,
            plan.increase,
            plan.gate_increase,
            metric.dispersion,
            *stable_known(metric),
            plan.typical_rate,
        )
        for metric, plan in due
    ]
    table: Array = np.array(rows, dtype=np.float64).T
    pending = table[0], table[1], table[2], table[3]
    these = Comparisons(*pending, table[4], table[5], table[6], table[7], smoothed_rate(table[8], table[9], table[10]))
    rollback, gate = compare(these)
    logs, restarts = restart(
        np.array([metric.concurrent.logs for metric, _ in due]),
        np.array([metric.concurrent.restarts for metric, _ in due]),
    )
    grown = zip(stored(np.maximum(logs + rollback, LOST)).tolist(), restarts.tolist(), strict=True)
    gates = stored(np.array([metric.gate for metric, _ in due]) + gate).tolist()
    return [
        metric.judged(Mixture(tuple(log), tuple(count)), tuple(promotion))
        for (metric, _), (log, count), promotion in zip(due, grown, gates, strict=True)
    ]


def _with_verdict(state: State, errors: MetricState | None, latency: MetricState | None, settings: Settings) -> State:
    """The state with the metrics that were compared, and the verdict where one is reached."""
    if errors is not None or latency is not None:
        state = _with_metrics(state, errors or state.errors, latency or state.latency)
    if state.blame is not None or (blame := verdict(state, settings)) is None:
        return state
    return replace(state, blame=blame)


def _with_metrics(state: State, errors: MetricState, latency: MetricState) -> State:
    return State(
        state.cursor_seconds,
        state.step,
        state.blame,
        state.latency_share,
        errors,
        latency,
        state.stable_before,
        state.stable_step,
        state.canary_step,
    )


def stable_known(metric: MetricState) -> tuple[int, int]:
    """Stable's (bad, all) requests that are judged already."""
    waiting, step = metric.pending, metric.step
    return metric.past[0] + step.stable_bad - waiting.stable_bad, metric.past[1] + step.stable - waiting.stable


def _grown_alone(mixture: Mixture, counts: tuple[int, int], limit: float, metric: MetricState) -> Mixture:
    bad, requests = counts
    factors = log_factors_alone(bad, requests, limit, alternatives(np.array([limit]))) / metric.dispersion
    return mixture.restarted().grown(factors)


def _slow_counts(window: Window, bound_ms: float | None) -> Counts:
    """(slow, timed) of both arms; nothing where either arm's buckets lack the bound."""
    if bound_ms is None:
        return Counts()
    canary, stable = window.canary.slower_than(bound_ms), window.stable.slower_than(bound_ms)
    return Counts(*canary, *stable) if canary is not None and stable is not None else Counts()


def _above(arm: Arm, ceiling_ms: float) -> tuple[int, int]:
    """(slow, timed) at the first bucket bound from the ceiling up: never more than are above the ceiling itself."""
    bounds = [bound for bound in arm.bounds_ms if bound >= ceiling_ms and math.isfinite(bound)]
    return (arm.slower_than(bounds[0]) or (0, 0)) if bounds else (0, 0)
