"""How many requests, and how much time, a decision takes: estimates for people, never used to decide.

Evidence is a random walk: each canary request moves its logarithm by μ on average with variance v, and a decision is
reached at a height h. The number of requests until then is close to inverse Gaussian with mean h/μ and shape h²/v
(first passage of a Brownian motion with drift).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import log_ndtr, ndtr

from modelrelease.judge.evidence import (
    EFFECTS,
    GATE_STAKES,
    GATE_WEIGHTS,
    Margin,
    best_stake,
)
from modelrelease.judge.mixture import START_SHARE
from modelrelease.judge.process import BAKE_SHARE, CEILING_SHARE, Plan, plan_of, stable_rate
from modelrelease.judge.settings import Settings
from modelrelease.judge.state import MetricState, State

SPREAD_EFFECTS = 0.9
"""Part of log(number of effects) that spreading the stake costs; neighbouring effects win too (from simulation)."""


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


def walk(rates: Rates, margin: Margin, dispersion: float, stake: float) -> tuple[float, float]:
    """Mean and variance of the log evidence's step per canary request, counts taken as Poisson."""
    win, lose = math.log1p(stake), math.log1p(-stake * margin.ratio * rates.traffic_ratio)
    stable_per_canary = rates.stable / rates.traffic_ratio
    mean = rates.canary * win + stable_per_canary * lose - stake * margin.increase
    variance = rates.canary * win**2 + stable_per_canary * lose**2
    return mean / dispersion, variance / dispersion


def requests_to_detect(
    settings: Settings, rates: Rates, margin: Margin, *, dispersion: float = 1.0, share: float | None = None
) -> Estimate:
    """Canary requests until a canary with these rates is rolled back, if it is as bad from the start.

    ``share`` is the metric's part of the false-rollback probability; default: half of what the bake leaves.
    """
    part = share if share is not None else default_share(settings)
    height = -math.log(settings.false_rollback_probability * part)
    height += -math.log(START_SHARE) + SPREAD_EFFECTS * math.log(len(EFFECTS))
    stake = best_stake(rates.canary, rates.stable, margin, rates.traffic_ratio)
    return _passage(height, walk(rates, margin, dispersion, stake)) if stake > 0 else NEVER


def requests_to_pass(settings: Settings, rates: Rates, margin: Margin, *, dispersion: float = 1.0) -> Estimate:
    """Canary requests until a promotion gate is passed by a canary with these rates.

    The gate bets on a canary that equals stable, so ``rates.stable`` sets the stakes.
    """
    full = best_stake(rates.stable, rates.stable, margin, rates.traffic_ratio)
    best = NEVER
    for weight, part in zip(GATE_WEIGHTS, GATE_STAKES, strict=True):
        height = -math.log(settings.missed_regression_probability) - math.log(weight)
        found = _passage(height, walk(rates, margin, dispersion, part * full))
        best = min(best, found, key=lambda estimate: estimate.mean)
    return best


def default_share(settings: Settings) -> float:
    """Part of the false-rollback probability that errors, and latency where it can be resolved, have each."""
    ceilings = settings.errors.ceiling is not None or settings.latency.ceiling_ms is not None
    return (1 - BAKE_SHARE - (CEILING_SHARE if ceilings else 0.0)) / 2


def seconds_to_gate(state: State, settings: Settings, *, canary_rps: float, stable_rps: float) -> float | None:
    """Expected seconds until the present step's gate is passed, if the canary equals stable.

    0 where it is passed or none is needed (the bake); None: never at this traffic, or not in a step.
    """
    if state.step < 0:
        return None
    if settings.weights[state.step] == 100:
        return 0.0
    if canary_rps <= 0 or stable_rps <= 0:
        return None
    needed = _requests_left(state.errors, settings, plan_of(state, settings, "errors"), canary_rps / stable_rps)
    if state.latency.bound_ms is not None:
        slow = _requests_left(state.latency, settings, plan_of(state, settings, "latency"), canary_rps / stable_rps)
        needed = max(needed, slow)
    return needed / canary_rps if math.isfinite(needed) else None


def _requests_left(metric: MetricState, settings: Settings, plan: Plan, traffic_ratio: float) -> float:
    rate = stable_rate(metric, plan.typical_rate)
    full = best_stake(rate, rate, plan.gate_margin, traffic_ratio)
    rates = Rates(rate, rate, traffic_ratio)
    left = math.inf
    for weight, part, log in zip(GATE_WEIGHTS, GATE_STAKES, metric.gate, strict=True):
        missing = -math.log(settings.missed_regression_probability) - math.log(weight) - log
        mean, _ = walk(rates, plan.gate_margin, metric.dispersion, part * full)
        if missing <= 0:
            return 0.0
        left = min(left, missing / mean if mean > 0 else math.inf)
    return left


def _passage(height: float, step: tuple[float, float]) -> Estimate:
    mean, variance = step
    return Estimate(height / mean, height * height / variance) if mean > 0 and variance > 0 else NEVER
