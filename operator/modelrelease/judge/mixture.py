"""Rollback evidence of one metric: stakes spread over effects and over times at which the bug may have begun.

Each effect has a purse of 1. A part of it is staked at the start of the release; the rest is kept to begin afresh
later, because a canary that did well for an hour has used up what was staked on "it is bad from the start", and a bug
that begins then would have to earn that back first. Money that is not staked is still in the purse, and when to stake
it is decided by the past alone: the purse as a whole never gets better odds than fair, so nothing has to be corrected
for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelrelease.judge.evidence import EFFECT_WEIGHTS, Array, log_sum_exp

START_SHARE = 0.85
"""Staked at the start of the release: most bugs are there from the first request on."""

STALE_LOG = 2.0
"""Between steps an effect begins afresh when what it has staked is worth less than a fresh stake by this factor
(e^2, about 7): earlier would spend stakes faster than they lose worth, later would react slower to a late bug."""


LEAST_WINDOWS: Array = np.array((3.0, 3.0, 3.0, 3.0, 3.0, 4 / 3))
"""Windows that it takes at least to win, per effect, what a fresh stake lacks for a rollback. So no burst inside one
window, however large, rolls back by itself. For an outage one window and a part of another must be enough: two whole
ones cost a second more at windows of one second, and keep few more bursts from a verdict (decision 8)."""

LOST = -60.0
"""A stake of e^-60 is nothing: added to the fresh one that follows, or to the purse, it vanishes in a float's rounding.
Lower ones are kept as this, which has fewer digits."""


_WEIGHTS: tuple[float, ...] = tuple(EFFECT_WEIGHTS.tolist())


@dataclass(frozen=True, slots=True)
class Mixture:
    """Per effect, the outage last: the logarithm of what its stakes are worth, and how many fresh ones it has made."""

    logs: tuple[float, ...] = (math.floor(1e6 * math.log(START_SHARE)) / 1e6,) * len(EFFECT_WEIGHTS)
    restarts: tuple[int, ...] = (0,) * len(EFFECT_WEIGHTS)

    def restarted(self, stale_log: float = STALE_LOG) -> Mixture:
        """Fresh stakes for the effects whose present ones are worth less than a fresh one by ``stale_log``."""
        logs, counts = restart(np.array(self.logs), np.array(self.restarts), stale_log)
        return Mixture(tuple(stored(logs).tolist()), tuple(counts.tolist()))

    @property
    def log_evidence(self) -> float:
        """Logarithm of the weighted mean of the purses; 0 at the start of a release."""
        top = max(0.0, *self.logs)
        purses = zip(_WEIGHTS, self.logs, self.restarts, strict=True)
        kept = (1 - START_SHARE) * math.exp(-top)
        worth = (weight * (math.exp(log - top) + kept / math.log2(count + 2)) for weight, log, count in purses)
        return top + math.log(sum(worth))


def stored(logs: Array) -> Array:
    """Logarithms as a state keeps them: six decimals, which halves its JSON; down, so that nothing is won by it."""
    rounded: Array = np.floor(logs * 1e6) / 1e6
    return rounded


def grown(logs: Array, log_factors: Array) -> Array:
    """What stakes are worth after a window, as a state keeps them."""
    return stored(np.maximum(logs + log_factors, LOST))


def restart(logs: Array, restarts: NDArray[np.int64], stale_log: float = STALE_LOG) -> tuple[Array, NDArray[np.int64]]:
    """``Mixture.restarted`` for arrays whose last axis is the effects."""
    fresh = np.log(_unspent(restarts) - _unspent(restarts + 1))
    due = logs < fresh - stale_log
    return np.where(due, np.logaddexp(fresh, logs), logs), restarts + due


def kept(restarts: NDArray[np.int64]) -> Array:
    """What all effects together (last axis) have not staked, a share of 1."""
    not_staked: Array = _unspent(restarts) @ EFFECT_WEIGHTS
    return not_staked


def log_evidence(logs: Array, restarts: NDArray[np.int64]) -> Array:
    """``Mixture.log_evidence`` for arrays whose last axis is the effects."""
    return log_sum_exp(np.log(EFFECT_WEIGHTS) + np.logaddexp(logs, np.log(_unspent(restarts))))


def most_won(restarts: NDArray[np.int64], enough: Array) -> Array:
    """The most that one window may add to the logarithms of the effects (last axis).

    The part of what a fresh stake lacks that ``LEAST_WINDOWS`` leaves to each window; ``enough``: the worth at which
    the canary is rolled back, without the last axis. The past alone sets it, so evidence stays evidence.
    """
    before = np.maximum(restarts, 1)
    staked = np.where(restarts == 0, START_SHARE, _unspent(before - 1) - _unspent(before))
    missing: Array = np.log(enough[..., np.newaxis] / (EFFECT_WEIGHTS * staked))
    return np.maximum(missing, 0.0) / LEAST_WINDOWS


def _unspent(stakes: NDArray[np.int64]) -> Array:
    """What is left after so many fresh stakes: (1 - START_SHARE)/log2(k + 2).

    So there are always more to come; the first, which cover the starts of the steps, are large, and the thousandth is
    not much smaller than the 500th: late in a long release a bug is as likely in any minute as in any other.
    """
    left: Array = (1 - START_SHARE) / np.log2(stakes + 2.0)
    return left
