"""The judge of one release: windows in, state on, and what the state says.

All choices (stakes, thresholds, discounts, fresh starts) are made from windows before the one that they are used on.
That is what lets one look after each window, for as long as one likes, without being fooled by chance more often than
the settings allow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from modelrelease.judge.assessment import verdict
from modelrelease.judge.dispersion import dispersion
from modelrelease.judge.evidence import (
    GATE_STAKES,
    Comparisons,
    Counts,
    Margin,
    alternatives,
    compare,
    log_factors_alone,
    smoothed_rate,
)
from modelrelease.judge.latency import MIN_REQUESTS, TARGET_EXCEEDANCE, Histogram, choose_threshold
from modelrelease.judge.mixture import LOST, Mixture, restart, stored
from modelrelease.judge.samples import Arm, Window
from modelrelease.judge.settings import Settings
from modelrelease.judge.state import MetricState, State

BLOCK = 250
"""Releases that are judged in one array operation: enough to make its overhead small, few enough for the cache."""

MetricName = Literal["errors", "latency"]

METRICS: tuple[MetricName, ...] = ("errors", "latency")

UNRESOLVED_LATENCY_SHARE = 0.1
"""What latency keeps where stable's history shows that the buckets cannot resolve P99: it may become resolvable."""

BAKE_CONFIDENCE = 2.0
"""Standard errors by which stable's frozen rate is raised in the bake: it is an estimate, not the truth."""

BAKE_SLACK = 1.5
"""In the bake the tolerated rate is this much higher: stable is compared with at another time, and the load per pod is
not the same. What the bake is for, a canary that breaks under the full load, is far above that."""

TYPICAL_ERROR_RATE = 0.005
"""Assumed where nothing is known yet; chooses the first stakes only."""


def begin(
    settings: Settings,
    *,
    at_seconds: float,
    baseline: Sequence[Window],
    baseline_by_pod: Mapping[str, Sequence[Window]] | None = None,
) -> State:
    """The state before any traffic moves.

    Args:
        settings: of the release.
        at_seconds: unix seconds; the cursor.
        baseline: windows of stable's history; may be empty. Then stakes begin at typical rates, bursts are not
            discounted, and the latency threshold is chosen as soon as windows of the release have shown enough.
        baseline_by_pod: the same history for each stable pod, for the burst factor; without it, the variation between
            neighbouring windows of ``baseline`` is taken, up to a limit (see ``dispersion``).
    """
    history = Histogram()
    failed = requests = 0
    for window in baseline:
        history = history.plus(_histogram(window.stable))
        failed, requests = failed + window.stable.errors, requests + window.stable.requests
    threshold = choose_threshold(history, settings.latency.max_ratio)
    bound_ms = threshold.bound_ms if threshold else None
    pods = list(baseline_by_pod.values()) if baseline_by_pod else [baseline]
    ceilings = settings.errors.ceiling is not None, settings.latency.ceiling_ms is not None
    return State(
        cursor_seconds=at_seconds,
        step=-1,
        blame=None,
        latency_share=UNRESOLVED_LATENCY_SHARE if threshold is None and requests >= MIN_REQUESTS else 0.5,
        errors=MetricState(
            dispersion=dispersion(_by_interval(pods, None)),
            ratio=settings.errors.max_ratio,
            past=(failed, requests),
            ceiling=Mixture() if ceilings[0] else None,
        ),
        latency=MetricState(
            dispersion=dispersion(_by_interval(pods, bound_ms)) if bound_ms is not None else 1.0,
            ratio=threshold.ratio if threshold else settings.latency.max_ratio,
            bound_ms=bound_ms,
            past=history.slower_than(bound_ms) if bound_ms is not None else (0, 0),
            ceiling=Mixture() if ceilings[1] else None,
        ),
        stable_before=history,
        stable_step=Histogram(),
        canary_step=Histogram(),
    )


def enter_step(state: State, settings: Settings, *, step: int, at_seconds: float) -> State:
    """The state at the moment from which windows belong to ``step`` (index into the weights).

    What stable did so far becomes the past: the latency threshold and its margin are chosen anew from it. The gates
    begin at nothing, a fresh stake is made against bugs that show at this weight, and the cursor moves to
    ``at_seconds`` (never back). Requests that still waited to be judged only count as stable's past.
    """
    past = state.stable_before.plus(state.stable_step)
    first = state.step < 0
    moved = replace(
        state,
        cursor_seconds=max(state.cursor_seconds, at_seconds),
        step=step,
        errors=_entered(state.errors, first=first),
        latency=_entered(state.latency, first=first),
        stable_before=past,
        stable_step=Histogram(),
        canary_step=Histogram(),
    )
    moved = _with_threshold(moved, settings)
    if settings.weights[step] < 100:
        return moved
    return replace(
        moved,
        errors=_baking(moved.errors, Margin(settings.errors.max_ratio, settings.errors.max_increase)),
        latency=_baking(moved.latency, Margin(moved.latency.ratio, 0.0)),
    )


