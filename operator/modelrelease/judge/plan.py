"""How a metric is judged in a step: what is tolerated there, and when a comparison is worth while."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from modelrelease.judge.evidence import Counts
from modelrelease.judge.latency import TARGET_EXCEEDANCE
from modelrelease.judge.settings import Settings

MetricName = Literal["errors", "latency"]

TYPICAL_ERROR_RATE = 0.005
"""Assumed where nothing is known yet; chooses the first stakes only."""

HIGHEST_HARM = 0.5
"""No harm budget tolerates more than this share of the next step's requests."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one metric is judged in a step.

    weight: of the canary, percent; 0 before the first step.
    increase: d of the margin; r is the metric's own. gate_increase: d for the next weight.
    typical_rate: what to assume before anything is known.
    """

    weight: int
    increase: float
    gate_increase: float
    typical_rate: float

    def is_due(self, waiting: Counts) -> bool:
        """Whether what waits is worth a comparison: at least one canary request is to be expected in it.

        Compared earlier, a canary request would meet only the few stable requests that happened to be next to it, and
        all the others would be wasted. Only numbers of requests decide, never how they ended.
        """
        return 0 < self.weight < 100 and waiting.stable * self.weight >= 100 - self.weight


def plan_of(settings: Settings, step: int, name: MetricName) -> Plan:
    """How a metric is judged in a step (index into the weights; -1 before the first)."""
    if name == "errors":
        return _plan(settings.weights, settings.harm_budget, step, settings.errors.max_increase, TYPICAL_ERROR_RATE)
    return _plan(settings.weights, settings.harm_budget, step, 0.0, TARGET_EXCEEDANCE)


@lru_cache(maxsize=1024)
def _plan(weights: tuple[int, ...], harm_budget: float, step: int, increase: float, typical_rate: float) -> Plan:
    """Most releases are judged alike, and each of them in each window."""
    following = weights[step + 1] if step + 1 < len(weights) else 100
    gate_increase = increase
    if following < 100:
        # A share H of all requests may be harmed: at a small next weight only catastrophes must be excluded.
        gate_increase = max(increase, min(HIGHEST_HARM, 100 * harm_budget / following))
    return Plan(weights[step] if step >= 0 else 0, increase, gate_increase, typical_rate)
