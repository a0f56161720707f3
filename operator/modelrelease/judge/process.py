"""The judge of one release: windows in, state on, and what the state says.

All choices (stakes, thresholds, discounts, fresh starts) are made from windows before the one that they are used on.
That is what lets one look after each window, for as long as one likes, without being fooled by chance more often than
the settings allow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from modelrelease.judge.assessment import concurrent_share, verdict
from modelrelease.judge.evidence import (
    Array,
    Comparisons,
    Counts,
    Purses,
    alternatives,
    compare,
    log_factors_alone,
    smoothed_rate,
)
from modelrelease.judge.latency import TARGET_EXCEEDANCE, histogram_of
from modelrelease.judge.mixture import Mixture, grown, kept, most_won, restart, stored
from modelrelease.judge.plan import Plan, plan_of
from modelrelease.judge.samples import Arm, Window
from modelrelease.judge.settings import Settings
from modelrelease.judge.state import MetricState, State
from modelrelease.judge.steps import entered, with_threshold

BLOCK = 250
"""Releases that are judged in one array operation: enough to make its overhead small, few enough for the cache."""


def observe(state: State, settings: Settings, window: Window) -> State:
    """The state after a window. One that is already judged changes nothing, so that a gap can be replayed safely.

    Raises:
        ValueError: the window is partly judged already, or reaches over a change of the weight, so its counts cannot
            be told apart.
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
    opened = [_opened(*release) for release in releases]
    metrics = [metric for one in opened if one is not None for metric in (one.errors, one.latency)]
    _compare([metric for metric in metrics if metric.plan.is_due(metric.pending)])
    _compare_alone([against for metric in metrics for against in (metric.ceiling, metric.bake) if against is not None])
    return [
        state if one is None else _closed(one, settings)
        for one, (state, settings, _) in zip(opened, releases, strict=True)
    ]


@dataclass(slots=True)
class _Alone:
    """The canary alone against a fixed limit, a share, while a window is judged; (bad, all) of its requests."""

    evidence: Mixture
    counts: tuple[int, int]
    limit: float
    dispersion: float


@dataclass(slots=True)
class _Metric:
    """One metric while a window is judged: what changes of ``before``. Made once per window, and so is the state: the
    many small objects are what judging thousands of releases costs.

    enough: the worth of the bets at which the canary is rolled back, whatever the other parts of the evidence say.
    """

    before: MetricState
    plan: Plan
    enough: float
    past: tuple[int, int]
    step: Counts
    pending: Counts
    concurrent: Mixture
    gate: tuple[float, ...]
    ceiling: _Alone | None = None
    bake: _Alone | None = None

    @property
    def known(self) -> tuple[int, int]:
        """Stable's (bad, all) requests that are judged already."""
        return _judged(self.past, self.step, self.pending)

    def state(self) -> MetricState:
        before = self.before
        return MetricState(
            before.dispersion, before.ratio, before.bound_ms, self.past, self.step, self.pending, self.concurrent,
            self.gate, before.ceiling if self.ceiling is None else self.ceiling.evidence,
            before.bake if self.bake is None else self.bake.evidence, before.bake_limit,
        )  # fmt: skip


@dataclass(slots=True)
class _Open:
    """A release while a window is judged."""

    state: State
    window: Window
    errors: _Metric
    latency: _Metric


def _opened(state: State, settings: Settings, window: Window) -> _Open | None:
    """The release with a window's requests counted; None where there is nothing to judge."""
    if window.end_seconds <= state.cursor_seconds:
        return None
    following = state.transition
    if following is not None and window.start_seconds >= following.left_seconds:
        if window.end_seconds <= following.entered_seconds:
            return None
        state = entered(state, settings)
    elif following is not None and window.end_seconds > following.left_seconds:
        raise ValueError(f"a window to {window.end_seconds} reaches over the weight's change {following.left_seconds}")
    if window.start_seconds < state.cursor_seconds:
        raise ValueError(f"a window from {window.start_seconds} reaches back over the cursor {state.cursor_seconds}")
    if state.latency.bound_ms is None:
        state = with_threshold(state, settings)
    canary, stable = window.canary, window.stable
    counts = Counts(canary.errors, canary.requests, stable.errors, stable.requests)
    alpha, share = settings.false_rollback_probability, state.latency_share
    most = 1 / (alpha * concurrent_share(settings))
    errors = _with_counts(state.errors, counts, plan_of(settings, state.step, "errors"), most / (1 - share))
    counts = _slow_counts(window, state.latency.bound_ms)
    latency = _with_counts(state.latency, counts, plan_of(settings, state.step, "latency"), most / share)
    if state.errors.ceiling is not None and settings.errors.ceiling is not None:
        seen = canary.errors, canary.requests
        errors.ceiling = _Alone(state.errors.ceiling, seen, settings.errors.ceiling, state.errors.dispersion)
    if state.latency.ceiling is not None and settings.latency.ceiling_ms is not None:
        seen = _above(canary, settings.latency.ceiling_ms)
        latency.ceiling = _Alone(state.latency.ceiling, seen, TARGET_EXCEEDANCE, state.latency.dispersion)
    return _Open(state, window, errors, latency)


