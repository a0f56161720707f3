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

from modelrelease.judge.evidence import EFFECTS, Array, log_sum_exp

START_SHARE = 0.5
"""Staked at the start of the release: most bugs are there from the first request on."""

STALE_LOG = 2.0
"""Between steps an effect begins afresh when what it has staked is worth less than a fresh stake by this factor
(e^2, about 7): earlier would spend stakes faster than they lose worth, later would react slower to a late bug."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Per effect: the logarithm of what its stakes are worth, and how many fresh stakes it has made."""

    logs: tuple[float, ...] = (math.log(START_SHARE),) * len(EFFECTS)
    restarts: tuple[int, ...] = (0,) * len(EFFECTS)

    def restarted(self, stale_log: float = STALE_LOG) -> Mixture:
        """Fresh stakes for the effects whose present ones are worth less than a fresh one by ``stale_log``."""
        logs, counts = restart(np.array(self.logs), np.array(self.restarts), stale_log)
        return Mixture(tuple(logs.tolist()), tuple(counts.tolist()))

    def grown(self, log_factors: Array) -> Mixture:
        """After a window."""
        return Mixture(tuple((np.array(self.logs) + log_factors).tolist()), self.restarts)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the mean purse; 0 at the start of a release."""
        return float(log_evidence(np.array(self.logs), np.array(self.restarts)))


def restart(logs: Array, restarts: NDArray[np.int64], stale_log: float = STALE_LOG) -> tuple[Array, NDArray[np.int64]]:
    """``Mixture.restarted`` for arrays whose last axis is the effects."""
    fresh = np.log(_stake(restarts + 1))
    due = logs < fresh - stale_log
    return np.where(due, np.logaddexp(fresh, logs), logs), restarts + due


def log_evidence(logs: Array, restarts: NDArray[np.int64]) -> Array:
    """``Mixture.log_evidence`` for arrays whose last axis is the effects."""
    unspent = np.sum((1 - START_SHARE) / (restarts + 1), axis=-1, keepdims=True)
    return log_sum_exp(np.concatenate((logs, np.log(unspent)), axis=-1)) - math.log(len(EFFECTS))


def _stake(number: NDArray[np.int64]) -> Array:
    """Size of the fresh stake with this number, from 1: (1 - START_SHARE)/(k(k+1)), which adds up to 1 - START_SHARE.

    So there are always more to come, and the first ones, which cover the starts of the steps, are large.
    """
    size: Array = (1 - START_SHARE) / (number * (number + 1.0))
    return size
