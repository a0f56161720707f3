"""The bets: factors that multiply up to evidence, and how much to stake on each.

Think of a gambler who is offered fair or worse odds on "the canary's next requests fail" as long as the canary is no
worse than tolerated. Nobody can expect to grow rich on odds that are never in his favour: the chance that he ever turns
1 into 100 is at most 1 in 100, however often one looks at his purse (Ville's inequality). So a purse of 100 is evidence
at the 1 % level that the canary *is* worse, at any time, with no correction for looking each second. Everything here is
that gambler: ``log_factors`` is what one window does to the purse, ``place`` how the money is staked.

All functions broadcast: bets are the last axis, releases the axes before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Number = TypeVar("Number", float, Array)

EFFECTS: Array = np.array((1.2, 1.65, 2.7, 5.0, 12.0))
"""Alternatives that the rollback evidence bets on, as multiples of the highest tolerated rate. Nobody knows beforehand
how bad a bug is, so the stake is spread. With these five, and the outage below, the mean number of requests to a
rollback is 1.4 to 1.7 times the information bound from 1.18 times the tolerated rate on; more of them cost as much as
they gain (see docs/decisions)."""

OUTAGE_RATE = 0.6
"""One more alternative, absolute: most requests are bad. It counts stable's successes beside the canary's failures,
which bets on small rates do not; when all fail it saves one request in ten, and one in five late in a release."""

EFFECT_WEIGHTS: Array = np.array((0.19, 0.16, 0.16, 0.16, 0.27, 0.06))
"""How the stake is spread over the effects and the outage: more on the last effect, because where a few bad requests
decide the evidence jumps past the limit, and less must be left to win."""

GATE_STAKES: Array = np.array((1.0, 0.6, 0.3))
"""Promotion bets, as shares of the stake that is best if the canary equals stable: the smaller ones go on growing when
the canary is a little worse than stable but tolerated, or its rate was misjudged."""

GATE_WEIGHTS: Array = np.array((0.5, 0.3, 0.2))

STAKE_LIMIT = 0.98
"""Stakes stay inside this share of what is allowed, so that no single request can take everything."""

PRIOR_BAD = 0.5
"""Pseudo-count that keeps an estimated rate off 0 (Jeffreys); estimates only choose stakes, they are never evidence."""

STABLE_ERRORS = 1.0
"""Standard errors by which stable's bad requests may exceed what is expected of a window, and one bad request of the
canary still suffice where the stakes were lowered to what suffices."""

_SPARE = 1.01
"""How much more than enough a lowered stake wins, for rounding."""

_MOST_LOG = 500.0
"""A worth of e^500 is as decisive as any higher one, which a float may not hold."""

_ROUNDS = 3
"""Rounds of the projection in ``place``; the first is exact for rare bad requests, three do for all rates."""

_ALMOST_ONE = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Margin:
    """The border between tolerated and worse: canary rate = ratio * stable rate + increase, in every window.

    Numbers, or arrays with one entry per release and a last axis of length 1.
    """

    ratio: float | Array
    increase: float | Array

    def limit(self, stable_rate: float | Array) -> float | Array:
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


@dataclass(frozen=True, slots=True)
class Bets:
    """Fair stakes at a point on the border.

    canary_null, stable_null: the point (c, s) with c = r·s + d.
    canary_stake: λ, staked on each canary request to be bad; negative: to be good.
    stable_stake: λ·r·κ, staked on each stable request to be good, so that the odds are fair along the whole border.
    """

    canary_null: Array
    stable_null: Array
    canary_stake: Array
    stable_stake: Array

    def log_outcomes(self) -> tuple[Array, Array, Array, Array]:
        """What one request adds to the logarithm of the evidence: canary bad, good; stable bad, good."""
        return (
            np.log1p(self.canary_stake * (1 - self.canary_null)),
            np.log1p(-self.canary_stake * self.canary_null),
            np.log1p(-self.stable_stake * (1 - self.stable_null)),
            np.log1p(self.stable_stake * self.stable_null),
        )


def gate_margin(ratio: float | Array, increase: float | Array, stable_rate: float | Array) -> Margin:
    """The margin that a gate asks for: the tolerated one, but no higher than halfway between stable's rate and 1.

    At small weights a wide tolerance adds up to 1 or more, where nothing can show that a canary is better than that:
    a gate would never pass. A stricter question that an equal canary answers in a few requests is asked instead.
    """
    most = (1 + stable_rate) / 2
    allowed = np.minimum(ratio, most / stable_rate)
    return Margin(allowed, np.minimum(increase, most - allowed * stable_rate))


def smoothed_rate(bad: Number, requests: Number, typical: Number) -> Number:
    """A share in (0, 1), also for 0 of 0 (then ``typical``) and 0 of many."""
    return (bad + PRIOR_BAD) / (requests + PRIOR_BAD / typical)


def place(
    canary_rate: float | Array,
    stable_rate: float | Array,
    margin: Margin,
    traffic_ratio: float | Array,
    parts: float | Array = 1.0,
) -> Bets:
    """The bets whose evidence grows fastest if the rates are these.

    They are the likelihood ratio against the tolerated pair of rates that is hardest to tell from the given one: the
    projection onto the border (Grünwald, de Heide, Koolen 2024; Turner, Ly, Grünwald 2024). For rare bad requests the
    projection is a quadratic equation for the stable rate t on the border; with frequent ones κ counts as
    κ·(1 - t)/(1 - c), which takes a few rounds. The guarantee does not depend on how exactly this is solved.

    Args:
        canary_rate: the alternative p_c, a share; above the margin for evidence against the canary, below for it.
        stable_rate: p_s as estimated from the past, a share.
        margin: the border between tolerated and worse, with a limit below 1.
        traffic_ratio: κ, canary requests per stable request in the window.
        parts: shares of the best stake to place.
    """
    r, d = margin.ratio, margin.increase
    canary = np.asarray(canary_rate, dtype=np.float64)
    ahead, gap, product = r * stable_rate - d, canary - d, 4 * stable_rate * d
    weight = np.asarray(traffic_ratio, dtype=np.float64) * r
    highest, scaled = (_ALMOST_ONE - d) / r, weight
    for _ in range(_ROUNDS):
        a, b = r * (1 + scaled), scaled * gap + ahead
        # The positive root of a·t² - b·t - p_s·d, or 0 where it is lost in rounding.
        t = np.minimum(np.maximum((b + np.sqrt(b * b + a * product)) / (2 * a), 0.0), highest)
        c = r * t + d
        scaled = weight * (1 - t) / (1 - c)
    # The ends of what is allowed: beyond them one bad (or good) request of an arm would take more than there is.
    most = STAKE_LIMIT / np.maximum(c, weight * (1 - t))
    least = -STAKE_LIMIT / np.maximum(1 - c, weight * t)
    stake = np.minimum(np.maximum((canary - c) / (c * (1 - c)), least), most) * parts
    return Bets(c, t, stake, stake * weight)


def log_factors(
    canary_bad: float | Array,
    canary: float | Array,
    stable_bad: float | Array,
    stable: float | Array,
    bets: Bets,
) -> Array:
    """What a window's requests do to the logarithm of the evidence, before the discount for bursts.

    Each canary request multiplies it by 1 + λ(x - c), each stable one by 1 - λrκ(x - s), x = 1 if it is bad. With
    rates p_c, p_s the expected factor of the window is at most exp(λ·n_c·(p_c - c) - λrκ·n_s·(p_s - s))
    = exp(λ·n_c·(p_c - r·p_s - d)), because 1 + z <= exp(z) and κ = n_c/n_s: at most 1 while the canary is no worse
    than the margin (λ > 0), or no better (λ < 0). Requests in a window need not have the same rates.
    """
    canary_lost, canary_served, stable_lost, stable_served = bets.log_outcomes()
    grown: Array = (
        canary_bad * canary_lost
        + (canary - canary_bad) * canary_served
        + stable_bad * stable_lost
        + (stable - stable_bad) * stable_served
    )
    return grown


def log_factors_alone(
    bad: float | Array, requests: float | Array, limit: float | Array, alternative: float | Array
) -> Array:
    """The same for one arm against a fixed limit: the likelihood ratio of ``alternative`` to ``limit``.

    Its expectation is at most 1 for every rate up to ``limit``, where ``alternative`` is above it.
    """
    grown: Array = bad * np.log(np.divide(alternative, limit))
    return grown + (requests - bad) * np.log(np.divide(np.subtract(1, alternative), np.subtract(1, limit)))


def alternatives(limit: Array) -> Array:
    """The rates that the rollback evidence bets on, all above the highest tolerated one and below 1.

    ``limit`` has a last axis of length 1, the result one of the effects' length.
    """
    rates = np.concatenate((EFFECTS * limit, np.full_like(limit, OUTAGE_RATE)), axis=-1)
    alternative: Array = np.minimum(np.maximum(rates, EFFECTS[0] * limit), (1 + limit) / 2)
    return alternative


@dataclass(frozen=True, slots=True)
class Comparisons:
    """What is compared: one entry per metric and release in each array, shape (n,).

    canary_bad, canary, stable_bad, stable: requests of the window.
    ratio, increase: the margin; gate_increase: the increase that the next weight tolerates.
    dispersion: φ. stable_rate: as estimated from the past.
    """

    canary_bad: Array
    canary: Array
    stable_bad: Array
    stable: Array
    ratio: Array
    increase: Array
    gate_increase: Array
    dispersion: Array
    stable_rate: Array


@dataclass(frozen=True, slots=True)
class Purses:
    """What the rollback bets of each comparison are played with, before the window.

    logs: logarithms of what each effect has staked, shape (n, 6).
    kept: what all effects together have not staked, a share of 1, shape (n,).
    enough: the worth of all together at which the canary is rolled back, shape (n,).
    most: the most that a window may add to the logarithm of each effect, shape (n, 6); see ``mixture.most_won``.
    """

    logs: Array
    kept: Array
    enough: Array
    most: Array


def compare(these: Comparisons, purses: Purses) -> tuple[Array, Array]:
    """Log factors for rollback, shape (n, 6), and for promotion, shape (n, 3).

    Zero where an arm has no requests (nothing to compare); for rollback also where the margin reaches 1 (nothing is
    worse).
    """
    canary, stable, rate = (x[:, np.newaxis] for x in (these.canary, these.stable, these.stable_rate))
    both = (canary > 0) & (stable > 0)
    traffic_ratio = np.where(both, canary / np.maximum(stable, 1), 1.0)
    gate = gate_margin(these.ratio, these.gate_increase, these.stable_rate)
    ratios = np.stack((these.ratio, gate.ratio), axis=-1)[:, _COLUMN_MARGIN]
    increases = np.stack((these.increase, gate.increase), axis=-1)[:, _COLUMN_MARGIN]
    limits = ratios * rate + increases
    rates = np.concatenate((alternatives(limits[:, :1]), np.broadcast_to(rate, (len(rate), len(GATE_STAKES)))), axis=1)
    bets = place(rates, rate, Margin(ratios, increases), traffic_ratio, _COLUMN_PARTS)
    one_bad = _won_by_one_bad(these, bets)
    bets = _no_more_than_needed(bets, purses, one_bad)
    grown = log_factors(these.canary_bad[:, np.newaxis], canary, these.stable_bad[:, np.newaxis], stable, bets)
    grown = np.where(both & (limits < 1), grown, 0.0) / these.dispersion[:, np.newaxis]
    # What is left out of a gain only lowers its expectation. One bad request is no burst and counts in full.
    rollback = np.minimum(grown[:, : len(EFFECT_WEIGHTS)], np.maximum(purses.most, one_bad))
    return rollback, grown[:, len(EFFECT_WEIGHTS) :]


def _won_by_one_bad(these: Comparisons, bets: Bets) -> Array:
    """What one bad request of the canary among good ones adds to the logarithms of the effects, shape (n, 6)."""
    effects = len(EFFECT_WEIGHTS)
    canary_lost, canary_served, stable_lost, stable_served = (one[:, :effects] for one in bets.log_outcomes())
    expected = these.stable * these.stable_rate
    stable_bad = np.minimum(expected + STABLE_ERRORS * np.sqrt(expected), these.stable)[:, np.newaxis]
    won: Array = canary_lost + np.maximum(these.canary - 1, 0)[:, np.newaxis] * canary_served
    won += stable_bad * stable_lost + (these.stable[:, np.newaxis] - stable_bad) * stable_served
    return won / these.dispersion[:, np.newaxis]


def _no_more_than_needed(bets: Bets, purses: Purses, one_bad: Array) -> Bets:
    """The bets with lower stakes where one bad request of the canary would bring more than a rollback takes.

    Where requests are few, a bad one may be worth a factor of 90: what it wins beyond the limit is won for nothing, and
    paid for with each good request before it. So all stakes of a metric are lowered alike until one bad request among
    good ones just suffices (after Fischer, Ramdas 2024). Stakes may be any that the past has chosen: the guarantee
    stays as it is, and only its unused part shrinks.
    """
    won = purses.logs + one_bad
    close = np.flatnonzero(np.max(won, axis=1) > np.log(purses.enough - purses.kept))
    if not close.size:
        return bets
    before, after = (np.exp(np.minimum(logs[close], _MOST_LOG)) @ EFFECT_WEIGHTS for logs in (purses.logs, won))
    missing = _SPARE * purses.enough[close] - purses.kept[close] - before
    # The worth is close to linear in the stakes, and above the line where bursts are discounted.
    gain = after - before
    part = np.divide(missing, gain, out=np.ones_like(missing), where=(missing > 0) & (missing < gain))
    lowered = np.ones_like(bets.canary_stake)
    lowered[close, : len(EFFECT_WEIGHTS)] = part[:, np.newaxis]
    return Bets(bets.canary_null, bets.stable_null, bets.canary_stake * lowered, bets.stable_stake * lowered)


_COLUMN_MARGIN = np.repeat((0, 1), (len(EFFECT_WEIGHTS), len(GATE_STAKES)))
_COLUMN_PARTS: Array = np.concatenate((np.ones(len(EFFECT_WEIGHTS)), GATE_STAKES))


def gate_log_evidence(logs: Array) -> Array:
    """Logarithm of the weighted mean of the gate's bets (last axis)."""
    return log_sum_exp(np.log(GATE_WEIGHTS) + logs)


def log_sum_exp(logs: Array) -> Array:
    """log of the sum of exponentials over the last axis, without overflow."""
    top = np.max(logs, axis=-1)
    found: Array = top + np.log(np.sum(np.exp(logs - top[..., np.newaxis]), axis=-1))
    return found
