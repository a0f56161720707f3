"""How many requests, and how much time, a decision takes: estimates for people, never used to decide.

Evidence is a random walk: each canary request moves its logarithm by μ on average with variance v, and a decision is
reached at a height h. The number of requests until then is close to inverse Gaussian with mean h/μ and shape h²/v
(first passage of a Brownian motion with drift).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtr

from modelrelease.judge.assessment import concurrent_share
from modelrelease.judge.evidence import (
    EFFECT_WEIGHTS,
    EFFECTS,
    GATE_STAKES,
    GATE_WEIGHTS,
    Array,
    Bets,
    Margin,
    alternatives,
    gate_margin,
    place,
    smoothed_rate,
)
from modelrelease.judge.mixture import START_SHARE
from modelrelease.judge.plan import Plan, plan_of
from modelrelease.judge.process import stable_known
from modelrelease.judge.settings import Settings
from modelrelease.judge.state import MetricState, State
from modelrelease.judge.steps import entered

SPREAD_EFFECTS = 0.9
"""Part of log(1/weight) that spreading the stake costs; neighbouring effects win too (from simulation)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Canary requests until a decision: an inverse Gaussian with this mean and shape."""

    mean: float
    shape: float

    def quantile(self, share: float) -> float:
        """Requests that are enough in this share of cases (0 to 1); infinite where the mean is."""
        if not math.isfinite(self.mean):
            return math.inf
        low, high = 0.0, self.mean
        while self._below(high) < share:
            low, high = high, 2 * high
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if self._below(middle) < share else (low, middle)
        return high

    def _below(self, requests: float) -> float:
        """Distribution function of the inverse Gaussian (Schrödinger 1915)."""
        if requests <= 0:
            return 0.0
        scale, relative = math.sqrt(self.shape / requests), requests / self.mean
        tail = 2 * self.shape / self.mean + float(log_ndtr(-scale * (relative + 1)))
        return float(ndtr(scale * (relative - 1))) + math.exp(min(0.0, tail))


NEVER = Estimate(math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of bad requests, and canary requests per stable request."""

    canary: float
    stable: float
    traffic_ratio: float


def walk(rates: Rates, dispersion: float, bets: Bets) -> tuple[Array, Array]:
    """Mean and variance, per bet, of the log evidence's step per canary request, with independent requests."""
    canary_bad, canary_good, stable_bad, stable_good = bets.log_outcomes()
    stable_per_canary = 1 / rates.traffic_ratio
    mean = rates.canary * canary_bad + (1 - rates.canary) * canary_good
    mean += (rates.stable * stable_bad + (1 - rates.stable) * stable_good) * stable_per_canary
    variance = rates.canary * (1 - rates.canary) * (canary_bad - canary_good) ** 2
    variance += rates.stable * (1 - rates.stable) * (stable_bad - stable_good) ** 2 * stable_per_canary
    return mean / dispersion, variance / dispersion


def requests_to_detect(
    settings: Settings, rates: Rates, margin: Margin, *, dispersion: float = 1.0, share: float | None = None
) -> Estimate:
    """Canary requests until a canary with these rates is rolled back, if it is as bad from the start.

    Simulations agree within 15 % from twice the tolerated rate up to canaries of which half of the requests are bad;
    where nearly all are, a few requests decide, and up to a fifth more are needed than is said here.
    ``share`` is the metric's part of the false-rollback probability; default: half of what the bake leaves.
    """
    part = share if share is not None else default_share(settings)
    limit = float(margin.limit(rates.stable))
    if rates.canary <= limit:
        return NEVER
    *_, last, outage = alternatives(np.array([limit]))
    if rates.canary <= last:
        nearest = int(np.argmin(np.abs(np.log(EFFECTS) - math.log(rates.canary / limit))))
        played = [(rates.canary, EFFECT_WEIGHTS[nearest])]
    else:
        # Between the last effect and the outage nobody bets on the truth: one of these two wins.
        played = [(last, EFFECT_WEIGHTS[-2]), (outage, EFFECT_WEIGHTS[-1])]
    height = -math.log(settings.false_rollback_probability * part * START_SHARE)
    found = []
    for rate, weight in played:
        mean, variance = walk(rates, dispersion, place(rate, rates.stable, margin, rates.traffic_ratio))
        found.append(_passage(height - SPREAD_EFFECTS * math.log(weight), float(mean), float(variance)))
    return min(found, key=lambda estimate: estimate.mean)


def requests_to_pass(settings: Settings, rates: Rates, margin: Margin, *, dispersion: float = 1.0) -> Estimate:
    """Canary requests until a promotion gate is passed by a canary with these rates.

    The gate bets on a canary that equals stable, so ``rates.stable`` sets the stakes.
    """
    asked = gate_margin(margin.ratio, margin.increase, rates.stable)
    bets = place(rates.stable, rates.stable, asked, rates.traffic_ratio, GATE_STAKES)
    heights = -math.log(settings.missed_regression_probability) - np.log(GATE_WEIGHTS)
    steps = zip(heights, *walk(rates, dispersion, bets), strict=True)
    found = [_passage(float(height), float(mean), float(variance)) for height, mean, variance in steps]
    return min(found, key=lambda estimate: estimate.mean)


def default_share(settings: Settings) -> float:
    """Part of the false-rollback probability that errors, and latency where it can be resolved, have each."""
    return concurrent_share(settings) / 2


def seconds_to_gate(state: State, settings: Settings, *, canary_rps: float, stable_rps: float) -> float | None:
    """Expected seconds until the present step's gate is passed, if the canary equals stable.

    0 where it is passed or none is needed (the bake); None: never at this traffic, or not in a step.
    """
    state = entered(state, settings)
    if state.step < 0:
        return None
    if settings.weights[state.step] == 100:
        return 0.0
    if canary_rps <= 0 or stable_rps <= 0:
        return None
    plan = plan_of(settings, state.step, "errors")
    needed = _requests_left(state.errors, settings, plan, canary_rps / stable_rps)
    if state.latency.bound_ms is not None:
        plan = plan_of(settings, state.step, "latency")
        slow = _requests_left(state.latency, settings, plan, canary_rps / stable_rps)
        needed = max(needed, slow)
    return needed / canary_rps if math.isfinite(needed) else None


def _requests_left(metric: MetricState, settings: Settings, plan: Plan, traffic_ratio: float) -> float:
    rate = smoothed_rate(*stable_known(metric), plan.typical_rate)
    bets = place(rate, rate, gate_margin(metric.ratio, plan.gate_increase, rate), traffic_ratio, GATE_STAKES)
    mean, _ = walk(Rates(rate, rate, traffic_ratio), metric.dispersion, bets)
    missing = -math.log(settings.missed_regression_probability) - np.log(GATE_WEIGHTS) - np.array(metric.gate)
    if np.any(missing <= 0):
        return 0.0
    return min((float(m / v) for m, v in zip(missing, mean, strict=True) if v > 0), default=math.inf)


def _passage(height: float, mean: float, variance: float) -> Estimate:
    return Estimate(height / mean, height * height / variance) if mean > 0 and variance > 0 else NEVER
