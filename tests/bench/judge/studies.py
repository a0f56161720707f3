"""The studies: each simulates releases with fixed seeds and returns rows of figures."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import beta

from modelrelease.judge import (
    Arm,
    ErrorTolerance,
    LatencyTolerance,
    Settings,
    State,
    Window,
    begin,
    enter_step,
    observe,
    observe_many,
)
from modelrelease.judge.evidence import Margin, gate_log_evidence
from modelrelease.judge.planner import Rates, requests_to_detect

from .bounds import bound
from .fleet import Fleet, Floats, MetricFleet, Side
from .traffic import ISTIO_BOUNDS_MS, SCENARIOS, WINDOW_SECONDS, Drawn, Moment, Traffic, slower_share, threshold

WEIGHTS = (1, 5, 20, 50, 100)
Row = dict[str, Any]


def share_with_limit(hits: int, count: int) -> Row:
    """A share, and the upper end of its 95 % confidence interval (Clopper and Pearson 1934)."""
    upper = 1.0 if hits == count else float(beta.ppf(0.95, hits + 1, count - hits))
    return {"share": hits / count, "upper95": upper}


class ThresholdRule:
    """Fails a minute with success below 99 % or P99 above 500 ms; rolls back at the limit of failed minutes."""

    def __init__(self, count: int, limit: int) -> None:
        self.limit = limit
        self.failed = np.zeros(count, dtype=int)
        self._requests = self._bad = self._above = np.zeros(count)

    def observe(self, requests: Floats, bad: Floats, above: Floats, *, minute_ends: bool) -> None:
        self._requests, self._bad = self._requests + requests, self._bad + bad
        self._above = self._above + above
        if not minute_ends:
            return
        share = 0.01 * self._requests
        self.failed += (self._requests > 0) & ((self._bad > share) | (self._above > share))
        self._requests = self._bad = self._above = np.zeros(len(self.failed))

    @property
    def rolled_back(self) -> np.ndarray:
        return self.failed >= self.limit


def false_rollbacks(count: int) -> list[Row]:
    """An identical canary through 1, 5, 20 and 50 % for ten minutes each, looked at each 10 s."""
    rows = []
    for rps in (1, 10, 100, 1000):
        for name, scenario in SCENARIOS.items():
            rng = np.random.default_rng([rps, len(rows)])
            traffic = Traffic(rng, count, rps, scenario)
            fleet, phi = _released(traffic)
            rules = {limit: ThresholdRule(count, limit) for limit in (3, 5)}
            for index, drawn in _played(fleet, traffic):
                for rule in rules.values():
                    rule.observe(
                        drawn.errors.canary,
                        drawn.errors.canary_bad,
                        drawn.canary_above_500,
                        minute_ends=(index + 1) % round(60 / WINDOW_SECONDS) == 0,
                    )
            rows.append(
                {
                    "rps": rps,
                    "scenario": name,
                    "releases": count,
                    "judge": share_with_limit(int(fleet.rolled_back.sum()), count),
                    "rule_of_5": float(rules[5].rolled_back.mean()),
                    "rule_of_3": float(rules[3].rolled_back.mean()),
                    "mean_phi": float(phi.mean()),
                }
            )
    return rows


BURSTS = 5, 10, 20, 40


def bursts(count: int) -> list[Row]:
    """The same where requests fail so many at a time, 0.5 % of them, and φ comes from ten minutes of stable's pods."""
    rows = []
    for pods in (4, 1):
        for rps in (10, 100):
            for size in BURSTS:
                rng = np.random.default_rng([pods, rps, size])
                traffic = Traffic(rng, count, rps, lambda _, size=size: Moment(0.005, burst=size))
                fleet, phi = _released(traffic, pods)
                for _ in _played(fleet, traffic):
                    pass
                rows.append(
                    {
                        "pods": pods,
                        "rps": rps,
                        "size": size,
                        "releases": count,
                        "judge": share_with_limit(int(fleet.rolled_back.sum()), count),
                        "median_phi": float(np.median(phi)),
                    }
                )
    return rows


def _played(fleet: Fleet, traffic: Traffic) -> Iterator[tuple[int, Drawn]]:
    """Ten minutes at each weight: number and requests of each window, once the judge has seen it."""
    steps = round(600 / WINDOW_SECONDS)
    for index in range(4 * steps):
        if index and index % steps == 0:
            fleet.enter_next(np.ones(traffic.count, dtype=bool))
        drawn = traffic.draw(index * WINDOW_SECONDS / 60, fleet.weights)
        fleet.observe(drawn.errors, drawn.slow)
        yield index, drawn