def skip_to(state: State, *, at_seconds: float) -> State:
    """Leaves out the time up to ``at_seconds`` (warm-up, weight 0); the cursor never goes back."""
    return replace(state, cursor_seconds=max(state.cursor_seconds, at_seconds))


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
        state = _with_threshold(state, settings)
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
        stable_step=state.stable_step.plus(_histogram(stable)),
        canary_step=state.canary_step.plus(_histogram(canary)),
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
            stable_rate(metric, plan.typical_rate),
        )
        for metric, plan in due
    ]
    rollback, gate = compare(Comparisons(*np.array(rows, dtype=np.float64).T))
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


def stable_rate(metric: MetricState, typical_rate: float) -> float:
    """Stable's estimated share of bad requests, from all that is judged already."""
    bad = metric.past[0] + metric.step.stable_bad - metric.pending.stable_bad
    requests = metric.past[1] + metric.step.stable - metric.pending.stable
    return smoothed_rate(bad, requests, typical_rate)


def _grown_alone(mixture: Mixture, counts: tuple[int, int], limit: float, metric: MetricState) -> Mixture:
    bad, requests = counts
    factors = log_factors_alone(bad, requests, limit, alternatives(np.array([limit]))) / metric.dispersion
    return mixture.restarted().grown(factors)


def _entered(metric: MetricState, *, first: bool) -> MetricState:
    def fresh(mixture: Mixture) -> Mixture:
        return mixture if first else mixture.restarted(stale_log=0.0)

    return replace(
        metric,
        past=(metric.past[0] + metric.step.stable_bad, metric.past[1] + metric.step.stable),
        step=Counts(),
        pending=Counts(),
        concurrent=fresh(metric.concurrent),
        gate=(0.0,) * len(GATE_STAKES),
        ceiling=None if metric.ceiling is None else fresh(metric.ceiling),
    )


def _baking(metric: MetricState, margin: Margin) -> MetricState:
    """Freezes what stable was like: once it has no traffic, there is nothing to compare with at the same time."""
    limit = math.ceil(1e6 * BAKE_SLACK * margin.limit(_upper_rate(*metric.past, metric.dispersion))) / 1e6
    return replace(metric, bake=metric.bake or Mixture(), bake_limit=limit if limit < 1 and metric.past[1] else None)


def _upper_rate(bad: int, requests: int, discount: float) -> float:
    """Wilson's upper limit of a share, for requests of which only every ``discount``-th is independent."""
    independent = requests / discount
    if independent == 0:
        return 1.0
    share, z2 = bad / requests, BAKE_CONFIDENCE**2
    spread = BAKE_CONFIDENCE * math.sqrt(share * (1 - share) / independent + z2 / (4 * independent**2))
    return (share + z2 / (2 * independent) + spread) / (1 + z2 / independent)


def _with_threshold(state: State, settings: Settings) -> State:
    """Chooses the latency threshold from stable's past; keeps the present one where the past gives none."""
    past = state.stable_before.plus(state.stable_step)
    threshold = choose_threshold(past, settings.latency.max_ratio)
    if threshold is None:
        return state
    latency = replace(
        state.latency,
        bound_ms=threshold.bound_ms,
        ratio=threshold.ratio,
        past=past.slower_than(threshold.bound_ms),
        step=Counts(),
        pending=Counts(),
    )
    return replace(state, latency=latency)


def _slow_counts(window: Window, bound_ms: float | None) -> Counts:
    """(slow, timed) of both arms; nothing where either arm's buckets lack the bound."""
    if bound_ms is None:
        return Counts()
    canary, stable = _slower(window.canary, bound_ms), _slower(window.stable, bound_ms)
    return Counts(*canary, *stable) if canary is not None and stable is not None else Counts()


def _slower(arm: Arm, bound_ms: float) -> tuple[int, int] | None:
    return (0, 0) if arm.timed_requests == 0 else arm.slower_than(bound_ms)


def _above(arm: Arm, ceiling_ms: float) -> tuple[int, int]:
    """(slow, timed) at the first bucket bound from the ceiling up: never more than are above the ceiling itself."""
    bounds = [bound for bound in arm.bounds_ms if bound >= ceiling_ms and math.isfinite(bound)]
    return (arm.slower_than(bounds[0]) or (0, 0)) if bounds else (0, 0)


def _by_interval(pods: Sequence[Sequence[Window]], bound_ms: float | None) -> list[list[tuple[int, int]]]:
    """Stable's (bad, all) per pod and interval, (0, 0) where a pod has none; failed requests without a bound."""
    ends = sorted({window.end_seconds for windows in pods for window in windows})
    tables: list[list[tuple[int, int]]] = []
    for windows in pods:
        found = {window.end_seconds: _stable_bad(window.stable, bound_ms) for window in windows}
        tables.append([found.get(end, (0, 0)) for end in ends])
    return tables


def _stable_bad(arm: Arm, bound_ms: float | None) -> tuple[int, int]:
    if bound_ms is None:
        return arm.errors, arm.requests
    return _slower(arm, bound_ms) or (0, 0)


def _histogram(arm: Arm) -> Histogram:
    """An arm's latencies; nothing where it has none, so that a window without requests does not forget the bounds."""
    timed = arm.timed_requests
    return Histogram(arm.bounds_ms, arm.at_most, max(timed, arm.at_most[-1])) if timed and arm.at_most else Histogram()
