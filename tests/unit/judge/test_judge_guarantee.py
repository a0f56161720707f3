"""What the judge promises, by simulation with fixed seeds: thousands of releases side by side.

Limits leave three standard errors, so that a right probability does not flake; the tests with a wrong judge beside the
right one show that a wrong one would not pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from bench.judge.bounds import bound
from bench.judge.fleet import Fleet, Floats, MetricFleet, Side
from modelrelease.judge import Arm, Settings, Window, assess, begin, enter_step, observe
from modelrelease.judge.evidence import Margin, gate_log_evidence
from modelrelease.judge.latency import Histogram, choose_threshold
from modelrelease.judge.planner import Rates, requests_to_detect, requests_to_pass

RATIO, INCREASE = 1.1, 0.001
RELEASES = 3000
Rng = np.random.Generator


def tolerance(probability: float, count: int = RELEASES) -> float:
    return probability + 3 * float(np.sqrt(probability * (1 - probability) / count))


def errors(count: int = RELEASES, stable_rate: float = 0.005, **changes: object) -> MetricFleet:
    past = np.full(count, 20_000.0)
    ratio = np.full(count, RATIO)
    metric = MetricFleet(count, 100.0, ratio, INCREASE, 0.005, past * stable_rate, past, np.ones(count))
    for name, value in changes.items():
        setattr(metric, name, value)
    return metric


def draw(rng: Rng, sizes: tuple[int, int], canary_rate: Floats, stable_rate: Floats) -> Side:
    """(canary, stable) requests per window, one rate per release."""
    ones = np.ones(len(canary_rate))
    canary, stable = sizes
    return Side(
        rng.binomial(canary, np.minimum(canary_rate, 1)).astype(float),
        canary * ones,
        rng.binomial(stable, stable_rate).astype(float),
        stable * ones,
    )


def highest_evidence(
    rng: Rng, rate: Callable[[int, MetricFleet], Floats], worse: Callable[[Floats], Floats], count: int = RELEASES
) -> Floats:
    """The highest evidence within 160 windows in four steps; steps begin early where the evidence is low."""
    metric = errors(count)
    top = np.zeros(count)
    step = np.zeros(count, dtype=int)
    weights = np.array([1.0, 5.0, 20.0, 50.0])
    for index in range(160):
        moved = (step < 3) & ((metric.evidence < -0.3) if index % 7 == 0 else (index == (step + 1) * 40))
        metric.enter(moved, first=False)
        step = step + moved
        stable_rate = rate(index, metric)
        canary = np.round(4 * weights[step])
        counts = Side(
            rng.binomial(canary.astype(int), worse(stable_rate)).astype(float),
            canary,
            rng.binomial((400 - canary).astype(int), stable_rate).astype(float),
            400 - canary,
        )
        metric.observe(counts, weights[step], np.zeros(count))
        top = np.maximum(top, metric.evidence)
    return top


def steady(_: int, metric: MetricFleet) -> Floats:
    return np.full(metric.count, 0.01)


def wild(index: int, metric: MetricFleet) -> Floats:
    """Incidents of all lengths, the same in both arms."""
    return np.full(metric.count, (0.001, 0.3, 0.02, 0.001, 0.6)[(index // (1 + index % 5)) % 5])


def hostile(index: int, metric: MetricFleet) -> Floats:
    """An adversary who knows the evidence so far: he makes the rates jump where the stakes are placed worst."""
    return np.where(metric.evidence > 0.5, 0.4, np.where(index % 3 == 0, 0.0005, 0.03))


@pytest.mark.parametrize("rate", [steady, wild, hostile])
def test_evidence_against_a_canary_at_the_margin_is_rarely_high(
    rate: Callable[[int, MetricFleet], Floats],
) -> None:
    """(b) P(sup E >= 1/a) <= a, whatever the rates do in time and however early the steps end."""
    top = highest_evidence(np.random.default_rng(21), rate, lambda stable: RATIO * stable + INCREASE)
    for probability in (0.2, 0.05, 0.01):
        assert np.mean(top >= -np.log(probability)) <= tolerance(probability)


def test_a_canary_beyond_the_margin_is_found() -> None:
    """The simulation above can fail: a little beyond the margin the evidence is high far too often."""
    top = highest_evidence(np.random.default_rng(22), steady, lambda stable: 1.8 * stable + INCREASE, count=600)
    assert np.mean(top >= -np.log(0.05)) > tolerance(0.05)


@pytest.mark.parametrize(("weight", "following"), [(1, 5), (5, 20), (20, 50), (50, 100)])
def test_a_gate_rarely_lets_a_canary_at_its_margin_through(weight: int, following: int) -> None:
    """(c) for each step's own margin, looked at after each window, β = 5 %."""
    rng = np.random.default_rng(weight)
    harm = 0.002 * 100 / following if following < 100 else 0.0
    metric = errors()
    stable = np.full(RELEASES, 0.005)
    passed = np.zeros(RELEASES, dtype=bool)
    sizes = (max(1, 8 * weight), 8 * (100 - weight))
    for _ in range(120):
        counts = draw(rng, sizes, RATIO * stable + max(harm, INCREASE), stable)
        metric.observe(counts, np.full(RELEASES, float(weight)), np.full(RELEASES, harm))
        passed |= gate_log_evidence(metric.gate) >= -np.log(0.05)
    assert passed.mean() <= tolerance(0.05)