def _released(traffic: Traffic, pods: int = 4) -> tuple[Fleet, Floats]:
    """Releases before their first window, and φ of each, from ten minutes of so many stable pods."""
    errors_past, slow_past, phi = traffic.history(pods=pods)
    fleet = Fleet(
        Settings(weights=WEIGHTS),
        traffic.count,
        errors_past=errors_past,
        slow_past=slow_past,
        latency_ratio=np.full(traffic.count, threshold().ratio),
        dispersion=(phi, phi),
    )
    return fleet, phi


EFFECTS: list[tuple[str, str, float, float]] = [
    ("errors x2", "errors", 0.005, 0.010),
    ("errors +1 pp", "errors", 0.005, 0.015),
    ("errors x10", "errors", 0.005, 0.05),
    ("P99 x1.2", "latency", 1.0, 1.2),
    ("P99 x1.5", "latency", 1.0, 1.5),
    ("P99 x2", "latency", 1.0, 2.0),
]

MARGINS = {
    "none": (ErrorTolerance(max_ratio=1.0, max_increase=0.0), LatencyTolerance()),
    "default": (ErrorTolerance(), LatencyTolerance()),
}


def detection(count: int) -> list[Row]:
    """Canary requests until a canary that is worse from the start is rolled back, over the information bound."""
    rows = []
    for margins, (tolerance, _) in MARGINS.items():
        for name, metric, stable, canary in EFFECTS:
            chosen = threshold()
            latency_ratio = 1.0 if margins == "none" else chosen.ratio
            if metric == "latency":
                rates = slower_share(chosen.bound_ms, canary), slower_share(chosen.bound_ms, stable)
                margin = Margin(latency_ratio, 0.0)
            else:
                rates, margin = (canary, stable), Margin(tolerance.max_ratio, tolerance.max_increase)
            if rates[0] <= 1.02 * margin.limit(rates[1]):
                continue
            for weight in (1, 5, 20, 50):
                rng = np.random.default_rng([weight, len(rows)])
                settings = Settings(weights=(weight, 100), errors=tolerance)
                rows.append(
                    {
                        "effect": name,
                        "margins": margins,
                        "weight": weight,
                        "canary_rate": rates[0],
                        "times_tolerated": rates[0] / float(margin.limit(rates[1])),
                    }
                    | _detect(
                        rng,
                        settings,
                        metric=metric,
                        rates=rates,
                        margin=margin,
                        latency_ratio=latency_ratio,
                        count=count,
                    )
                )
    return rows


def _detect(
    rng: np.random.Generator,
    settings: Settings,
    *,
    metric: str,
    rates: tuple[float, float],
    margin: Margin,
    latency_ratio: float,
    count: int,
) -> Row:
    kappa = settings.weights[0] / (100 - settings.weights[0])
    least = bound(0.01, *rates, margin, kappa)
    per_window = max(1, round(least / 60))
    sizes = per_window, round(per_window / kappa)
    past = np.full(count, 60_000.0)
    quiet = 0.01 if metric == "errors" else 0.005
    pasts = {metric: (rng.binomial(60_000, rates[1], count), past)}
    other = "latency" if metric == "errors" else "errors"
    pasts[other] = (rng.binomial(60_000, quiet, count), past)
    fleet = Fleet(
        settings,
        count,
        errors_past=pasts["errors"],
        slow_past=pasts["latency"],
        latency_ratio=np.full(count, latency_ratio),
    )
    needed = np.full(count, math.nan)
    under_way = np.arange(count)
    for index in range(1, 2000):
        bad, calm = _counts(rng, fleet.count, sizes, rates), _counts(rng, fleet.count, sizes, (quiet, quiet))
        fleet.observe(*((bad, calm) if metric == "errors" else (calm, bad)))
        needed[under_way[fleet.rolled_back]] = index * per_window
        under_way = under_way[~fleet.rolled_back]
        if not under_way.size:
            break
        fleet.keep(~fleet.rolled_back)
    planned = requests_to_detect(settings, Rates(*rates, kappa), margin)
    return {
        "bound": least,
        "mean": float(needed.mean()),
        "ratio": float(needed.mean() / least),
        "ratio_standard_error": float(needed.std() / math.sqrt(count) / least),
        "quantile95": float(np.quantile(needed, 0.95)),
        "planned_mean_over_simulated": planned.mean / float(needed.mean()),
        "planned_95_over_simulated": planned.quantile(0.95) / float(np.quantile(needed, 0.95)),
    }


