"""How long each step will take, and what it would notice how soon, at the traffic that was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from pydantic import Field

from modelrelease.api.model import Model
from modelrelease.api.spec import Advance, ModelReleaseSpec
from modelrelease.cli.measured import Traffic, lag_seconds
from modelrelease.cli.replay import Pace, Play, Run, cycled, replay
from modelrelease.judge import Margin, Rates, State, Window, begin, requests_to_detect
from modelrelease.judge.latency import choose_threshold, quantile_ms
from modelrelease.judge.samples import Arm
from modelrelease.rollout.analysis import judge_settings
from modelrelease.rollout.capacity import replicas_needed
from modelrelease.rollout.guard import SETTLE_SECONDS

RUNS = 25
LONGEST_SECONDS = 8 * 3600.0
"""Steps are not played for longer: a release that takes more than a working day needs other settings."""
WINDOWS = 600
"""At most so many are played; beyond, neighbours are put together, which costs little precision."""
MORE_ERRORS = 0.01
SLOWER = 1.5


class StepForecast(Model):
    """One step."""

    step: int = Field(description="Number of the step, from 1.")
    weight: int = Field(description="Share of the traffic, in per cent.")
    replicas: int = Field(description="Canary pods that it needs.")
    typical_seconds: float | None = Field(
        description="Half of all releases of an equal version take no longer; null: longer than 8 h."
    )
    most_seconds: float | None = Field(description="Nine of ten take no longer; null: longer than 8 h.")
    errors_seconds: float | None = Field(
        description="Errors one percentage point above what is tolerated are noticed by then, half of the time."
    )
    latency_seconds: float | None = Field(
        description="A P99 of 1.5 times what is tolerated is noticed by then, half of the time; null: never."
    )


class TrafficView(Model):
    """What was measured."""

    minutes: float = Field(description="Length of the measurement.")
    requests_per_second: float = Field(description="Requests to stable per second.")
    error_rate: float | None = Field(description="Share of failed requests.")
    p99_milliseconds: float | None = Field(description="Stable's P99 latency, for people to look at.")
    threshold_milliseconds: float | None = Field(
        description="Bucket bound that P99 is compared by; null where none resolves it."
    )
    threshold_share: float | None = Field(description="Share of stable's requests that are slower than that bound.")
    burst_factor: float = Field(description="How much bursts of errors slow the release down; 1: not at all.")


def judged_state(spec: ModelReleaseSpec, traffic: Traffic) -> State:
    """The judge before a release, knowing what was measured."""
    settings = judge_settings(spec.strategy, spec.analysis)
    at = traffic.windows[-1].end_seconds
    return begin(settings, at_seconds=at, baseline=traffic.windows, baseline_by_pod=traffic.pods)


def traffic_view(spec: ModelReleaseSpec, traffic: Traffic) -> TrafficView:
    state = judged_state(spec, traffic)
    bound = state.latency.bound_ms
    slow, timed = state.stable_before.slower_than(bound) if bound is not None else (0, 0)
    return TrafficView(
        minutes=round(traffic.seconds / 60, 1),
        requests_per_second=round(traffic.requests_per_second, 3),
        error_rate=traffic.error_rate,
        p99_milliseconds=quantile_ms(state.stable_before),
        threshold_milliseconds=bound,
        threshold_share=slow / timed if timed else None,
        burst_factor=round(max(state.errors.dispersion, state.latency.dispersion), 2),
    )


def pace_of(spec: ModelReleaseSpec, stable_replicas: int, startup_seconds: float, scrape_seconds: float) -> Pace:
    needed = [replicas_needed(spec.strategy, stable_replicas, step.weight) for step in spec.strategy.steps]
    grows = [True, *(after > before for before, after in pairwise(needed))]
    return Pace(lag_seconds(spec, scrape_seconds), startup_seconds, tuple(grows))


def forecast(spec: ModelReleaseSpec, traffic: Traffic, pace: Pace, stable_replicas: int) -> list[StepForecast]:
    """Every step but the last, which the bake fills."""
    play = Play.of(spec.strategy, spec.analysis, pace)
    longest = LONGEST_SECONDS
    if spec.strategy.advance is Advance.TIME:
        runs: list[Run] = []
    else:
        found = merged(traffic.windows, math.ceil(longest / WINDOWS / spec.analysis.interval))
        quick = _played(play, traffic, traffic.windows, min(longest, WINDOWS * spec.analysis.interval))
        done = all(run.is_over for run in quick)
        runs = quick if done else _played(play, traffic, found, longest)
    state = judged_state(spec, traffic)
    return [
        _step(spec, traffic, state, number, (runs, pace, stable_replicas))
        for number, step in enumerate(spec.strategy.steps, 1)
        if step.weight < 100
    ]


def _played(play: Play, traffic: Traffic, found: Sequence[Window], seconds: float) -> list[Run]:
    return replay(play, traffic, cycled(found, seconds), RUNS)


def merged(found: Sequence[Window], together: int) -> list[Window]:
    """Neighbouring windows put together, `together` at a time."""
    return [_sum(found[start : start + together]) for start in range(0, len(found), together)]


def _sum(some: Sequence[Window]) -> Window:
    """Stable's part of all of them; of those with other buckets than the last, only the requests."""
    bounds = some[-1].stable.bounds_ms
    timed = [window.stable for window in some if window.stable.bounds_ms == bounds]
    arm = Arm(
        requests=sum(window.stable.requests for window in some),
        errors=sum(window.stable.errors for window in some),
        bounds_ms=bounds,
        at_most=tuple(map(sum, zip(*(one.at_most for one in timed), strict=True))) if bounds else (),
        timed=sum(one.timed for one in timed) if bounds else -1,
    )
    return Window(some[0].start_seconds, some[-1].end_seconds, arm, Arm(0, 0))


