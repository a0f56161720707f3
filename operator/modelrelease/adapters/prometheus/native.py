"""Prometheus' native histograms, as its API writes them, to the classic buckets that the judge reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelrelease.errors import MetricsUnavailable
from modelrelease.judge import NativeSample, classic_buckets, native_bounds

LOWEST_MS, HIGHEST_MS = 1.0, 65_536.0
"""Bounds are edges between these: two per doubling, as many as Istio's classic histogram has in this range."""

_SUFFIX = "_bucket"


def native_name(buckets_metric: str) -> str:
    """The name that a histogram has as a native one; empty where the classic name does not tell."""
    return buckets_metric.removesuffix(_SUFFIX) if buckets_metric.endswith(_SUFFIX) else ""


def bucket_samples(
    histograms: Sequence[Any], *, milliseconds_per_unit: float
) -> dict[float, tuple[tuple[float, float], ...]]:
    """Per bound in milliseconds, infinity included, (unix seconds, cumulative count).

    Only exponential buckets have these edges; of one with custom bounds nothing but the counts is left, and then P99 is
    said to be not resolvable. Raises MetricsUnavailable for what is no histogram.
    """
    samples = [_sample(raw, milliseconds_per_unit) for raw in histograms]
    bounds = native_bounds(LOWEST_MS, HIGHEST_MS, unit_ms=milliseconds_per_unit)
    return classic_buckets(samples, bounds)


def _sample(raw: Any, milliseconds_per_unit: float) -> NativeSample:
    """`[seconds, {count, sum, buckets: [[rule, left, right, count], …]}]` (Prometheus documentation, "HTTP API"); empty
    buckets are left out, and all of them where nothing was observed."""
    try:
        at_seconds, histogram = raw
        return NativeSample(
            at_seconds=float(at_seconds),
            count=float(histogram["count"]),
            buckets=tuple(
                (float(left) * milliseconds_per_unit, float(right) * milliseconds_per_unit, float(count))
                for _, left, right, count in histogram.get("buckets") or ()
            ),
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise MetricsUnavailable(f"Prometheus answered {str(raw)[:80]!r} where a histogram should be.") from error
