"""The bets: fair by enumeration, monotone, the sparse limit, and never NaN."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import gammaln

from modelrelease.judge.evidence import (
    EFFECT_WEIGHTS,
    GATE_STAKES,
    Comparisons,
    Margin,
    Purses,
    alternatives,
    compare,
    gate_margin,
    log_factors,
    log_factors_alone,
    place,
)

Floats = NDArray[np.float64]


def binomial(n: int, p: float) -> Floats:
    """Probabilities of 0..n."""
    x = np.arange(n + 1)
    if p in (0.0, 1.0):
        return (x == n * p).astype(float)
    logs = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1) + x * math.log(p) + (n - x) * math.log1p(-p)
    return np.exp(logs)


def purses(count: int = 1, short_by: float = math.inf, most: float = math.inf) -> Purses:
    """All staked and worth 1, where ``short_by`` times as much is enough, and a window wins at most e^``most``."""
    shape = count, len(EFFECT_WEIGHTS)
    return Purses(np.zeros(shape), np.zeros(count), np.full(count, short_by), np.full(shape, most))


def expected_factor(
    canary: int, stable: int, rates: tuple[float, float], case: Comparisons, short_by: float = math.inf
) -> tuple[Floats, Floats]:
    """E f over all outcomes, by enumeration: for each rollback bet, for each gate bet."""
    xc, xs = (x.ravel().astype(float) for x in np.meshgrid(np.arange(canary + 1), np.arange(stable + 1), indexing="ij"))
    chance = np.outer(binomial(canary, rates[0]), binomial(stable, rates[1])).ravel()
    count = len(xc)
    rows = Comparisons(
        xc,
        np.full(count, float(canary)),
        xs,
        np.full(count, float(stable)),
        *(np.full(count, x[0]) for x in (case.ratio, case.increase, case.gate_increase, case.dispersion)),
        np.full(count, case.stable_rate[0]),
    )
    rollback, gate = compare(rows, purses(count, short_by))
    return chance @ np.exp(rollback), chance @ np.exp(gate)


def settings_of(ratio: float, increase: float, gate_increase: float, rate: float, phi: float = 1.0) -> Comparisons:
    nothing = np.zeros(1)
    rest = (np.array([x]) for x in (ratio, increase, gate_increase, phi, rate))
    return Comparisons(nothing, nothing, nothing, nothing, *rest)


SIZES = [(1, 1), (1, 40), (40, 1), (7, 5), (30, 30), (3, 90)]


@pytest.mark.parametrize(("canary", "stable"), SIZES)
def test_no_bet_is_better_than_fair_while_the_canary_is_within_the_margin(canary: int, stable: int) -> None:
    """(a) E f <= 1 for rates on and inside the border, for bets made with wrong and right guesses of stable's rate."""
    rng = np.random.default_rng(canary * 1000 + stable)
    for _ in range(60):
        ratio, increase = rng.choice([1.0, 1.1, 2.5]), rng.choice([0.0, 0.001, 0.02])
        guess, stable_rate = 10 ** rng.uniform(-4, -0.1, 2)
        limit = ratio * stable_rate + increase
        canary_rate = min(1.0, limit) * rng.choice([1.0, 1.0, 0.6, 0.0])
        case = settings_of(ratio, increase, increase, guess)
        rollback, _ = expected_factor(canary, stable, (canary_rate, stable_rate), case, rng.choice([math.inf, 6, 1.5]))
        assert rollback.max() <= 1 + 1e-12


@pytest.mark.parametrize(("canary", "stable"), SIZES)
def test_no_promotion_bet_is_better_than_fair_while_the_canary_is_outside_the_margin(canary: int, stable: int) -> None:
    """(a) the other sign."""
    rng = np.random.default_rng(canary * 1000 + stable + 1)
    for _ in range(60):
        ratio, increase = rng.choice([1.0, 1.1, 2.5]), rng.choice([0.0, 0.001, 0.02, 0.3])
        guess, stable_rate = 10 ** rng.uniform(-4, -0.5, 2)
        canary_rate = (ratio * stable_rate + increase) * rng.choice([1.0, 1.0, 1.7, 5.0])
        if canary_rate > 1:
            continue
        _, gate = expected_factor(
            canary, stable, (canary_rate, stable_rate), settings_of(ratio, increase, increase, guess)
        )
        assert gate.max() <= 1 + 1e-12


