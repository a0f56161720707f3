"""Native histograms give the counts that classic buckets at the same edges would give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelrelease.judge import NativeSample, Series, classic_buckets, native_bounds, windows


def native(at: float, latencies: list[float], schema: int, unit_ms: float = 1.0) -> NativeSample:
    """What an instrumented server would show after these latencies, in milliseconds."""
    base = 2.0 ** (2.0**-schema)
    counts: dict[int, int] = {}
    for latency in latencies:
        index = math.ceil(math.log(latency / unit_ms) / math.log(base) - 1e-12)
        counts[index] = counts.get(index, 0) + 1
    buckets = tuple((unit_ms * base ** (i - 1), unit_ms * base**i, float(counts[i])) for i in sorted(counts))
    return NativeSample(at, float(len(latencies)), buckets)


@pytest.mark.parametrize("schema", [1, 3, 8])
@pytest.mark.parametrize("unit_ms", [1.0, 1000.0])
def test_counts_at_edges_are_exact(schema: int, unit_ms: float) -> None:
    latencies = np.random.default_rng(schema).lognormal(math.log(60), 0.8, 3000).tolist()
    bounds = native_bounds(10, 1000, unit_ms=unit_ms)
    found = classic_buckets([native(5.0, latencies, schema, unit_ms)], bounds)
    assert (*bounds, math.inf) == tuple(found)
    for bound_ms in bounds:
        assert ((5.0, sum(latency <= bound_ms for latency in latencies)),) == found[bound_ms]
    assert ((5.0, 3000.0),) == found[math.inf]


def test_a_histogram_too_coarse_for_a_bound_says_nothing_about_it() -> None:
    bounds = native_bounds(10, 1000)
    fine, coarse = native(1.0, [20.0, 100.0, 300.0], 3), native(2.0, [20.0, 100.0, 300.0], 0)
    found = classic_buckets([fine, coarse], bounds)
    powers = [bound for bound in bounds if math.log2(bound).is_integer()]
    assert all(2 == len(found[bound]) for bound in powers)
    assert 1 == min(len(samples) for samples in found.values())


def test_no_requests_yet() -> None:
    found = classic_buckets([NativeSample(1.0, 0.0, ())], (16.0, 32.0))
    assert {16.0: ((1.0, 0.0),), 32.0: ((1.0, 0.0),), math.inf: ((1.0, 0.0),)} == found


def test_windows_from_native_histograms() -> None:
    bounds = native_bounds(16, 128)
    latencies = [20.0, 40.0, 90.0, 200.0]
    samples = [native(float(at), latencies * (at + 10), 2) for at in range(-9, 4)]
    series = [
        Series("canary", "pod", "bucket", "200", False, bound_ms, values)
        for bound_ms, values in classic_buckets(samples, bounds).items()
    ]
    found = windows(series, after=0.0, until=3.0, interval_seconds=1.0, scrape_interval_seconds=1.0)
    assert 3 == len(found)
    assert {(1, 4)} == {window.canary.slower_than(bounds[-1]) for window in found}