def _step(
    spec: ModelReleaseSpec,
    traffic: Traffic,
    state: State,
    number: int,
    played: tuple[Sequence[Run], Pace, int],
) -> StepForecast:
    runs, pace, stable_replicas = played
    step = spec.strategy.steps[number - 1]
    errors, latency = _detection(spec, traffic, state, step.weight)
    lag = pace.lag_seconds
    return StepForecast(
        step=number,
        weight=step.weight,
        replicas=replicas_needed(spec.strategy, stable_replicas, step.weight),
        typical_seconds=_quantile(runs, number, 0.5) if runs else _by_time(spec, traffic, pace, number),
        most_seconds=_quantile(runs, number, 0.9) if runs else _by_time(spec, traffic, pace, number),
        errors_seconds=errors + lag if errors is not None else None,
        latency_seconds=latency + lag if latency is not None else None,
    )


def _quantile(runs: Sequence[Run], number: int, share: float) -> float | None:
    """Over the runs that got into this step; those that were still in it lasted longer than any."""
    entered = [run for run in runs if len(run.step_seconds) >= number or (not run.blame and run.step == number - 1)]
    ordered = sorted(run.step_seconds[number - 1] if len(run.step_seconds) >= number else math.inf for run in entered)
    if not ordered:
        return None
    found = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
    return found if math.isfinite(found) else None


def _by_time(spec: ModelReleaseSpec, traffic: Traffic, pace: Pace, number: int) -> float | None:
    """With advance: Time a step lasts as long as it says, until there were enough requests, and until the pods of the
    next one are there."""
    step = spec.strategy.steps[number - 1]
    rate = traffic.requests_per_second * step.weight / 100
    if not rate:
        return None
    uncounted = max(SETTLE_SECONDS, spec.analysis.warm_up if pace.grows[number - 1] else 0.0)
    counted = uncounted + spec.analysis.min_requests / rate + pace.lag_seconds
    return max(step.min_duration, counted) + (pace.startup_seconds if pace.grows[number] else 0.0)


def _detection(
    spec: ModelReleaseSpec, traffic: Traffic, state: State, weight: int
) -> tuple[float | None, float | None]:
    """Median seconds until a verdict, if errors are a percentage point, and P99 a half, above what is tolerated."""
    settings = judge_settings(spec.strategy, spec.analysis)
    rps, ratio = traffic.requests_per_second * weight / 100, weight / (100 - weight)
    stable = traffic.error_rate or 0.0
    margin = Margin(settings.errors.max_ratio, settings.errors.max_increase)
    worse = Rates(min(0.99, float(margin.limit(stable)) + MORE_ERRORS), stable, ratio)
    found = requests_to_detect(settings, worse, margin, dispersion=state.errors.dispersion)
    errors = found.quantile(0.5) / rps
    slow = choose_threshold(state.stable_before, SLOWER * settings.latency.max_ratio)
    latency = math.inf
    if slow is not None:
        bad, timed = state.stable_before.slower_than(slow.bound_ms)
        share = bad / timed
        rates = Rates(min(0.99, slow.ratio * share), share, ratio)
        tolerated = Margin(state.latency.ratio, 0.0)
        needed = requests_to_detect(settings, rates, tolerated, dispersion=state.latency.dispersion)
        latency = needed.quantile(0.5) / rps
    return (errors if math.isfinite(errors) else None), (latency if math.isfinite(latency) else None)
