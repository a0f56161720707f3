"""Simulated traffic: what both arms do in each window of a release, in all releases of a fleet at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from modelrelease.judge.dispersion import dispersion
from modelrelease.judge.latency import Histogram, Threshold, choose_threshold

from .fleet import Floats, Side

WINDOW_SECONDS = 10.0
ISTIO_BOUNDS_MS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, math.inf)
"""Istio's default latency buckets, up to 10 s."""

P99_MS, SIGMA = 200.0, 0.6
"""Stable's latencies are log-normal with this P99, in milliseconds."""


def slower_share(bound_ms: float, slowdown: float = 1.0) -> float:
    """Share of requests above a bound, for latencies multiplied by ``slowdown``."""
    median = P99_MS * slowdown / math.exp(2.3263 * SIGMA)
    return 0.0 if math.isinf(bound_ms) else float(1 - ndtr(math.log(bound_ms / median) / SIGMA))


def threshold(max_ratio: float = 1.2) -> Threshold:
    """What the judge chooses from a long history on Istio's buckets."""
    total = 10**7
    counts = tuple(round(total * (1 - slower_share(bound))) for bound in ISTIO_BOUNDS_MS)
    found = choose_threshold(Histogram(ISTIO_BOUNDS_MS, counts, total), max_ratio)
    assert found is not None
    return found


@dataclass(frozen=True)
class Moment:
    """Rates of both arms in a window, and how requests and errors come."""

    error_rate: float
    slow_factor: float = 1.0
    load: float = 1.0
    burst: int = 1
    retries: float = 0.0
    heavy_share: float = 0.0


Scenario = Callable[[float], Moment]
"""From minutes since the release began to what happens then."""


def _wave(minutes: float) -> Moment:
    phase = 1 + 0.8 * math.sin(minutes / 40 * 2 * math.pi)
    return Moment(0.005 * phase, slow_factor=phase, load=phase)


def _incident(minutes: float) -> Moment:
    return Moment(0.2, slow_factor=30.0) if 22 <= minutes < 27 else Moment(0.005)


def _retry_storm(minutes: float) -> Moment:
    return Moment(0.15 if 22 <= minutes < 25 else 0.005, retries=0.9)


SCENARIOS: dict[str, Scenario] = {
    "constant": lambda _: Moment(0.005),
    "daily wave": _wave,
    "shared incident": _incident,
    "bursts of 5 in one arm": lambda _: Moment(0.005, burst=5),
    "retry storm": _retry_storm,
    "sticky heavy client": lambda _: Moment(0.005, heavy_share=0.3),
    "stable without errors": lambda _: Moment(0.0),
    "stable with 5 % errors": lambda _: Moment(0.05),
}


@dataclass
class Drawn:
    """One window: errors and slow requests, and canary requests above 500 ms for the threshold rules."""

    errors: Side
    slow: Side
    canary_above_500: Floats


class Traffic:
    """Draws windows for ``count`` releases of an identical canary at ``rps`` requests per second."""

    def __init__(self, rng: np.random.Generator, count: int, rps: float, scenario: Scenario) -> None:
        self.rng, self.count, self.rps, self.scenario = rng, count, rps, scenario
        self.slow_share = slower_share(threshold().bound_ms)
        self._sticky = np.zeros(count, dtype=bool)

    def draw(self, minutes: float, weights: Floats) -> Drawn:
        moment = self.scenario(minutes)
        canary, stable = self._requests(moment, weights, minutes)
        errors = Side(self._errors(moment, canary), canary, self._errors(moment, stable), stable)
        if moment.retries:
            errors = self._retried(moment, weights, errors)
        slow_share = min(0.9, self.slow_share * moment.slow_factor)
        canary_slow, stable_slow = (
            bad + self.rng.binomial((requests - bad).astype(int), slow_share)
            for requests, bad in ((errors.canary, errors.canary_bad), (errors.stable, errors.stable_bad))
        )
        above = errors.canary_bad + self.rng.binomial(
            (errors.canary - errors.canary_bad).astype(int), min(0.9, slower_share(500) * moment.slow_factor)
        )
        return Drawn(errors, Side(canary_slow, errors.canary, stable_slow, errors.stable), above)

    def _requests(self, moment: Moment, weights: Floats, minutes: float) -> tuple[Floats, Floats]:
        mean = self.rps * WINDOW_SECONDS * moment.load
        spread = self.rng.poisson(mean * (1 - moment.heavy_share), self.count)
        canary = self.rng.binomial(spread, weights / 100)
        stable = spread - canary
        if moment.heavy_share:
            if round(minutes * 60) % 60 < WINDOW_SECONDS:
                self._sticky = self.rng.random(self.count) < weights / 100
            heavy = self.rng.poisson(mean * moment.heavy_share, self.count)
            canary, stable = canary + heavy * self._sticky, stable + heavy * ~self._sticky
        return canary.astype(float), stable.astype(float)

    def _errors(self, moment: Moment, requests: Floats) -> Floats:
        if moment.burst == 1:
            return self.rng.binomial(requests.astype(int), moment.error_rate).astype(float)
        bursts = self.rng.poisson(requests * moment.error_rate / moment.burst)
        return np.minimum(requests, moment.burst * bursts.astype(float))

    def _retried(self, moment: Moment, weights: Floats, first: Side) -> Side:
        """Failed requests are sent again, to either arm, and half of them fail again for the same reason."""
        again = self.rng.binomial((first.canary_bad + first.stable_bad).astype(int), moment.retries)
        to_canary = self.rng.binomial(again, weights / 100)
        to_stable = again - to_canary
        failed = self.rng.binomial(to_canary, 0.5), self.rng.binomial(to_stable, 0.5)
        return first.plus(Side(failed[0], to_canary, failed[1], to_stable))

    def history(self, minutes: int = 10, pods: int = 4) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats], Floats]:
        """Stable before the release: (bad, all) of errors and of slow requests, and φ from its pods."""
        shape = (self.count, pods, int(minutes * 60 / WINDOW_SECONDS))
        moment = self.scenario(0.0)
        requests = self.rng.poisson(self.rps * WINDOW_SECONDS / pods * moment.load, shape).astype(float)
        bad = self._errors(moment, requests)
        slow = bad + self.rng.binomial((requests - bad).astype(int), min(0.9, self.slow_share * moment.slow_factor))
        phi = np.ones(self.count)
        if moment.burst > 1:
            for index in range(self.count):
                tables = [list(zip(b, n, strict=True)) for b, n in zip(bad[index], requests[index], strict=True)]
                phi[index] = dispersion(tables)
        totals = requests.sum(axis=(1, 2))
        return (bad.sum(axis=(1, 2)), totals), (slow.sum(axis=(1, 2)), totals), phi
