"""The bets: factors that multiply up to evidence, and how much to stake on each.

Think of a gambler who is offered fair or worse odds on "the canary's next requests fail" as long as the canary is no
worse than tolerated. Nobody can expect to grow rich on odds that are never in his favour: the chance that he ever turns
1 into 100 is at most 1 in 100, however often one looks at his purse (Ville's inequality). So a purse of 100 is evidence
at the 1 % level that the canary *is* worse, at any time, with no correction for looking each second. Everything here is
that gambler: ``log_factor`` is what one window does to the purse, ``best_stake`` how much to bet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

EFFECTS = (1.4, 2.0, 3.0, 6.0, 15.0, 60.0)
"""Alternatives that the rollback evidence bets on, as multiples of the highest tolerated rate: from a little too bad to
an outage. Nobody knows beforehand how bad a bug is, so the stake is spread evenly over all six."""

GATE_STAKES = (1.0, 0.6, 0.3)
"""Promotion bets, as shares of the stake that is best if the canary equals stable: the smaller ones go on growing when
the canary is a little worse than stable but tolerated, or its rate was misjudged."""

GATE_WEIGHTS = (0.5, 0.3, 0.2)

STAKE_LIMIT = 0.98
"""Stakes stay inside this share of what is allowed, so that no single request can take everything."""

PRIOR_BAD = 0.5
"""Pseudo-count that keeps an estimated rate off 0 (Jeffreys); estimates only choose stakes, they are never evidence."""


@dataclass(frozen=True, slots=True)
class Margin:
    """The border between tolerated and worse: canary rate = ratio * stable rate + increase, in every window."""

    ratio: float
    increase: float

    def limit(self, stable_rate: float) -> float:
        """The highest tolerated canary rate."""
        return self.ratio * stable_rate + self.increase


@dataclass(frozen=True, slots=True)
class Counts:
    """Bad and all requests of both arms in a window."""

    canary_bad: int = 0
    canary: int = 0
    stable_bad: int = 0
    stable: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.canary_bad + other.canary_bad,
            self.canary + other.canary,
            self.stable_bad + other.stable_bad,
            self.stable + other.stable,
        )


def smoothed_rate(bad: int, requests: int, typical: float) -> float:
    """A share in (0, 1), also for 0 of 0 (then ``typical``) and 0 of many."""
    return (bad + PRIOR_BAD) / (requests + PRIOR_BAD / typical)


def best_stake(canary_rate: float, stable_rate: float, margin: Margin, traffic_ratio: float) -> float:
    """The stake that makes evidence grow fastest if the rates are these.

    It solves d/dλ of the expected ``log_factor`` = 0, a quadratic with A = d·r·κ, B = r·κ·(p_c - d) + r·p_s + d and
    C = p_c - r·p_s - d (r, d: margin; κ: ``traffic_ratio``). The result is positive where the canary is worse than
    the margin (evidence against it), negative where it is better (evidence for it).

    Args:
        canary_rate: the alternative p_c, a share.
        stable_rate: p_s as estimated from the past, a share.
        margin: the border between tolerated and worse.
        traffic_ratio: κ, canary requests per stable request in the window.
    """
    a = margin.increase * margin.ratio * traffic_ratio
    b = margin.ratio * traffic_ratio * (canary_rate - margin.increase) + margin.limit(stable_rate)
    c = canary_rate - margin.limit(stable_rate)
    denominator = b + math.sqrt(max(0.0, b * b - 4 * a * c))
    stake = 2 * c / denominator if denominator > 0 else math.copysign(math.inf, c)
    return min(max(stake, -STAKE_LIMIT), STAKE_LIMIT / (margin.ratio * traffic_ratio))


def log_factor(counts: Counts, margin: Margin, dispersion: float, stake: float) -> float:
    """What a window does to the logarithm of the evidence; 0 where an arm has no requests.

    log f = [x_c·log(1 + λ) + x_s·log(1 - λrκ) - λ·d·n_c] / φ with κ = n_c/n_s. While no canary rate is above the margin
    (λ > 0; below it for λ < 0) its expected factor is at most (1+λp_c)^n_c · (1-λrκp_s)^n_s · exp(-λ·d·n_c)
    <= exp(λ·n_c·(p_c - r·p_s - d)) <= 1, because 1 + z <= exp(z). Dividing by φ keeps that for requests that fail
    together in clusters of up to φ. With d = 0 this is the likelihood ratio of the conditional binomial.

    Args:
        counts: of the window.
        margin: r and d.
        dispersion: φ, at least 1.
        stake: λ in (-1, 1/(rκ)), chosen without looking at this window's bad requests.
    """
    if counts.canary == 0 or counts.stable == 0:
        return 0.0
    traffic_ratio = counts.canary / counts.stable
    grown = (
        counts.canary_bad * math.log1p(stake)
        + counts.stable_bad * math.log1p(-stake * margin.ratio * traffic_ratio)
        - stake * margin.increase * counts.canary
    )
    return grown / dispersion


def log_factor_alone(bad: int, requests: int, limit: float, alternative: float, dispersion: float) -> float:
    """The same for one arm against a fixed limit: the likelihood ratio of ``alternative`` to ``limit``.

    Its expectation is at most 1 for every rate up to ``limit``, where ``alternative`` is above it.
    """
    grown = bad * math.log(alternative / limit) + (requests - bad) * math.log((1 - alternative) / (1 - limit))
    return grown / dispersion


def alternatives(limit: float) -> tuple[float, ...]:
    """The rates that the rollback evidence bets on for a highest tolerated rate; all above it and below 1."""
    most = (1 + limit) / 2
    return tuple(min(effect * limit, most) for effect in EFFECTS)


def rollback_log_factors(counts: Counts, margin: Margin, dispersion: float, stable_rate: float) -> tuple[float, ...]:
    """One ``log_factor`` per effect; zeros where the window cannot tell or nothing worse than tolerated exists."""
    limit = margin.limit(stable_rate)
    if counts.canary == 0 or counts.stable == 0 or limit >= 1:
        return (0.0,) * len(EFFECTS)
    ratio = counts.canary / counts.stable
    stakes = (best_stake(rate, stable_rate, margin, ratio) for rate in alternatives(limit))
    return tuple(log_factor(counts, margin, dispersion, stake) for stake in stakes)


def gate_log_factors(counts: Counts, margin: Margin, dispersion: float, stable_rate: float) -> tuple[float, ...]:
    """One ``log_factor`` per gate bet, all betting that the canary equals stable."""
    if counts.canary == 0 or counts.stable == 0:
        return (0.0,) * len(GATE_STAKES)
    full = best_stake(stable_rate, stable_rate, margin, counts.canary / counts.stable)
    return tuple(log_factor(counts, margin, dispersion, share * full) for share in GATE_STAKES)


def gate_log_evidence(logs: tuple[float, ...]) -> float:
    """Logarithm of the weighted mean of the gate's bets."""
    return log_sum_exp([math.log(weight) + log for weight, log in zip(GATE_WEIGHTS, logs, strict=True)])


def log_sum_exp(logs: list[float]) -> float:
    """log of the sum of exponentials, without overflow."""
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs))
