"""Rollback evidence of one metric: stakes spread over effects and over times at which the bug may have begun.

Each effect has a purse of 1. Half of it is staked at the start of the release; the rest is kept to begin afresh later,
because a canary that did well for an hour has used up what was staked on "it is bad from the start", and a bug that
begins then would have to earn that back first. Money that is not staked is still in the purse, and when to stake it is
decided by the past alone: the purse as a whole never gets better odds than fair, so nothing has to be corrected for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelrelease.judge.evidence import EFFECTS, log_sum_exp

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
        logs, restarts = list(self.logs), list(self.restarts)
        for index, (log, count) in enumerate(zip(self.logs, self.restarts, strict=True)):
            fresh = math.log(_stake(count + 1))
            if log < fresh - stale_log:
                logs[index] = fresh + math.log1p(math.exp(log - fresh))
                restarts[index] = count + 1
        return Mixture(tuple(logs), tuple(restarts))

    def grown(self, log_factors: tuple[float, ...]) -> Mixture:
        """After a window."""
        return Mixture(tuple(log + grow for log, grow in zip(self.logs, log_factors, strict=True)), self.restarts)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the mean purse; 0 at the start of a release."""
        unspent = sum((1 - START_SHARE) / (count + 1) for count in self.restarts)
        parts = [*self.logs, math.log(unspent)]
        return log_sum_exp(parts) - math.log(len(self.logs))


def _stake(number: int) -> float:
    """Size of the fresh stake with this number, from 1: (1 - START_SHARE)/(k(k+1)), which adds up to 1 - START_SHARE.

    So there are always more to come, and the first ones, which cover the starts of the steps, are large.
    """
    return (1 - START_SHARE) / (number * (number + 1))
