"""P99 through buckets, and the burst factor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelrelease.judge.dispersion import ALONE_LIMIT, dispersion
from modelrelease.judge.latency import Histogram, choose_threshold, histogram_of, quantile_ms, requests_short
from modelrelease.judge.samples import Arm

BOUNDS = (25.0, 50.0, 100.0, 250.0, math.inf)


def histogram(slower: tuple[float, ...], total: int = 100_000) -> Histogram:
    """From the shares of requests slower than each finite bound."""
    return Histogram(BOUNDS, tuple(round(total * (1 - share)) for share in (*slower, 0.0)), total)


def test_the_bound_nearest_one_percent_is_taken() -> None:
    chosen = choose_threshold(histogram((0.9, 0.2, 0.012, 0.003)), 1.2)
    assert chosen is not None
    assert 100.0 == chosen.bound_ms


@pytest.mark.parametrize("slower", [(0.9, 0.5, 0.06, 0.001), (1.0, 1.0, 1.0, 1.0), (0.001, 0.0, 0.0, 0.0)])
def test_too_coarse_buckets_are_not_guessed(slower: tuple[float, ...]) -> None:
    assert choose_threshold(histogram(slower), 1.2) is None


def test_a_bound_that_tolerated_canaries_would_mostly_exceed_gives_way_to_a_higher_one() -> None:
    """A history of 34 seconds on Istio's buckets, as it was met: P99 between 10 and 25 ms, three times is tolerated.

    At 10 ms a tolerated canary may exceed the bound in 65 % of its requests, so one that always takes 600 ms was not
    rolled back within four minutes.
    """
    past = Histogram((5.0, 10.0, 25.0, 50.0, math.inf), (746, 1650, 1711, 1714, 1714), 1714)
    chosen = choose_threshold(past, 3.0)
    assert chosen is not None
    assert 25.0 == chosen.bound_ms
    assert 0.05 < chosen.ratio * 3 / 1714 < 0.1
    narrow = choose_threshold(past, 1.2)
    assert narrow is not None
    assert 10.0 == narrow.bound_ms


def test_too_few_requests_are_not_guessed() -> None:
    assert choose_threshold(histogram((0.9, 0.2, 0.01, 0.0), total=150), 1.2) is None
    assert choose_threshold(histogram((0.9, 0.2, 0.01, 0.0), total=400), 1.2) is None
    assert choose_threshold(histogram((0.9, 0.2, 0.01, 0.0), total=500), 1.2) is not None


def test_a_bound_that_most_requests_of_a_tolerated_canary_exceed_is_not_taken() -> None:
    """Three times the latency is tolerated, and 95 % take between 25 and 50 ms: at 50 ms it could not be told."""
    slower = histogram((0.95, 0.01, 0.004, 0.0))
    assert [50.0, 100.0] == [
        chosen.bound_ms for ratio in (1.2, 3.0) if (chosen := choose_threshold(slower, ratio)) is not None
    ]


@pytest.mark.parametrize("slower", [(0.9, 0.2, 0.012, 0.003), (0.04, 0.02, 0.01, 0.0), (0.9, 0.5, 0.05, 0.002)])
@pytest.mark.parametrize("total", [0, 25, 100, 300, 700])
def test_with_the_requests_it_is_short_of_a_bound_can_be_chosen(slower: tuple[float, ...], total: int) -> None:
    past = histogram(slower, total) if total else Histogram()
    waited = 0
    while short := requests_short(past):
        waited += 1
        past = histogram(slower, past.total + short)
    assert waited <= 4
    assert past.total <= max(total, 600)
    assert choose_threshold(past, 1.2) is not None


@pytest.mark.parametrize("slower", [(0.9, 0.5, 0.06, 0.001), (1.0, 1.0, 1.0, 1.0), (0.001, 0.0, 0.0, 0.0)])
def test_nothing_is_waited_for_where_more_requests_would_not_help(slower: tuple[float, ...]) -> None:
    assert 0 == requests_short(histogram(slower, 3000))
    assert 0 == requests_short(Histogram((math.inf,), (3000,), 3000))


def test_a_tail_that_is_a_power_law_gives_the_power_of_the_ratio() -> None:
    power = 3.0
    shares = tuple(min(1.0, 0.01 * (100 / bound) ** power) for bound in BOUNDS[:-1])
    chosen = choose_threshold(histogram(shares, total=10_000_000), 1.2)
    assert chosen is not None
    assert chosen.ratio == pytest.approx(1.2**power, rel=1e-3)


def test_the_tolerated_ratio_is_never_below_that_of_the_latency() -> None:
    """All slow requests far above the bound: buckets show nothing just below it."""
    chosen = choose_threshold(histogram((0.011, 0.0105, 0.01, 0.009)), 1.2)
    assert chosen is not None
    assert chosen.ratio == pytest.approx(1.2)


def test_failed_requests_are_slow() -> None:
    with_failures = Histogram(BOUNDS, (0, 0, 90, 90, 90), 100)
    assert (10, 100) == with_failures.slower_than(250.0)
    assert (10, 100) == Arm(100, 10, BOUNDS, (0, 0, 90, 90, 90)).slower_than(250.0)


def test_a_histogram_that_is_ahead_of_its_count_is_believed() -> None:
    """A proxy may publish both at different moments; a share above 1 would follow."""
    assert 7 == histogram_of(Arm(5, 0, BOUNDS, (0, 0, 6, 7, 7), timed=5)).total


def test_other_bounds_begin_a_new_histogram() -> None:
    first = Histogram(BOUNDS, (1, 2, 3, 4, 5), 5)
    second = first.plus(Histogram((50.0, math.inf), (1, 2), 2))
    assert 2 == second.total
    assert first == first.plus(Histogram())


def test_shown_quantiles() -> None:
    assert quantile_ms(histogram((1.0, 0.02, 0.0, 0.0))) == pytest.approx(75.0)
    assert quantile_ms(histogram((1.0, 1.0, 1.0, 0.5))) == 250.0
    assert quantile_ms(Histogram()) is None
    assert quantile_ms(Histogram(BOUNDS, (0, 0, 0, 0, 10), 100)) is None


def pods(rng: np.random.Generator, count: int, intervals: int, mean: float, burst: int) -> list[list[tuple[int, int]]]:
    """Bad requests in bursts of a fixed size."""
    return [[(burst * int(x), 1000) for x in rng.poisson(mean / burst, intervals)] for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("burst", [1, 4, 10])
def test_bursts_are_estimated_from_pods(count: int, burst: int) -> None:
    rng = np.random.default_rng(burst)
    found = [dispersion(pods(rng, count, 200, 5.0, burst)) for _ in range(20)]
    assert np.mean(found) == pytest.approx(1 + 1.5 * (burst - 1), rel=0.25, abs=0.15)


@pytest.mark.parametrize("count", [2, 4])
def test_a_single_burst_keeps_its_weight(count: int) -> None:
    quiet = [[(0, 1000)] * 60 for _ in range(count)]
    quiet[0][17] = (20, 1000)
    assert dispersion(quiet) == pytest.approx(1 + 1.5 * 19, rel=0.05)


def test_one_series_is_limited_only_by_what_it_shows_once() -> None:
    once = [(0, 1000)] * 60
    once[17] = (20, 1000)
    assert ALONE_LIMIT == dispersion([once])
    again = list(once)
    again[40] = (20, 1000)
    assert dispersion([again]) == pytest.approx(1 + 1.5 * 19, rel=0.05)


def test_a_pod_that_always_has_more_errors_is_no_burst() -> None:
    """2 % beside 0.5 %, 5,000 requests a second."""
    rng = np.random.default_rng(9)
    rates = (0.02, 0.005, 0.005, 0.005)
    found = dispersion([[(int(rng.binomial(12_500, rate)), 12_500) for _ in range(60)] for rate in rates])
    assert found < 1.5


def test_a_shared_incident_is_no_burst() -> None:
    rng = np.random.default_rng(3)
    rates = np.where(rng.random(300) < 0.1, 0.3, 0.005)
    found = dispersion([[(int(rng.binomial(1000, rate)), 1000) for rate in rates] for _ in range(4)])
    assert found < 1.3


def test_what_cannot_be_estimated_is_one() -> None:
    assert 1.0 == dispersion([])
    assert 1.0 == dispersion([[(0, 1000)] * 50])
    assert 1.0 == dispersion([[(4, 1000)]])
    assert 1.0 == dispersion([[(1000, 1000)] * 9, [(1000, 1000)] * 9])