def _counts(rng: np.random.Generator, count: int, sizes: tuple[int, int], rates: tuple[float, float]) -> Side:
    canary, stable = sizes
    return Side(
        rng.binomial(canary, rates[0], count).astype(float),
        np.full(count, float(canary)),
        rng.binomial(stable, rates[1], count).astype(float),
        np.full(count, float(stable)),
    )


def late_onset(count: int) -> list[Row]:
    """At 20 % of 50 requests/s, 1 s windows: seconds from a bug's onset after good minutes to the rollback."""
    rows = []
    for good_minutes in (0, 1, 10, 50):
        for canary_rate in (0.05, 0.2, 1.0):
            rng = np.random.default_rng([good_minutes, round(100 * canary_rate)])
            past = np.full(count, 30_000.0)
            fleet = Fleet(
                Settings(weights=(20, 100)),
                count,
                errors_past=(past * 0.005, past),
                slow_past=(past * 0.01, past),
                latency_ratio=np.full(count, threshold().ratio),
            )
            onset = 60 * good_minutes
            needed = np.zeros(count)
            for second in range(onset + 1200):
                before = fleet.rolled_back.copy()
                rate = canary_rate if second >= onset else 0.005
                fleet.observe(_counts(rng, count, (10, 40), (rate, 0.005)), _counts(rng, count, (10, 40), (0.01, 0.01)))
                needed[fleet.rolled_back & ~before] = second - onset + 1
                if fleet.rolled_back.all():
                    break
            rows.append(
                {
                    "good_minutes": good_minutes,
                    "canary_error_rate": canary_rate,
                    "median_seconds": float(np.median(needed)),
                    "quantile95_seconds": float(np.quantile(needed, 0.95)),
                }
            )
    return rows


def promotion(count: int) -> list[Row]:
    """Per step: requests that an identical canary needs over the bound; how often one at the margin passes."""
    rows = []
    settings = Settings()
    for weight, following in ((1, 5), (5, 20), (20, 50), (50, 100)):
        harm = 100 * settings.harm_budget / following if following < 100 else 0.0
        for name, rate, ratio, final in (("errors", 0.005, 1.1, 0.001), ("latency", 0.0035, threshold().ratio, 0.0)):
            rng = np.random.default_rng([weight, len(rows)])
            margin = Margin(ratio, max(harm, final))
            kappa = weight / (100 - weight)
            least = bound(settings.missed_regression_probability, rate, rate, margin, kappa)
            passed_at = _gate(
                rng, count, (rate, rate), margin, weight=weight, per_window=max(1, round(least / 60)), windows=600
            )
            at_margin = (ratio * rate + float(margin.increase), rate)
            wrong = _gate(
                rng, count, at_margin, margin, weight=weight, per_window=max(1, round(least / 20)), windows=200
            )
            rows.append(
                {
                    "weight": weight,
                    "next": following,
                    "metric": name,
                    "bound": least,
                    "mean": float(np.nanmean(passed_at)),
                    "passed": float(np.mean(~np.isnan(passed_at))),
                    "ratio": float(np.nanmean(passed_at) / least),
                    "wrong_at_margin": share_with_limit(int(np.sum(~np.isnan(wrong))), count),
                }
            )
    return rows


def _gate(
    rng: np.random.Generator,
    count: int,
    rates: tuple[float, float],
    margin: Margin,
    *,
    weight: int,
    per_window: int,
    windows: int,
) -> Floats:
    """Canary requests until the gate is passed; NaN where it is not."""
    ones = np.ones(count)
    typical = rates[1]
    past = rng.binomial(60_000, rates[1], count) * 1.0
    metric = MetricFleet(count, math.inf, margin.ratio * ones, 0.0, typical, past, 60_000 * ones, ones)
    passed_at = np.full(count, math.nan)
    sizes = per_window, round(per_window * (100 - weight) / weight)
    waiting = np.arange(count)
    for index in range(1, windows + 1):
        ones = np.ones(metric.count)
        metric.observe(_counts(rng, metric.count, sizes, rates), weight * ones, float(margin.increase) * ones)
        passed = gate_log_evidence(metric.gate) >= math.log(100)
        passed_at[waiting[passed]] = index * per_window
        waiting = waiting[~passed]
        if not waiting.size:
            break
        metric.keep(~passed)
    return passed_at


