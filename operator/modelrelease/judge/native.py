"""Prometheus' native histograms as classic buckets, so that the judge reads both.

A native histogram has exponential buckets whose edges are powers of 2^(2^-schema), and shows only those that hold
something. Where a wanted bound is an edge, the number of requests up to it is exact. A finer schema has all edges of a
coarser one; a histogram that Prometheus made coarser may lack a bound, and then says nothing about it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

EDGE_TOLERANCE = 1e-9
"""Relative difference up to which two edges are the same: they are computed by different programs."""


@dataclass(frozen=True, slots=True)
class NativeSample:
    """One sample: cumulative ``count`` of observations, and its buckets (left, right, how many) in milliseconds."""

    at_seconds: float
    count: float
    buckets: tuple[tuple[float, float, float], ...]


def native_bounds(low_ms: float, high_ms: float, *, schema: int = 1, unit_ms: float = 1.0) -> tuple[float, ...]:
    """Edges of a schema from ``low_ms`` to ``high_ms``; schema 1 has two per doubling.

    Args:
        low_ms: the first edge is at or above it.
        high_ms: the last edge is at or below it.
        schema: -4 to 8; a histogram must have this or a finer one.
        unit_ms: what the histogram's unit is in milliseconds; 1000 for seconds.
    """
    step = 2.0**-schema
    first, last = math.ceil(math.log2(low_ms / unit_ms) / step), math.floor(math.log2(high_ms / unit_ms) / step)
    return tuple(unit_ms * 2 ** (index * step) for index in range(first, last + 1))


def classic_buckets(
    samples: Sequence[NativeSample], bounds_ms: Sequence[float]
) -> dict[float, tuple[tuple[float, float], ...]]:
    """Per bound, infinity included, the samples (unix seconds, cumulative count up to it) of a classic bucket series.

    A sample with a bucket across a bound has none for that bound.
    """
    found: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for sample in samples:
        found[math.inf].append((sample.at_seconds, sample.count))
        for bound_ms in bounds_ms:
            within = _up_to(sample, bound_ms)
            if within is not None:
                found[bound_ms].append((sample.at_seconds, within))
    return {bound_ms: tuple(values) for bound_ms, values in sorted(found.items())}


def _up_to(sample: NativeSample, bound_ms: float) -> float | None:
    reach = bound_ms * (1 + EDGE_TOLERANCE)
    within = 0.0
    for left_ms, right_ms, count in sample.buckets:
        if right_ms <= reach:
            within += count
        elif left_ms < bound_ms * (1 - EDGE_TOLERANCE):
            return None
    return within
