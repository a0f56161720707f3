"""Estimates for people: each factor in them, one by one; how near they come is simulated elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy.stats import invgauss

from modelrelease.judge import (
    Arm,
    ErrorTolerance,
    Estimate,
    Margin,
    Rates,
    Settings,
    State,
    Window,
    begin,
    enter_step,
    requests_to_detect,
    seconds_to_gate,
)
from modelrelease.judge.evidence import place
from modelrelease.judge.planner import walk

SETTINGS = Settings()
MARGIN = Margin(1.1, 0.001)
TWICE = Rates(0.01, 0.005, 0.25)


@pytest.mark.parametrize("shape", [0.3, 5.0, 400.0])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_quantiles_are_those_of_the_inverse_gaussian(shape: float, share: float) -> None:
    expected = invgauss(2.0 / shape, scale=shape).ppf(share)
    assert expected == pytest.approx(Estimate(2.0, shape).quantile(share), rel=1e-6)


@pytest.mark.parametrize("canary", [0.002, 0.005, 0.0065])
def test_what_is_tolerated_is_never_found(canary: float) -> None:
    found = requests_to_detect(SETTINGS, replace(TWICE, canary=canary), MARGIN)
    assert (math.inf, math.inf) == (found.mean, found.quantile(0.95))


def test_bursts_take_as_many_times_the_requests() -> None:
    single, threefold = (requests_to_detect(SETTINGS, TWICE, MARGIN, dispersion=phi) for phi in (1.0, 3.0))
    assert (3 * single.mean, 3 * single.shape) == pytest.approx((threefold.mean, threefold.shape))


@pytest.mark.parametrize(("ceiling", "share"), [(None, 0.48), (0.2, 0.43)])
def test_a_metric_has_half_of_what_bake_and_ceilings_leave(ceiling: float | None, share: float) -> None:
    settings = replace(SETTINGS, errors=ErrorTolerance(ceiling=ceiling))
    assert requests_to_detect(settings, TWICE, MARGIN, share=share) == requests_to_detect(settings, TWICE, MARGIN)


def test_each_factor_of_alpha_costs_its_logarithm() -> None:
    """Also the spread: a walk's variance against its height."""
    full, tenth, hundredth = (requests_to_detect(SETTINGS, TWICE, MARGIN, share=share) for share in (1.0, 0.1, 0.01))
    assert full.mean < tenth.mean
    assert tenth.mean - full.mean == pytest.approx(hundredth.mean - tenth.mean)
    heights = [math.sqrt(one.shape) for one in (full, tenth, hundredth)]
    assert heights[1] / heights[0] == pytest.approx(tenth.mean / full.mean)
    assert heights[2] / heights[0] == pytest.approx(hundredth.mean / full.mean)


def in_step(errors: float = 0.0, latency: float = 0.0, step: int = 2) -> State:
    """Gates with evidence of so many nats on each bet."""
    history = Window(0.0, 10.0, Arm(100_000, 500, (100.0, 200.0, math.inf), (90_000, 98_800, 99_500)), Arm(0, 0))
    state = enter_step(begin(SETTINGS, at_seconds=10.0, baseline=[history]), SETTINGS, step=step, at_seconds=10.0)
    return replace(
        state,
        errors=replace(state.errors, gate=(errors,) * 3),
        latency=replace(state.latency, gate=(latency,) * 3),
    )


def left(state: State) -> float:
    seconds = seconds_to_gate(state, SETTINGS, canary_rps=10.0, stable_rps=40.0)
    assert seconds is not None
    return seconds


def test_a_gate_waits_for_the_slower_metric() -> None:
    passed = 100.0
    errors, latency = left(in_step(latency=passed)), left(in_step(errors=passed))
    assert 0 < min(errors, latency) < max(errors, latency) == left(in_step())
    assert 0 == left(in_step(errors=passed, latency=passed))


def test_what_a_gate_has_already_is_not_waited_for_again() -> None:
    """From half of the nats that the first bet needs, half of the time."""
    passed, needed = 100.0, math.log(100 / 0.5)
    assert left(in_step(latency=passed)) / 2 == pytest.approx(
        left(in_step(errors=needed / 2, latency=passed)), rel=0.01
    )


def test_both_arms_requests_move_the_walk() -> None:
    """Variance of the sum: the fewer stable requests beside a canary's, the less stable adds."""
    bets = place(TWICE.canary, TWICE.stable, MARGIN, TWICE.traffic_ratio)
    canary_bad, canary_good, stable_bad, stable_good = (float(one) for one in bets.log_outcomes())
    mean, variance = walk(TWICE, 1.0, bets)
    expected_mean = 0.01 * canary_bad + 0.99 * canary_good + 4 * (0.005 * stable_bad + 0.995 * stable_good)
    spread = 0.01 * 0.99 * (canary_bad - canary_good) ** 2 + 4 * 0.005 * 0.995 * (stable_bad - stable_good) ** 2
    assert (expected_mean, spread) == pytest.approx((float(mean), float(variance)))