@pytest.mark.parametrize("kappa", [1e-4, 1e-2, 1.0, 1e2, 1e4])
def test_bets_are_fair_for_any_shares_of_traffic(kappa: float) -> None:
    """(a) The expectation in closed form, Π(1 + λ(p_c - c))·Π(1 - λrκ(p_s - s)), so that counts may be huge."""
    rng = np.random.default_rng(5)
    stable = 10_000 if kappa <= 1 else 100
    canary = stable * kappa
    for _ in range(400):
        margin = Margin(rng.uniform(1, 3), rng.choice([0.0, 10 ** rng.uniform(-5, -1)]))
        guess, stable_rate = 10 ** rng.uniform(-6, -0.6, 2)
        limit = margin.limit(guess)
        if limit >= 1 or margin.limit(stable_rate) > 1:
            continue
        for rate in (*alternatives(np.array([limit])), guess):
            bets = place(rate, guess, margin, kappa)
            canary_mean = np.log1p(bets.canary_stake * (margin.limit(stable_rate) - bets.canary_null))
            stable_mean = np.log1p(-bets.stable_stake * (stable_rate - bets.stable_null))
            assert canary * canary_mean + stable * stable_mean <= 1e-9 * max(1, canary)


def test_a_bet_that_is_too_greedy_by_a_percent_is_caught() -> None:
    """The enumeration would show a mistake: with a margin that is 10 % too narrow some bet has E f > 1."""
    case = settings_of(1.0, 0.0, 0.0, 0.1)
    rollback, _ = expected_factor(30, 30, (0.11, 0.1), case)
    assert rollback.max() > 1.001


@pytest.mark.parametrize("size", [1, 3, 6])
def test_bursts_up_to_phi_keep_the_bets_fair(size: int) -> None:
    """(j) Requests that fail together in independent clusters of at most φ: E f^(1/φ) <= 1."""
    rng = np.random.default_rng(9)
    for _ in range(40):
        rate, guess = 10 ** rng.uniform(-3, -0.5, 2)
        clusters = 12
        xc, xs = np.meshgrid(np.arange(clusters + 1), np.arange(clusters + 1), indexing="ij")
        chance = np.outer(binomial(clusters, rate), binomial(clusters, rate)).ravel()
        n = np.full(chance.shape, float(clusters * size))
        bets = place(alternatives(np.array([guess])), guess, Margin(1.0, 0.0), 1.0)
        bad = (xc.ravel() * size).astype(float)[:, None], (xs.ravel() * size).astype(float)[:, None]
        grown = log_factors(bad[0], n[:, None], bad[1], n[:, None], bets) / size
        assert (chance @ np.exp(grown)).max() <= 1 + 1e-12


@pytest.mark.parametrize("short_by", [math.inf, 20.0, 2.0])
def test_one_more_canary_error_raises_and_one_more_stable_error_lowers_the_evidence(short_by: float) -> None:
    """(e), for every bet; the gates the other way round."""
    base = settings_of(1.1, 0.001, 0.01, 0.01)

    def factor(canary_bad: int, stable_bad: int) -> tuple[Floats, Floats]:
        counts = (np.array([float(x)]) for x in (canary_bad, 50, stable_bad, 200))
        rest = (base.ratio, base.increase, base.gate_increase, base.dispersion, base.stable_rate)
        return compare(Comparisons(*counts, *rest), purses(1, short_by))

    for canary_bad, stable_bad in itertools.product((0, 1, 7, 49), (0, 1, 7, 199)):
        rollback, gate = factor(canary_bad, stable_bad)
        more_canary, more_stable = factor(canary_bad + 1, stable_bad), factor(canary_bad, stable_bad + 1)
        assert (more_canary[0] > rollback).all()
        assert (more_stable[0] < rollback).all()
        assert (more_canary[1] < gate).all()
        assert (more_stable[1] > gate).all()


@pytest.mark.parametrize("phi", [1.0, 1.7])
@pytest.mark.parametrize("canary", [1, 4])
def test_no_more_is_staked_than_one_bad_request_needs_to_bring_what_is_missing(canary: int, phi: float) -> None:
    """One bad request of the canary suffices, and the good ones before it cost less than with the full stakes."""
    counts = settings_of(1.0, 0.0, 0.0, 0.005, phi)
    stable, short_by = 99.0 * canary, 1.8

    def worth(canary_bad: int, stable_bad: int, short_by: float) -> float:
        seen = (np.array([float(x)]) for x in (canary_bad, canary, stable_bad, stable))
        rest = (counts.ratio, counts.increase, counts.gate_increase, counts.dispersion, counts.stable_rate)
        rollback, _ = compare(Comparisons(*seen, *rest), purses(1, short_by))
        return float(np.exp(rollback[0]) @ EFFECT_WEIGHTS)

    assert short_by <= worth(1, 1, short_by) < worth(1, 1, math.inf)
    assert worth(0, 1, math.inf) < worth(0, 1, short_by) < 1
    assert worth(1, 1, math.inf) == worth(1, 1, 1e6)


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_what_is_not_staked_counts_for_what_is_missing_and_gates_stake_as_ever(kept: float) -> None:
    seen = (np.array([x]) for x in (1.0, 1.0, 0.5, 99.0, 1.0, 0.0, 0.01, 1.0, 0.005))
    case, enough, staked = Comparisons(*seen), 1.8, purses()
    rollback, gate = compare(case, replace(staked, kept=np.array([kept]), enough=np.array([enough])))
    assert enough <= kept + float(np.exp(rollback[0]) @ EFFECT_WEIGHTS) < 1.15 * enough
    assert compare(case, replace(staked, enough=np.array([math.inf])))[1] == pytest.approx(gate)


