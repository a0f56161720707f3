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

from modelrelease.judge.dispersion import dispersion
from modelrelease.judge.evidence import (
    GATE_STAKES,
    Counts,
    Margin,
    alternatives,
    gate_log_evidence,
    gate_log_factors,
    log_factors_alone,
    log_sum_exp,
    rollback_log_factors,
    smoothed_rate,
)
from modelrelease.judge.latency import MIN_REQUESTS, TARGET_EXCEEDANCE, Histogram, choose_threshold, quantile_ms
from modelrelease.judge.mixture import Mixture
from modelrelease.judge.samples import Arm, Window
from modelrelease.judge.settings import Settings
from modelrelease.judge.state import Blame, MetricState, State

BAKE_SHARE = 0.1
"""The bake's part of the false-rollback probability. At 100 % requests are plentiful: it needs little."""

CEILING_SHARE = 0.1
"""The absolute ceilings' part, where there are any."""

UNRESOLVED_LATENCY_SHARE = 0.1
"""What latency keeps where stable's history shows that the buckets cannot resolve P99: it may become resolvable."""

BAKE_CONFIDENCE = 3.0
"""Standard errors by which stable's frozen rate is raised in the bake: it is an estimate, not the truth."""

BAKE_SLACK = 1.5
"""In the bake the tolerated rate is this much higher: stable is compared with at another time, and the load per pod is
not the same. What the bake is for, a canary that breaks under the full load, is far above that."""

TYPICAL_ERROR_RATE = 0.005
"""Assumed where nothing is known yet; chooses the first stakes only."""


@dataclass(frozen=True, slots=True)
class MetricAssessment:
    """What is known about one metric, for people and for the controller.

    stable_value, canary_value: share of failed requests, or of requests slower than ``threshold_ms``, in this step
        (stable's: before it, where it has no requests in it); None without requests.
    stable_p99_ms, canary_p99_ms: interpolated, for display only; None for errors or where not measurable.
    requests_stable, requests_canary: in this step.
    rollback_evidence, promotion_evidence: 0 to 1, the share of what is needed on a logarithmic scale.
    """

    name: Literal["errors", "latency"]
    resolvable: bool
    stable_value: float | None
    canary_value: float | None
    stable_p99_ms: float | None
    canary_p99_ms: float | None
    threshold_ms: float | None
    requests_stable: int
    requests_canary: int
    rollback_evidence: float
    promotion_evidence: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the evidence so far says. A rollback is final; a gate counts as long as it is passed when one asks."""

    rollback: bool
    blame: Blame | None
    gate_passed: bool
    metrics: tuple[MetricAssessment, ...]


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
            neighbouring windows of ``baseline`` is taken.
    """
    history = Histogram()
    failed = requests = 0
    for window in baseline:
        history = history.plus(window.stable.bounds_ms, window.stable.at_most, window.stable.timed_requests)
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
    past = state.stable_before.merged(state.stable_step)
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
    if window.end_seconds <= state.cursor_seconds:
        return state
    if window.start_seconds < state.cursor_seconds:
        raise ValueError(f"a window from {window.start_seconds} reaches back over the cursor {state.cursor_seconds}")
    if state.latency.bound_ms is None:
        state = _with_threshold(state, settings)
    error_counts = Counts(window.canary.errors, window.canary.requests, window.stable.errors, window.stable.requests)
    slow_counts = _slow_counts(window, state.latency.bound_ms)
    ceiling_ms = settings.latency.ceiling_ms
    seen = replace(
        state,
        cursor_seconds=window.end_seconds,
        errors=_capped(
            _observed(state.errors, error_counts, plan_of(state, settings, "errors")),
            (window.canary.errors, window.canary.requests),
            settings.errors.ceiling,
        ),
        latency=_capped(
            _observed(state.latency, slow_counts, plan_of(state, settings, "latency")),
            _above(window.canary, ceiling_ms) if ceiling_ms is not None else (0, 0),
            TARGET_EXCEEDANCE,
        ),
        stable_step=_plus(state.stable_step, window.stable),
        canary_step=_plus(state.canary_step, window.canary),
    )
    return replace(seen, blame=state.blame or _verdict(seen, settings))