def _with_counts(metric: MetricState, counts: Counts, plan: Plan, enough: float) -> _Metric:
    past, step, waiting = metric.past, metric.step, metric.pending
    if plan.weight == 0:
        past = past[0] + counts.stable_bad, past[1] + counts.stable
    else:
        step = step + counts
    if 0 < plan.weight < 100:
        waiting = waiting + counts if waiting.stable or waiting.canary else counts
    bake = None
    if plan.weight == 100 and metric.bake is not None and metric.bake_limit is not None:
        bake = _Alone(metric.bake, (counts.canary_bad, counts.canary), metric.bake_limit, metric.dispersion)
    return _Metric(metric, plan, enough, past, step, waiting, metric.concurrent, metric.gate, bake=bake)


def _compare(due: Sequence[_Metric]) -> None:
    """Compares what waits in each metric."""
    if not due:
        return
    rows = (
        (
            metric.pending.canary_bad,
            metric.pending.canary,
            metric.pending.stable_bad,
            metric.pending.stable,
            metric.before.ratio,
            metric.plan.increase,
            metric.plan.gate_increase,
            metric.before.dispersion,
            *metric.known,
            metric.plan.typical_rate,
            metric.enough,
        )
        for metric in due
    )
    *seen, bad, requests, typical, enough = _array(rows, len(due)).T
    columns: list[Array] = [*seen, smoothed_rate(bad, requests, typical)]
    before = [metric.concurrent for metric in due]
    logs, restarts = _restarted(before)
    rollback, gate = compare(Comparisons(*columns), Purses(logs, kept(restarts), enough, most_won(restarts, enough)))
    gates = stored(_array((metric.gate for metric in due), len(due)) + gate).tolist()
    for metric, mixture, promotion in zip(due, _mixtures(before, grown(logs, rollback), restarts), gates, strict=True):
        metric.concurrent = mixture
        metric.gate = tuple(promotion)
        metric.pending = _NOTHING


def _compare_alone(these: Sequence[_Alone]) -> None:
    """Compares the canary's requests with limits that hold whatever stable does now."""
    if not these:
        return
    rows = ((*one.counts, one.limit, one.dispersion) for one in these)
    bad, requests, limit, phi = (column[:, np.newaxis] for column in _array(rows, len(these)).T)
    before = [one.evidence for one in these]
    logs, restarts = _restarted(before)
    factors = log_factors_alone(bad, requests, limit, alternatives(limit)) / phi
    for one, mixture in zip(these, _mixtures(before, grown(logs, factors), restarts), strict=True):
        one.evidence = mixture


def _restarted(mixtures: Sequence[Mixture]) -> tuple[Array, NDArray[np.int64]]:
    """What is staked in each, with fresh stakes where they are due."""
    logs = _array((mixture.logs for mixture in mixtures), len(mixtures))
    restarts = _array((mixture.restarts for mixture in mixtures), len(mixtures)).astype(np.int64)
    return restart(logs, restarts)


def _mixtures(before: Sequence[Mixture], logs: Array, restarts: NDArray[np.int64]) -> Iterator[Mixture]:
    for mixture, log, counts in zip(before, logs.tolist(), map(tuple, restarts.tolist()), strict=True):
        # Fresh stakes are rare: what stays the same is kept, and not made once more for each release and window.
        yield Mixture(tuple(log), mixture.restarts if mixture.restarts == counts else counts)


_NOTHING = Counts()


def _array(rows: Iterable[Iterable[float]], count: int) -> Array:
    """A table with ``count`` rows; quicker than numpy's own conversion of nested sequences."""
    return np.fromiter(chain.from_iterable(rows), dtype=np.float64).reshape(count, -1)


def _closed(one: _Open, settings: Settings) -> State:
    """The state after the window, with the verdict where one is reached."""
    before = one.state
    state = State(
        one.window.end_seconds,
        before.step,
        before.blame,
        before.latency_share,
        one.errors.state(),
        one.latency.state(),
        before.stable_before,
        before.stable_step.plus(histogram_of(one.window.stable)),
        before.canary_step.plus(histogram_of(one.window.canary)),
        before.transition,
    )
    if state.blame is not None or (blame := verdict(state, settings)) is None:
        return state
    return replace(state, blame=blame)


def stable_known(metric: MetricState) -> tuple[int, int]:
    """Stable's (bad, all) requests that are judged already."""
    return _judged(metric.past, metric.step, metric.pending)


def _judged(past: tuple[int, int], step: Counts, waiting: Counts) -> tuple[int, int]:
    return past[0] + step.stable_bad - waiting.stable_bad, past[1] + step.stable - waiting.stable


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