def durations(count: int) -> list[Row]:
    """An identical canary released by evidence, each step at least a minute: time until 100 %."""
    rows = []
    for rps, longest_hours in ((10, 60), (50, 14), (200, 4), (1000, 2)):
        rng = np.random.default_rng(rps)
        traffic = Traffic(rng, count, rps, SCENARIOS["constant"])
        errors_past, slow_past, _ = traffic.history()
        fleet = Fleet(
            Settings(weights=WEIGHTS),
            count,
            errors_past=errors_past,
            slow_past=slow_past,
            latency_ratio=np.full(count, threshold().ratio),
        )
        done = np.full(count, math.nan)
        entered = np.zeros(count)
        stride = 1 if rps >= 50 else 6
        traffic.rps = rps * stride
        for index in range(1, round(longest_hours * 3600 / WINDOW_SECONDS / stride)):
            drawn = traffic.draw(0.0, np.minimum(fleet.weights, 99.0))
            fleet.observe(drawn.errors, drawn.slow)
            now = index * stride * WINDOW_SECONDS
            moved = fleet.gates_passed() & (now - entered >= 60) & (fleet.step < 4)
            entered[moved] = now
            fleet.enter_next(moved)
            done[(fleet.step == 4) & np.isnan(done)] = now
            if (~np.isnan(done) | fleet.rolled_back).all():
                break
        finished = done[~np.isnan(done)]
        rows.append(
            {
                "rps": rps,
                "finished": float(np.mean(~np.isnan(done))),
                "rolled_back": float(fleet.rolled_back.mean()),
                "median_minutes": float(np.median(finished)) / 60,
                "quantile95_minutes": float(np.quantile(finished, 0.95)) / 60,
            }
        )
    return rows


def cost(count: int = 10_000) -> Row:
    """CPU seconds to judge one window of many releases, two metrics each, on one core.

    As a process has them that has read them all from their resources: each release with settings and a state of its
    own, in the middle of a step, and no object that two of them share.
    """

    def arm(requests: int) -> Arm:
        counts = tuple(round(requests * (1 - slower_share(bound_ms))) for bound_ms in ISTIO_BOUNDS_MS)
        return Arm(requests, 0, tuple(float(bound_ms) for bound_ms in ISTIO_BOUNDS_MS), counts)

    settings = Settings(interval_seconds=1.0)
    begun = begin(settings, at_seconds=59.0, baseline=[Window(0.0, 59.0, arm(29_500), arm(0))])
    state = enter_step(begun, settings, step=2, at_seconds=59.0)
    stored = json.dumps(observe(state, settings, Window(59.0, 60.0, arm(40), arm(10))).to_json())
    releases = [
        (State.from_json(json.loads(stored)), Settings(interval_seconds=1.0), Window(60.0, 61.0, arm(40), arm(10)))
        for _ in range(count)
    ]
    took = []
    for _ in range(5):
        before = time.process_time()
        observe_many(releases)
        took.append(time.process_time() - before)
    before = time.process_time()
    for _ in range(300):
        observe_many(releases[:1])
    alone = (time.process_time() - before) / 300
    return {"releases": count, "cpu_seconds": min(took), "cpu_microseconds_alone": 1e6 * alone}


def bake(count: int, minutes: int = 10) -> list[Row]:
    """At 100 %, beside no stable: rollbacks of a canary whose rates are a multiple of what stable's were.

    A multiple of 1 is the same version; up to 1.3 is another time of day or more load per pod, which must not count
    against it; 3 is a bug that shows under the full load. Stable's rate is known from 10, or 100, thousand requests.
    """
    rows = []
    settings = Settings(weights=(50, 100))
    for history in (10_000, 100_000):
        for multiple in (1.0, 1.3, 3.0):
            rng = np.random.default_rng([history, round(10 * multiple)])
            states = []
            for failed in rng.binomial(history, 0.005, count):
                known = Window(0.0, 10.0, Arm(history, int(failed)), Arm(0, 0))
                state = begin(settings, at_seconds=10.0, baseline=[known])
                states.append(enter_step(state, settings, step=1, at_seconds=10.0))
            for _ in range(6 * minutes):
                at = states[0].cursor_seconds
                seen = [
                    Window(at, at + 10, Arm(0, 0), Arm(500, int(failed)))
                    for failed in rng.binomial(500, 0.005 * multiple, count)
                ]
                states = observe_many([(state, settings, window) for state, window in zip(states, seen, strict=True)])
            hits = sum(state.blame is not None for state in states)
            rows.append({"history": history, "multiple": multiple, "minutes": minutes} | share_with_limit(hits, count))
    return rows
