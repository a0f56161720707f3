"""The judge of one release: how it begins, and what a step changes.

What is frozen for a release or a step is frozen here: the part of the promise that latency has, the discount for
bursts, the latency threshold and its margin, and what stable was like when the bake begins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from modelrelease.judge.dispersion import dispersion
from modelrelease.judge.evidence import GATE_STAKES, Counts, Margin
from modelrelease.judge.latency import MIN_REQUESTS, Histogram, choose_threshold, histogram_of, requests_short
from modelrelease.judge.mixture import Mixture
from modelrelease.judge.samples import Arm, Window
from modelrelease.judge.settings import Settings
from modelrelease.judge.state import MetricState, State, Transition

UNRESOLVED_LATENCY_SHARE = 0.1
"""What latency keeps where stable's history shows that the buckets cannot resolve P99: it may become resolvable."""

BAKE_CONFIDENCE = 2.0
"""Standard errors by which stable's frozen rate is raised in the bake: it is an estimate, not the truth."""

BAKE_SLACK = 1.5
"""In the bake the tolerated rate is this much higher: stable is compared with at another time, and the load per pod is
not the same. What the bake is for, a canary that breaks under the full load, is far above that."""


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
        history = history.plus(histogram_of(window.stable))
        failed, requests = failed + window.stable.errors, requests + window.stable.requests
    threshold = choose_threshold(history, settings.latency.max_ratio)
    bound_ms = threshold.bound_ms if threshold else None
    pods = list(baseline_by_pod.values()) if baseline_by_pod else [baseline]
    ceilings = settings.errors.ceiling is not None, settings.latency.ceiling_ms is not None
    return State(
        cursor_seconds=at_seconds,
        step=-1,
        blame=None,
        latency_share=0.5,
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


def enter_step(
    state: State, settings: Settings, *, step: int, at_seconds: float, left_seconds: float | None = None
) -> State:
    """The state at the moment from which windows belong to ``step`` (index into the weights).

    What stable did so far becomes the past: the latency threshold and its margin are chosen anew from it. The gates
    begin at nothing, a fresh stake is made against bugs that show at this weight, and the cursor moves to
    ``at_seconds`` (never back). Requests that still waited to be judged only count as stable's past.

    Args:
        state: up to now.
        settings: of the release.
        step: the new one.
        at_seconds: unix seconds, on the grid.
        left_seconds: up to where on the grid the weight was that of the step before. Windows come late, and those until
            then still count, in that step: of a step that lasts three times as long as windows take to come, a third
            would never be judged. None: all before ``at_seconds`` that is not judged yet is left out.

    Raises:
        ValueError: the settings have no such step.
    """
    if not 0 <= step < len(settings.weights):
        raise ValueError(f"step {step} of {len(settings.weights)}")
    if state.transition is not None:
        left_seconds = state.transition.left_seconds
    elif left_seconds is None:
        left_seconds = state.cursor_seconds
    following = replace(state, transition=Transition(step, left_seconds, at_seconds))
    return entered(following, settings) if left_seconds <= state.cursor_seconds else following


def entered(state: State, settings: Settings) -> State:
    """The state as its next step sees it, where one has begun; the same state otherwise."""
    following = state.transition
    if following is None:
        return state
    past = state.stable_before.plus(state.stable_step)
    first = state.step < 0
    moved = replace(
        state,
        cursor_seconds=max(state.cursor_seconds, following.entered_seconds),
        step=following.step,
        errors=_entered(state.errors, first=first),
        latency=_entered(state.latency, first=first),
        stable_before=past,
        stable_step=Histogram(),
        canary_step=Histogram(),
        transition=None,
    )
    moved = with_threshold(moved, settings)
    if first:
        moved = replace(moved, latency_share=_latency_share(moved))
    if settings.weights[moved.step] < 100:
        return moved
    return replace(
        moved,
        errors=_baking(moved.errors, Margin(settings.errors.max_ratio, settings.errors.max_increase)),
        latency=_baking(moved.latency, Margin(moved.latency.ratio, 0.0)),
    )


def history_shortfall(state: State) -> int:
    """About how many more requests of stable's history it takes until latency can be compared.

    0 where it can be, and where more history would not help: the buckets are too coarse, or there are none. A release
    that waits for this before its first step compares latency from the first request on, at a bound that is known well.
    """
    past = state.stable_before.plus(state.stable_step)
    if past.total == 0 and state.errors.past[1] >= MIN_REQUESTS:
        return 0
    return requests_short(past)


def _latency_share(state: State) -> float:
    unresolvable = state.latency.bound_ms is None and history_shortfall(state) == 0
    return UNRESOLVED_LATENCY_SHARE if unresolvable else 0.5


def skip_to(state: State, *, at_seconds: float) -> State:
    """Leaves out the time up to ``at_seconds`` (warm-up, weight 0); the cursor never goes back."""
    return replace(state, cursor_seconds=max(state.cursor_seconds, at_seconds))


def with_threshold(state: State, settings: Settings) -> State:
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
    return arm.slower_than(bound_ms) or (0, 0)