def test_a_shared_incident_is_not_blamed_on_the_canary() -> None:
    """(i) Both arms fail ten times as often while the weight is 20 %; before, at 1 %, all was well.

    Totals pooled over the steps compare the canary's requests, most of them from the incident, with stable's, most of
    them from before: they would convict nearly every release.
    """
    rng = np.random.default_rng(5)
    metric, pooled = errors(), Side.zeros(RELEASES)
    top = np.zeros(RELEASES)
    for weight, rate in ((1.0, 0.002), (20.0, 0.05)):
        metric.enter(np.full(RELEASES, weight > 1), first=False)
        rates = np.full(RELEASES, rate)
        for _ in range(40):
            counts = draw(rng, (int(10 * weight), int(10 * (100 - weight))), rates, rates)
            metric.observe(counts, np.full(RELEASES, weight), np.zeros(RELEASES))
            pooled = pooled.plus(counts)
            top = np.maximum(top, metric.evidence)
    assert np.mean(top >= np.log(100)) <= 0.01
    ratio = (pooled.canary_bad / pooled.canary) / (pooled.stable_bad / pooled.stable)
    assert np.mean(ratio > 1.5) > 0.9


@pytest.mark.parametrize(("phi", "harmless", "count"), [(8.0, True, RELEASES), (1.0, False, 600)])
def test_bursts_need_their_discount(phi: float, harmless: bool, count: int) -> None:
    """(j) Errors in one arm come eight at a time: discounted, they stay within the promise, else far from it."""
    rng = np.random.default_rng(6)
    metric = errors(count, dispersion=np.full(count, phi))
    top = np.zeros(count)
    for _ in range(100):
        canary, stable = (8.0 * rng.binomial(n // 8, 0.005, count) for n in (160, 640))
        counts = Side(canary, np.full(count, 160.0), stable, np.full(count, 640.0))
        metric.observe(counts, np.full(count, 20.0), np.zeros(count))
        top = np.maximum(top, metric.evidence)
    assert bool(np.mean(top >= np.log(100)) <= 0.01) is harmless


CASES = [
    ("x2", 0.005, 0.010, 1.7),
    ("+1pp", 0.005, 0.015, 1.7),
    ("x10", 0.005, 0.05, 1.7),
    ("x10 rare", 0.001, 0.01, 1.7),
]


def requests_until_rollback(rng: Rng, rates: Rates, weight: int, per_window: int, count: int = 500) -> Floats:
    """Canary requests that each of so many releases took; latency is as stable's."""
    healthy, past = np.full(count, 0.01), np.full(count, 1e6)
    fleet = Fleet(
        Settings(weights=(weight, 100)),
        count,
        errors_past=(past * rates.stable, past),
        slow_past=(past * 0.01, past),
        latency_ratio=np.full(count, 2.0),
    )
    sizes = (per_window, round(per_window / rates.traffic_ratio))
    needed = np.zeros(count)
    for index in range(1, 700):
        before = fleet.rolled_back.copy()
        seen = draw(rng, sizes, np.full(count, rates.canary), np.full(count, rates.stable))
        fleet.observe(seen, draw(rng, sizes, healthy, healthy))
        needed[fleet.rolled_back & ~before] = index * per_window
        if fleet.rolled_back.all():
            break
    assert fleet.rolled_back.all()
    return needed


@pytest.mark.parametrize("weight", [5, 50])
@pytest.mark.parametrize(("name", "stable_rate", "canary_rate", "highest"), CASES)
def test_detection_is_near_the_information_bound_and_as_planned(
    name: str, stable_rate: float, canary_rate: float, highest: float, weight: int
) -> None:
    """(k) mean requests over the two-sample bound; the planner's mean and 95 % time within 15 %."""
    rng = np.random.default_rng(len(name) + weight)
    margin, rates = Margin(RATIO, INCREASE), Rates(canary_rate, stable_rate, weight / (100 - weight))
    least = bound(0.01, canary_rate, stable_rate, margin, rates.traffic_ratio)
    needed = requests_until_rollback(rng, rates, weight, max(1, round(least / 60)))
    assert needed.mean() / least <= highest
    planned = requests_to_detect(Settings(weights=(weight, 100)), rates, margin)
    assert planned.mean == pytest.approx(needed.mean(), rel=0.15)
    assert planned.quantile(0.95) == pytest.approx(float(np.quantile(needed, 0.95)), rel=0.15)


@pytest.mark.parametrize(("stable_rate", "canary_rate"), [(0.005, 0.2), (0.005, 0.5), (0.0005, 0.2)])
@pytest.mark.parametrize("weight", [5, 20, 50])
def test_what_is_far_off_is_found_as_planned(stable_rate: float, canary_rate: float, weight: int) -> None:
    """Nobody bets on 30 to 130 times the tolerated rate; planned as if one did, it took up to 1.4 times as long."""
    margin, rates = Margin(RATIO, INCREASE), Rates(canary_rate, stable_rate, weight / (100 - weight))
    needed = requests_until_rollback(np.random.default_rng(weight), rates, weight, 1, count=300)
    planned = requests_to_detect(Settings(weights=(weight, 100)), rates, margin)
    assert planned.mean == pytest.approx(needed.mean(), rel=0.15)


def test_a_gate_needs_little_more_than_the_bound_and_what_is_planned() -> None:
    """(k) for promotion: an identical canary at 20 %, next 50 %."""
    rng = np.random.default_rng(12)
    count, rate, kappa = 500, 0.005, 0.25
    margin = Margin(RATIO, 0.004)
    metric = errors(count)
    needed = np.zeros(count)
    same = np.full(count, rate)
    for index in range(1, 500):
        metric.observe(draw(rng, (40, 160), same, same), np.full(count, 20.0), np.full(count, 0.004))
        open_now = (gate_log_evidence(metric.gate) >= np.log(100)) & (needed == 0)
        needed[open_now] = 40 * index
        if needed.all():
            break
    assert needed.all()
    assert needed.mean() / bound(0.01, rate, rate, margin, kappa) <= 1.2
    planned = requests_to_pass(Settings(), Rates(rate, rate, kappa), margin)
    assert planned.mean == pytest.approx(needed.mean(), rel=0.15)


ISTIO_MS = (1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0)
TAILS: dict[str, tuple[Callable[[Floats], Floats], float]] = {
    # Share of requests slower than bounds in milliseconds; how much slower the first half of the history was.
    "log-normal": (lambda bounds: ndtr(-np.log(bounds / 5) / 0.6), 5.0),
    "narrow": (lambda bounds: ndtr(-np.log(bounds / 18) / 0.15), 1.0),
    "falls like 1/t": (lambda bounds: np.minimum(1, 0.2 / bounds), 5.0),
    "falls like 1/t²": (lambda bounds: np.minimum(1, 16 / bounds**2), 5.0),
    "one in a hundred stalls": (lambda bounds: 0.99 * ndtr(-np.log(bounds / 5) / 0.3) + 0.01 * (bounds < 400), 5.0),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("past", [400, 1000])
@pytest.mark.parametrize(("ratio", "harm"), [(1.2, 0.002), (3.0, 0.02)])
def test_a_bound_from_a_young_stable_does_not_hold_up_an_equal_canary(
    tail: str, past: int, ratio: float, harm: float
) -> None:
    """At 1 %, with four canary requests a window, and a history that is partly of a stable that was still slow."""
    rng = np.random.default_rng(past)
    bounds = np.array(ISTIO_MS)
    share_slower, slowdown = TAILS[tail]
    slower, young = share_slower(bounds), share_slower(bounds / slowdown)
    chosen = []
    for _ in range(40):
        slow = _slower(rng, slower, past - past // 2) + _slower(rng, young, past // 2)
        history = Histogram((*ISTIO_MS, math.inf), (*(int(past - one) for one in slow), past), past)
        if found := choose_threshold(history, ratio):
            index = ISTIO_MS.index(found.bound_ms)
            chosen.append((found.ratio, slow[index], slower[index]))
    assert chosen, "a case without any bound tests nothing"
    r, bad, share = (np.array(column, dtype=float) for column in zip(*chosen, strict=True))
    ones = np.ones(len(r))
    metric = MetricFleet(len(r), 100.0, r, 0.0, 0.01, bad, past * ones, ones)
    increase, waited = 100 * harm / 5, np.zeros(len(r))
    # With a budget of 4 % harm at the next weight some 200 canary requests are needed, with 40 % some ten.
    patience = 1200 if harm < 0.01 else 120
    for _ in range(patience // 4):
        metric.observe(draw(rng, (4, 396), share, share), ones, increase * ones)
        waited += np.where(gate_log_evidence(metric.gate) < np.log(100), 4, 0)
    assert np.median(waited) <= patience / 4
    assert np.mean(waited < patience) >= 0.95


def _slower(rng: Rng, slower: Floats, count: int) -> Floats:
    """Of ``count`` requests, how many are slower than each bound."""
    each = -np.diff(np.concatenate(([1.0], slower, [0.0])))
    cumulative: Floats = count - np.cumsum(rng.multinomial(count, each / each.sum()))[:-1].astype(float)
    return cumulative


def test_the_simulated_fleet_is_the_judge() -> None:
    """What is simulated is what runs: the same windows through ``observe`` give the same evidence.

    But for rounding: a state keeps six decimals.
    """
    settings = Settings(weights=(2, 20, 100))
    rng = np.random.default_rng(31)
    bounds = (50.0, 100.0, float("inf"))

    def arm(counts: tuple[float, float, float]) -> Arm:
        requests, failed, slow = (int(x) for x in counts)
        return Arm(requests, failed, bounds, (0, requests - slow, requests - failed))

    history = [Window(10.0 * i, 10.0 * i + 10, arm((500, 3, 5)), arm((0, 0, 0))) for i in range(60)]
    state = begin(settings, at_seconds=600.0, baseline=history)
    flat = replace(state.errors, dispersion=1.0), replace(state.latency, dispersion=1.0)
    state = enter_step(replace(state, errors=flat[0], latency=flat[1]), settings, step=0, at_seconds=600.0)
    one = np.ones(1)
    fleet = Fleet(
        settings,
        1,
        errors_past=(180 * one, 30_000 * one),
        slow_past=(300 * one, 30_000 * one),
        latency_ratio=state.latency.ratio * one,
    )
    stable_slow, total = 300.0, 30_000.0
    for index in range(200):
        if index == 90:
            state = enter_step(state, settings, step=1, at_seconds=state.cursor_seconds)
            fleet.enter_next(one > 0)
            fleet.latency.ratio = state.latency.ratio * one
        canary, stable = (1, 40) if index < 90 else (10, 40)
        failed, slow = rng.binomial((canary, stable), 0.02), rng.binomial((canary, stable), 0.02)
        slow = np.maximum(slow, failed)
        stable_slow, total = stable_slow + slow[1], total + stable
        at = state.cursor_seconds
        seen = Window(at, at + 10, arm((stable, failed[1], slow[1])), arm((canary, failed[0], slow[0])))
        state = observe(state, settings, seen)
        sides = (Side(x[0] * one, canary * one, x[1] * one, stable * one) for x in (failed, slow))
        fleet.observe(*sides)
    assert fleet.errors.logs[0] == pytest.approx(state.errors.concurrent.logs, abs=1e-3)
    assert fleet.latency.logs[0] == pytest.approx(state.latency.concurrent.logs, abs=1e-3)
    assert fleet.errors.gate[0] == pytest.approx(state.errors.gate, abs=1e-3)
    assert fleet.latency.restarts[0].tolist() == list(state.latency.concurrent.restarts)
    assert bool(fleet.rolled_back[0]) is assess(state, settings).rollback