@pytest.mark.parametrize(("ratio", "worse"), [(1.8, True), (2.0, False), (5.0, False)])
def test_where_everything_is_tolerated_nothing_is_worse(ratio: float, worse: bool) -> None:
    seen = (np.array([x]) for x in (50.0, 50.0, 100.0, 200.0, ratio, 0.0, 0.0, 1.0, 0.5))
    rollback, _ = compare(Comparisons(*seen), purses())
    assert worse is bool(rollback.any())


def test_bursts_discount_all_bets_alike() -> None:
    def factors(phi: float) -> Floats:
        seen = (np.array([x]) for x in (3.0, 50.0, 1.0, 200.0, 1.1, 0.001, 0.01, phi, 0.01))
        return np.concatenate(compare(Comparisons(*seen), purses()), axis=1)

    assert factors(1.0) / 4 == pytest.approx(factors(4.0))


@pytest.mark.parametrize(("ratio", "increase"), [(1.1, 0.9), (100.0, 0.3), (100.0, 0.0), (1.1, 0.001)])
def test_a_gate_asks_for_at_most_halfway_between_stables_rate_and_all(ratio: float, increase: float) -> None:
    rate = 0.02
    margin = gate_margin(ratio, increase, rate)
    assert min(0.51, ratio * rate + increase) == pytest.approx(float(margin.limit(rate)))
    assert min(ratio, 0.51 / rate) == pytest.approx(float(margin.ratio))


def test_without_increase_and_for_rare_errors_it_is_the_conditional_binomial_likelihood_ratio() -> None:
    """(l) Given the number of errors, each is the canary's with probability rκ/(1 + rκ) at the border."""
    ratio, kappa, rate, effect = 1.1, 0.25, 1e-7, 3.0
    canary, stable = 1000.0, 4000.0
    bets = place(effect * ratio * rate, rate, Margin(ratio, 0.0), kappa)
    null_share = ratio * kappa / (1 + ratio * kappa)
    share = effect * ratio * kappa / (1 + effect * ratio * kappa)
    for canary_bad, stable_bad in ((0, 0), (1, 0), (0, 1), (5, 3), (12, 30)):
        expected = canary_bad * math.log(share / null_share) + stable_bad * math.log((1 - share) / (1 - null_share))
        actual = log_factors(float(canary_bad), canary, float(stable_bad), stable, bets)
        assert expected == pytest.approx(float(actual), abs=2e-3)


@pytest.mark.parametrize("canary", [0, 1, 50, 10**9])
@pytest.mark.parametrize("stable", [0, 1, 50, 10**9])
@pytest.mark.parametrize("rate", [1e-12, 0.005, 0.5, 1 - 1e-9])
def test_extreme_counts_give_finite_evidence(canary: int, stable: int, rate: float) -> None:
    """(h) n = 0, x = n, an estimate next to 0 or 1, a thousand million requests."""
    for canary_bad, stable_bad in itertools.product((0, canary), (0, stable)):
        counts = (np.array([float(x)]) for x in (canary_bad, canary, stable_bad, stable))
        for ratio, increase, gate_increase in ((1.0, 0.0, 0.0), (1.1, 0.001, 0.5), (5.0, 0.0, 0.2)):
            rest = (np.array([float(x)]) for x in (ratio, increase, gate_increase, 1.0, rate))
            rollback, gate = compare(Comparisons(*counts, *rest), purses())
            assert np.isfinite(rollback).all()
            assert np.isfinite(gate).all()
            if canary == 0 or stable == 0:
                assert not rollback.any()
                assert not gate.any()
            counts = (np.array([float(x)]) for x in (canary_bad, canary, stable_bad, stable))


def test_shapes_of_a_comparison() -> None:
    rows = (np.full(7, x) for x in (1.0, 50.0, 1.0, 200.0, 1.1, 0.001, 0.01, 1.0, 0.005))
    rollback, gate = compare(Comparisons(*rows), purses(7))
    assert rollback.shape == (7, len(EFFECT_WEIGHTS))
    assert gate.shape == (7, len(GATE_STAKES))
    assert EFFECT_WEIGHTS.sum() == pytest.approx(1.0)


def test_a_single_arm_against_a_limit_is_fair_up_to_the_limit() -> None:
    """(a) for ceilings and the bake."""
    for limit in (0.001, 0.02, 0.3, 0.9):
        for rate in (limit, limit / 2, 0.0):
            x = np.arange(61.0)[:, None]
            grown = log_factors_alone(x, 60.0, limit, alternatives(np.array([limit])))
            assert (binomial(60, rate) @ np.exp(grown)).max() <= 1 + 1e-12
