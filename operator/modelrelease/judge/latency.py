"""P99 through histogram buckets: counts of requests slower than a bucket bound, never interpolated quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add

from modelrelease.judge.samples import Arm

TARGET_EXCEEDANCE = 0.01
"""A P99 is the latency that 1 % of the requests exceed."""

RESOLVABLE_EXCEEDANCE = (0.002, 0.05)
"""A bound stands for the P99 only if stable's share of slower requests is in here: with fewer a comparison never ends,
with more it is a comparison of something else. For the one exception see ``choose_threshold``."""

MIN_REQUESTS = 200
MIN_SLOW = 5
"""Below these the share of slow requests is a guess, and the bound is not chosen yet."""

TOLERATED_EXCEEDANCE = 0.5
"""A bound that more than this share of the requests of a tolerated canary would exceed says little about its P99; it
is taken only where no other bound, also a higher one, was exceeded by stable at all."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The bound that stands for P99, and what the tolerated P99 ratio means for the share of slower requests."""

    bound_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts of latencies: ``at_most[k]`` of ``total`` requests took up to ``bounds_ms[k]``.

    Failed requests are in ``total`` only, where the source tells them apart (see ``Arm``).
    """

    bounds_ms: tuple[float, ...] = ()
    at_most: tuple[int, ...] = ()
    total: int = 0

    def plus(self, other: Histogram) -> Histogram:
        """Both together; where the bounds differ the other begins a new histogram."""
        if not other.bounds_ms:
            return self
        if other.bounds_ms != self.bounds_ms:
            return other
        return Histogram(self.bounds_ms, tuple(map(add, self.at_most, other.at_most)), self.total + other.total)

    def exceedances(self) -> list[float]:
        """Share of requests slower than each bound."""
        return [(self.total - within) / self.total if self.total else 0.0 for within in self.at_most]

    def slower_than(self, bound_ms: float) -> tuple[int, int]:
        """(slow, all) requests; (0, 0) where the bound is unknown."""
        if bound_ms not in self.bounds_ms:
            return 0, 0
        return self.total - self.at_most[self.bounds_ms.index(bound_ms)], self.total


_EMPTY = Histogram()


def histogram_of(arm: Arm) -> Histogram:
    """An arm's latencies; nothing where it has none, so that a window without requests does not forget the bounds."""
    if not arm.timed or not arm.at_most:
        return _EMPTY
    return Histogram(arm.bounds_ms, arm.at_most, max(arm.timed, arm.at_most[-1]))


def choose_threshold(past: Histogram, max_ratio: float) -> Threshold | None:
    """The bound whose past stable exceedance is nearest 1 % on a log scale, with its margin; None: not resolvable.

    Where a canary that is tolerated would exceed every such bound most of the time, even one that is far too slow could
    hardly be told from it. Then a higher bound is taken, which stable seldom exceeds and a tolerated canary not mostly.
    """
    if past.total < MIN_REQUESTS:
        return None
    low, high = RESOLVABLE_EXCEEDANCE
    shares = past.exceedances()
    candidates: list[tuple[bool, float, Threshold]] = []
    higher: list[tuple[bool, float, Threshold]] = []
    for index, (bound_ms, share) in enumerate(zip(past.bounds_ms, shares, strict=True)):
        slow = past.total - past.at_most[index]
        if share > high or slow == 0 or not math.isfinite(bound_ms):
            continue
        ratio = _tolerated_ratio(past.bounds_ms, shares, index, max_ratio)
        says_little = ratio * share > TOLERATED_EXCEEDANCE
        candidate = says_little, abs(math.log(share / TARGET_EXCEEDANCE)), Threshold(bound_ms, ratio)
        (candidates if share >= low and slow >= MIN_SLOW else higher).append(candidate)
    if candidates and all(says_little for says_little, _, _ in candidates):
        candidates += [one for one in higher if not one[0]]
    return min(candidates, key=lambda candidate: candidate[:2])[2] if candidates else None


def requests_short(past: Histogram) -> int:
    """About how many requests more it takes until a bound can be chosen; 0: one can be, or none ever will be.

    A bound that fewer requests exceeded than it takes is given one more in its favour: it may yet turn out resolvable.
    """
    least = MIN_REQUESTS - past.total
    if least > 0:
        return least
    low, high = RESOLVABLE_EXCEEDANCE
    if choose_threshold(past, 1.0) is not None:
        return 0
    shares = [share for share, bound in zip(past.exceedances(), past.bounds_ms, strict=True) if math.isfinite(bound)]
    most = max((share for share in shares if share <= high), default=0.0)
    share = most if most >= low else (most * past.total + 1) / (past.total + 1)
    return max(1, math.ceil(MIN_SLOW / share) - past.total) if shares and share >= low else 0


def _tolerated_ratio(bounds_ms: Sequence[float], shares: Sequence[float], index: int, max_ratio: float) -> float:
    """r = S(bound / max_ratio) / S(bound): by what factor the share of slow requests grows if all latencies do.

    S is stable's past exceedance, interpolated on log-log scales between bounds. At least ``max_ratio``, the value for
    a tail that falls like 1/t: where the buckets show no request just below the bound, r would be 1 and even a canary
    that is the same could not be shown to be no worse.
    """
    ratio = 1.0
    high_ms, high_share = bounds_ms[index], shares[index]
    target_ms = high_ms / max_ratio
    for below in range(index - 1, -2, -1):
        low_ms = bounds_ms[below] if below >= 0 and bounds_ms[below] > 0 else high_ms / 10
        low_share = shares[below] if below >= 0 else 1.0
        slope = math.log(low_share / high_share) / math.log(high_ms / low_ms) if low_ms < high_ms else 0.0
        reached_ms = max(low_ms, target_ms)
        ratio *= (high_ms / reached_ms) ** slope
        if reached_ms == target_ms:
            break
        high_ms, high_share = low_ms, low_share
    return max(max_ratio, round(ratio, 4))


def quantile_ms(histogram: Histogram, share: float = 1 - TARGET_EXCEEDANCE) -> float | None:
    """An interpolated quantile in milliseconds, for people to look at only; None without requests or if it failed.

    Linear inside a bucket, as Prometheus' ``histogram_quantile``; the highest finite bound where it lies above that.
    """
    wanted = share * histogram.total
    if histogram.total == 0 or wanted > histogram.at_most[-1]:
        return None
    below, low_ms = 0, 0.0
    for bound_ms, within in zip(histogram.bounds_ms, histogram.at_most, strict=True):
        if within > below and within >= wanted:
            return (
                low_ms if math.isinf(bound_ms) else low_ms + (bound_ms - low_ms) * (wanted - below) / (within - below)
            )
        below, low_ms = within, bound_ms
    return None
