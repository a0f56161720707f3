"""A young stable whose P99 may become three times as long: a bound that little is known about stands for it then.

Nearly all of stable's requests lie in one of Istio's buckets, so that a canary which is tolerated may exceed the bound
nearest to the P99 with most of its requests; a higher one is taken where stable exceeded it at all, be it once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import ndtr

from modelrelease.judge import (
    Arm,
    ErrorTolerance,
    LatencyTolerance,
    Settings,
    State,
    Window,
    assess,
    begin,
    enter_step,
    observe_many,
)

from .fleet import Floats
from .traffic import ISTIO_BOUNDS_MS, WINDOW_SECONDS

SETTINGS = Settings(errors=ErrorTolerance(max_increase=0.02), latency=LatencyTolerance(max_ratio=3.0), harm_budget=0.02)
"""As the demonstration has them."""

LATENCIES = ((0.97, 5.5, 0.3), (0.03, 11.0, 0.55))
"""Share, median in milliseconds and sigma of two log-normal parts: P99 at 17 ms, between the bounds 10 and 25."""

HISTORIES = ((5, 60), (20, 30), (50, 30))
"""Requests per second, and seconds of stable's history."""

SLOWDOWNS = (1.0, 2.5, 4.0, 10.0)
"""By how much all latencies of the canary are longer than stable's. The second is tolerated, the last two are not."""

_BOUNDS = tuple(float(bound) for bound in ISTIO_BOUNDS_MS)
_WINDOWS_PER_STEP = round(60 / WINDOW_SECONDS)
_NOBODY = Arm(0, 0)


def young_stable(count: int) -> list[dict[str, Any]]:
    """Releases through 1, 5, 20 and 50 %, a minute each: how many are rolled back, and how many requests that takes."""
    return [_study(count, rps, seconds, slowdown) for rps, seconds in HISTORIES for slowdown in SLOWDOWNS]


def _study(count: int, rps: int, seconds: int, slowdown: float) -> dict[str, Any]:
    rng = np.random.default_rng([rps, seconds, round(10 * slowdown)])
    states = [
        begin(SETTINGS, at_seconds=0.0, baseline=[Window(-float(seconds), 0.0, stable, _NOBODY)])
        for stable in _arms(rng, np.full(count, rps * seconds), 1.0)
    ]
    asked = np.zeros(count)
    passed = np.ones(count, dtype=bool)
    chosen = None
    for step, weight in enumerate(SETTINGS.weights[:-1]):
        at = step * _WINDOWS_PER_STEP * WINDOW_SECONDS
        states = [enter_step(state, SETTINGS, step=step, at_seconds=at) for state in states]
        chosen = chosen or [state.latency.past for state in states]
        here = np.zeros(count, dtype=bool)
        for index in range(_WINDOWS_PER_STEP):
            requests = rng.poisson(rps * WINDOW_SECONDS, count)
            canary = rng.binomial(requests, weight / 100)
            asked += np.where(_rolled_back(states), 0, canary)
            arms = zip(_arms(rng, requests - canary, 1.0), _arms(rng, canary, slowdown), strict=True)
            start = at + index * WINDOW_SECONDS
            windows = [Window(start, start + WINDOW_SECONDS, stable, new) for stable, new in arms]
            states = observe_many([(one, SETTINGS, window) for one, window in zip(states, windows, strict=True)])
            here |= np.array([assess(state, SETTINGS).gate_passed for state in states])
        passed &= here
    rolled_back = _rolled_back(states)
    return {
        "rps": rps,
        "history_seconds": seconds,
        "slowdown": slowdown,
        "releases": count,
        "rolled_back": float(rolled_back.mean()),
        "canary_requests": float(asked.mean()),
        "passed_all_gates": float((passed & ~rolled_back).mean()),
        "bound_from_fewer_than_5_slow": float(np.mean([0 < slow < 5 for slow, _ in chosen or ()])),
    }


def _rolled_back(states: list[State]) -> np.ndarray:
    return np.array([state.blame is not None for state in states])


def _arms(rng: np.random.Generator, requests: np.ndarray, slowdown: float) -> list[Arm]:
    """An arm per release with so many requests, none of which fails."""
    counts = np.cumsum(rng.multinomial(requests, _cells(slowdown)), axis=1)
    return [Arm(int(row[-1]), 0, _BOUNDS, tuple(row.tolist())) if row[-1] else _NOBODY for row in counts]


def _cells(slowdown: float) -> Floats:
    """Share of the requests in each bucket."""
    within = [
        sum(share * float(ndtr(math.log(bound / (median * slowdown)) / sigma)) for share, median, sigma in LATENCIES)
        if math.isfinite(bound)
        else 1.0
        for bound in _BOUNDS
    ]
    return np.diff(np.array([0.0, *within]))