def assess(state: State, settings: Settings) -> Assessment:
    """What the state says: roll back, grow, or neither yet."""
    metrics = (_assess_errors(state, settings), _assess_latency(state, settings))
    weight = settings.weights[state.step] if state.step >= 0 else 0
    passed = weight == 100 or (weight > 0 and all(m.promotion_evidence >= 1 for m in metrics if m.resolvable))
    return Assessment(
        rollback=state.blame is not None,
        blame=state.blame,
        gate_passed=passed and state.blame is None,
        metrics=metrics,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """How one metric is judged in the present step. ``weight``, ``next_weight``: percent."""

    weight: int
    margin: Margin
    gate_margin: Margin
    typical_rate: float


def plan_of(state: State, settings: Settings, name: Literal["errors", "latency"]) -> Plan:
    weight = settings.weights[state.step] if state.step >= 0 else 0
    following = settings.weights[state.step + 1 :]
    if name == "errors":
        margin, typical = Margin(settings.errors.max_ratio, settings.errors.max_increase), TYPICAL_ERROR_RATE
    else:
        margin, typical = Margin(state.latency.ratio, 0.0), TARGET_EXCEEDANCE
    increase = margin.increase
    if following and following[0] < 100:
        # A share H of all requests may be harmed: at a small next weight only catastrophes must be excluded.
        increase = max(increase, min(0.5, 100 * settings.harm_budget / following[0]))
    return Plan(weight, margin, Margin(margin.ratio, increase), typical)


def _observed(metric: MetricState, counts: Counts, plan: Plan) -> MetricState:
    """One metric after a window's counts; dispatches on what the canary's weight allows to compare."""
    if plan.weight == 0:
        return replace(metric, past=(metric.past[0] + counts.stable_bad, metric.past[1] + counts.stable))
    seen = replace(metric, step=metric.step + counts)
    if plan.weight == 100:
        return _baked(seen, counts)
    pending = metric.pending + counts
    if pending.stable * plan.weight < 100 - plan.weight:
        # Less than one canary request is to be expected for stable's requests so far. Compared now, a canary request
        # would meet only the few stable requests that happened to be next to it, and the others would be wasted.
        return replace(seen, pending=pending)
    rate = stable_rate(metric, plan.typical_rate)
    factors = rollback_log_factors(pending, plan.margin, metric.dispersion, rate)
    gate_factors = gate_log_factors(pending, plan.gate_margin, metric.dispersion, rate)
    return replace(
        seen,
        pending=Counts(),
        concurrent=metric.concurrent.restarted().grown(factors),
        gate=tuple((np.array(metric.gate) + gate_factors).tolist()),
    )


def stable_rate(metric: MetricState, typical_rate: float) -> float:
    """Stable's estimated share of bad requests, from all that is judged already."""
    bad = metric.past[0] + metric.step.stable_bad - metric.pending.stable_bad
    requests = metric.past[1] + metric.step.stable - metric.pending.stable
    return smoothed_rate(bad, requests, typical_rate)


def _baked(metric: MetricState, counts: Counts) -> MetricState:
    if metric.bake is None or metric.bake_limit is None:
        return metric
    grown = _grown_alone(metric.bake, (counts.canary_bad, counts.canary), metric.bake_limit, metric.dispersion)
    return replace(metric, bake=grown)


def _capped(metric: MetricState, counts: tuple[int, int], limit: float | None) -> MetricState:
    if metric.ceiling is None or limit is None:
        return metric
    return replace(metric, ceiling=_grown_alone(metric.ceiling, counts, limit, metric.dispersion))


def _grown_alone(mixture: Mixture, counts: tuple[int, int], limit: float, discount: float) -> Mixture:
    bad, requests = counts
    factors = log_factors_alone(bad, requests, limit, alternatives(limit)) / discount
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
    limit = float(BAKE_SLACK * margin.limit(_upper_rate(*metric.past, metric.dispersion)))
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
    past = state.stable_before.merged(state.stable_step)
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
    canary, stable = (_slower(arm, bound_ms) for arm in (window.canary, window.stable))
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


def _plus(histogram: Histogram, arm: Arm) -> Histogram:
    return histogram.plus(arm.bounds_ms, arm.at_most, arm.timed_requests)


def _shares(state: State, settings: Settings) -> dict[Blame, float]:
    """How the false-rollback probability is divided: weights of the parts of the evidence, adding up to 1."""
    ceilings: list[Blame] = []
    if settings.errors.ceiling is not None:
        ceilings.append("errors-ceiling")
    if settings.latency.ceiling_ms is not None:
        ceilings.append("latency-ceiling")
    concurrent = 1 - BAKE_SHARE - (CEILING_SHARE if ceilings else 0.0)
    latency = state.latency_share
    shares: dict[Blame, float] = {
        "errors": concurrent * (1 - latency),
        "latency": concurrent * latency,
        "errors-bake": BAKE_SHARE * (1 - latency),
        "latency-bake": BAKE_SHARE * latency,
    }
    return shares | dict.fromkeys(ceilings, CEILING_SHARE / max(1, len(ceilings)))


def _log_evidence(state: State, settings: Settings) -> dict[Blame, tuple[float, float]]:
    """(log of the evidence, log of its share) per part. A weighted mean is valid however the parts depend."""
    mixtures: dict[Blame, Mixture | None] = {
        "errors": state.errors.concurrent,
        "latency": state.latency.concurrent,
        "errors-ceiling": state.errors.ceiling,
        "latency-ceiling": state.latency.ceiling,
        "errors-bake": state.errors.bake,
        "latency-bake": state.latency.bake,
    }
    parts: dict[Blame, tuple[float, float]] = {}
    for name, share in _shares(state, settings).items():
        mixture = mixtures[name]
        parts[name] = (mixture.log_evidence if mixture is not None else 0.0, math.log(share))
    return parts


def _verdict(state: State, settings: Settings) -> Blame | None:
    """The part that says most, if all together reach 1/alpha."""
    weighted = {name: log + share for name, (log, share) in _log_evidence(state, settings).items()}
    if log_sum_exp(np.array(list(weighted.values()))) < -math.log(settings.false_rollback_probability):
        return None
    return max(weighted, key=lambda name: weighted[name])


def _rollback_evidence(state: State, settings: Settings, name: Literal["errors", "latency"]) -> float:
    if state.blame is not None and state.blame.startswith(name):
        return 1.0
    needed = -math.log(settings.false_rollback_probability)
    parts = (part for blame, part in _log_evidence(state, settings).items() if blame.startswith(name))
    return _bar(max(log / (needed - log_share) for log, log_share in parts))


def _promotion_evidence(metric: MetricState, settings: Settings) -> float:
    return _bar(float(gate_log_evidence(np.array(metric.gate))) / -math.log(settings.missed_regression_probability))


def _bar(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _assess_errors(state: State, settings: Settings) -> MetricAssessment:
    metric = state.errors
    return MetricAssessment(
        name="errors",
        resolvable=True,
        stable_value=_shown_stable(metric),
        canary_value=_share(metric.step.canary_bad, metric.step.canary),
        stable_p99_ms=None,
        canary_p99_ms=None,
        threshold_ms=None,
        requests_stable=metric.step.stable,
        requests_canary=metric.step.canary,
        rollback_evidence=_rollback_evidence(state, settings, "errors"),
        promotion_evidence=_promotion_evidence(metric, settings),
    )


def _assess_latency(state: State, settings: Settings) -> MetricAssessment:
    metric = state.latency
    resolvable = metric.bound_ms is not None
    stable = state.stable_step if state.stable_step.total else state.stable_before
    return MetricAssessment(
        name="latency",
        resolvable=resolvable,
        stable_value=_shown_stable(metric) if resolvable else None,
        canary_value=_share(metric.step.canary_bad, metric.step.canary),
        stable_p99_ms=quantile_ms(stable),
        canary_p99_ms=quantile_ms(state.canary_step),
        threshold_ms=metric.bound_ms,
        requests_stable=metric.step.stable,
        requests_canary=metric.step.canary,
        rollback_evidence=_rollback_evidence(state, settings, "latency"),
        promotion_evidence=_promotion_evidence(metric, settings) if resolvable else 0.0,
    )


def _shown_stable(metric: MetricState) -> float | None:
    return _share(metric.step.stable_bad, metric.step.stable) if metric.step.stable else _share(*metric.past)


def _share(bad: int, requests: int) -> float | None:
    return bad / requests if requests else None
