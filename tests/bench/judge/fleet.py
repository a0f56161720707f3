"""Thousands of releases judged side by side, for simulations.

The same functions as ``modelrelease.judge.observe`` uses, on arrays over releases instead of one state each; a unit
test holds both together. Bursts, ceilings and the bake are left to the states.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from modelrelease.judge.assessment import BAKE_SHARE, concurrent_share
from modelrelease.judge.evidence import (
    EFFECT_WEIGHTS,
    GATE_STAKES,
    PRIOR_BAD,
    Comparisons,
    Purses,
    compare,
    gate_log_evidence,
)
from modelrelease.judge.latency import TARGET_EXCEEDANCE
from modelrelease.judge.mixture import START_SHARE, kept, log_evidence, most_won, restart
from modelrelease.judge.plan import TYPICAL_ERROR_RATE
from modelrelease.judge.settings import Settings
from modelrelease.judge.steps import UNRESOLVED_LATENCY_SHARE

Floats = NDArray[np.float64]


@dataclass
class Side:
    """Bad and all requests of both arms, one entry per release."""

    canary_bad: Floats
    canary: Floats
    stable_bad: Floats
    stable: Floats

    @staticmethod
    def zeros(count: int) -> Side:
        return Side(*(np.zeros(count) for _ in range(4)))

    def plus(self, other: Side) -> Side:
        return Side(
            self.canary_bad + other.canary_bad,
            self.canary + other.canary,
            self.stable_bad + other.stable_bad,
            self.stable + other.stable,
        )

    def kept(self, rest: NDArray[np.bool_]) -> Side:
        return Side(self.canary_bad[rest], self.canary[rest], self.stable_bad[rest], self.stable[rest])

    def cleared(self, where: NDArray[np.bool_]) -> Side:
        kept = (np.where(where, 0.0, x) for x in (self.canary_bad, self.canary, self.stable_bad, self.stable))
        return Side(*kept)


@dataclass
class MetricFleet:
    """One metric of all releases. ``enough``: the worth of its rollback bets at which a release is rolled back."""

    count: int
    enough: float
    ratio: Floats
    increase: float
    typical_rate: float
    past_bad: Floats
    past: Floats
    dispersion: Floats
    logs: Floats = field(init=False)
    restarts: NDArray[np.int64] = field(init=False)
    gate: Floats = field(init=False)
    pending: Side = field(init=False)

    def __post_init__(self) -> None:
        self.logs = np.full((self.count, len(EFFECT_WEIGHTS)), np.log(START_SHARE))
        self.restarts = np.zeros((self.count, len(EFFECT_WEIGHTS)), dtype=np.int64)
        self.gate = np.zeros((self.count, len(GATE_STAKES)))
        self.pending = Side.zeros(self.count)

    def enter(self, moved: NDArray[np.bool_], *, first: bool) -> None:
        """A new step for the releases in ``moved``."""
        self.past_bad = self.past_bad + np.where(moved, self.pending.stable_bad, 0)
        self.past = self.past + np.where(moved, self.pending.stable, 0)
        self.pending = self.pending.cleared(moved)
        self.gate[moved] = 0.0
        if not first:
            logs, restarts = restart(self.logs, self.restarts, 0.0)
            self.logs = np.where(moved[:, None], logs, self.logs)
            self.restarts = np.where(moved[:, None], restarts, self.restarts)

    def observe(self, seen: Side, weights: Floats, gate_increase: Floats) -> None:
        """One window of all releases."""
        waiting = self.pending.plus(seen)
        due = waiting.stable * weights >= 100 - weights
        judged = waiting.cleared(~due)
        rate = (self.past_bad + PRIOR_BAD) / (self.past + PRIOR_BAD / self.typical_rate)
        logs, restarts = restart(self.logs, self.restarts)
        enough = np.full(self.count, self.enough)
        grown, gate = compare(
            Comparisons(
                judged.canary_bad,
                judged.canary,
                judged.stable_bad,
                judged.stable,
                self.ratio,
                np.full(self.count, self.increase),
                np.maximum(gate_increase, self.increase),
                self.dispersion,
                rate,
            ),
            Purses(logs, kept(restarts), enough, most_won(restarts, enough)),
        )
        self.logs = np.where(due[:, None], logs, self.logs) + grown
        self.restarts = np.where(due[:, None], restarts, self.restarts)
        self.gate += gate
        self.past_bad = self.past_bad + judged.stable_bad
        self.past = self.past + judged.stable
        self.pending = waiting.cleared(due)

    def keep(self, rest: NDArray[np.bool_]) -> None:
        """Goes on with these releases only: for the others nothing is to be learnt any more."""
        self.count = int(rest.sum())
        self.ratio, self.dispersion = self.ratio[rest], self.dispersion[rest]
        self.past_bad, self.past = self.past_bad[rest], self.past[rest]
        self.logs, self.restarts, self.gate = self.logs[rest], self.restarts[rest], self.gate[rest]
        self.pending = self.pending.kept(rest)

    @property
    def evidence(self) -> Floats:
        return log_evidence(self.logs, self.restarts)


class Fleet:
    """All releases at once; each may be at another step.

    errors_past, slow_past: stable's (bad, all) requests before the release. latency_ratio: r of the latency metric, or
    None where it cannot be resolved.
    """

    def __init__(
        self,
        settings: Settings,
        count: int,
        *,
        errors_past: tuple[Floats, Floats],
        slow_past: tuple[Floats, Floats],
        latency_ratio: Floats | None,
        dispersion: tuple[Floats, Floats] | None = None,
    ) -> None:
        phi = dispersion or (np.ones(count), np.ones(count))
        tolerance = settings.errors
        self.settings = settings
        self.count = count
        self.resolvable = latency_ratio is not None
        latency_share = 0.5 if self.resolvable else UNRESOLVED_LATENCY_SHARE
        shares = concurrent_share(settings) * np.array([1 - latency_share, latency_share])
        self.log_shares = np.log(shares)
        enough = 1 / (settings.false_rollback_probability * shares)
        self.errors = MetricFleet(
            count,
            float(enough[0]),
            np.full(count, tolerance.max_ratio),
            tolerance.max_increase,
            TYPICAL_ERROR_RATE,
            errors_past[0].astype(float),
            errors_past[1].astype(float),
            phi[0],
        )
        ratio = latency_ratio if latency_ratio is not None else np.full(count, settings.latency.max_ratio)
        self.latency = MetricFleet(
            count,
            float(enough[1]),
            ratio,
            0.0,
            TARGET_EXCEEDANCE,
            slow_past[0].astype(float),
            slow_past[1].astype(float),
            phi[1],
        )
        self.step = np.zeros(count, dtype=np.int64)
        self.rolled_back = np.zeros(count, dtype=bool)
        self._weights = np.array(settings.weights, dtype=float)
        following = np.append(self._weights[1:], 100.0)
        harm = np.minimum(0.5, 100 * settings.harm_budget / following)
        self._gate_increase = np.where(following < 100, harm, 0.0)

    @property
    def weights(self) -> Floats:
        return self._weights[self.step]

    def enter_next(self, moved: NDArray[np.bool_]) -> None:
        self.step = self.step + moved
        for metric in (self.errors, self.latency):
            metric.enter(moved, first=False)

    def observe(self, errors: Side, slow: Side) -> None:
        """One window; releases that are rolled back stay so."""
        self.errors.observe(errors, self.weights, self._gate_increase[self.step])
        if self.resolvable:
            self.latency.observe(slow, self.weights, self._gate_increase[self.step])
        self.rolled_back |= self.log_evidence >= -np.log(self.settings.false_rollback_probability)

    def keep(self, rest: NDArray[np.bool_]) -> None:
        """Goes on with these releases only."""
        self.count = int(rest.sum())
        self.step, self.rolled_back = self.step[rest], self.rolled_back[rest]
        for metric in (self.errors, self.latency):
            metric.keep(rest)

    @property
    def log_evidence(self) -> Floats:
        parts = np.stack((self.errors.evidence, self.latency.evidence), axis=-1)
        with_bake = np.concatenate((parts + self.log_shares, np.full((self.count, 1), np.log(BAKE_SHARE))), axis=-1)
        return np.logaddexp.reduce(with_bake, axis=-1)

    def gates_passed(self) -> NDArray[np.bool_]:
        needed = -np.log(self.settings.missed_regression_probability)
        passed = gate_log_evidence(self.errors.gate) >= needed
        return passed & (gate_log_evidence(self.latency.gate) >= needed) if self.resolvable else passed
