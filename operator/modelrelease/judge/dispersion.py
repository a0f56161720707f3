"""How much stable's bad requests come in bursts: the factor φ by which evidence is discounted.

Ten requests that fail together because one pod stumbled are one event, not ten. A judge that takes them for ten rolls
back healthy canaries. φ compares the variance that stable's pods show against each other, in the same intervals, with
the variance that independent requests would show; what hits all pods at once cancels out and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SAFETY = 1.5
"""φ estimates the mean burst; bursts in one arm may be larger. Excess over 1 is taken this many times."""

ALONE_LIMIT = 3.0
"""Highest φ from one series for what it shows only once. How one series varies in time does not tell bursts, which only
one arm would have, from moments that are bad for everybody, which are harmless; one of those, taken at its word, would
stop a release for hours. What it shows again and again has no limit, and neither has what pods show beside each other.
"""

PodCounts = Sequence[tuple[int, int]]
"""(bad, all) requests of one pod per interval."""


def dispersion(pods: Sequence[PodCounts]) -> float:
    """φ, at least 1, from stable's pods on one grid of intervals; with one pod from neighbouring intervals.

    φ̂ = Σ (x_pod - e)² / Σ e·(1 - 1/P), e = the pod's requests times the interval's rate, P = pods with requests in the
    interval. The discount is 1 + 1.5·(φ̂ - 1): independent requests (φ̂ = 1) are not discounted at all.
    """
    measured = [pod for pod in pods if pod]
    if not measured:
        return 1.0
    if len(measured) == 1:
        pairs = [_Spread.within(_residuals(pair)) for pair in _neighbours(measured[0])]
        largest = max(pairs, key=lambda pair: pair.squares - pair.expected, default=_Spread())
        everything = sum(pairs, _Spread())
        repeated = _Spread(everything.squares - largest.squares, everything.expected - largest.expected)
        return max(min(everything.discount, ALONE_LIMIT), repeated.discount)
    intervals = [_residuals(group) for group in zip(*measured, strict=False)]
    by_pod = (_Spread.over_time(pod) for pod in zip(*intervals, strict=True))
    return sum(by_pod, _Spread()).discount


@dataclass(frozen=True, slots=True)
class _Residual:
    """What a pod had in an interval beyond its part of all pods' bad requests.

    expected: the square of ``excess`` that independent requests would have on average.
    """

    excess: float = 0.0
    requests: int = 0
    expected: float = 0.0


@dataclass(frozen=True, slots=True)
class _Spread:
    """Sum of squared excesses, and what it would be on average if requests were independent."""

    squares: float = 0.0
    expected: float = 0.0

    def __add__(self, other: _Spread) -> _Spread:
        return _Spread(self.squares + other.squares, self.expected + other.expected)

    @staticmethod
    def within(residuals: Sequence[_Residual]) -> _Spread:
        return _Spread(sum(one.excess**2 for one in residuals), sum(one.expected for one in residuals))

    @staticmethod
    def over_time(pod: Sequence[_Residual]) -> _Spread:
        """Without the pod's mean excess per request: a pod that always has more errors than others is no burst.

        Intervals are as many less as the mean takes from them, so that a single burst keeps all of its weight.
        """
        active = [one for one in pod if one.requests]
        requests = sum(one.requests for one in active)
        if len(active) < 2:
            return _Spread()
        mean = sum(one.excess for one in active) / requests
        squares = sum((one.excess - mean * one.requests) ** 2 for one in active)
        return _Spread(squares * len(active) / (len(active) - 1), sum(one.expected for one in active))

    @property
    def discount(self) -> float:
        if self.expected <= 0:
            return 1.0
        return max(1.0, 1 + SAFETY * (self.squares / self.expected - 1))


def _residuals(group: Sequence[tuple[int, int]]) -> list[_Residual]:
    """One per pod of an interval; nothing where there is nobody to compare with, or nothing that was bad."""
    total = sum(requests for _, requests in group)
    rate = sum(bad for bad, _ in group) / total if total else 0.0
    if rate in (0.0, 1.0) or sum(requests > 0 for _, requests in group) < 2:
        return [_Residual(requests=requests) for _, requests in group]
    return [
        _Residual(bad - requests * rate, requests, requests * rate * (1 - requests / total) * (1 - rate))
        for bad, requests in group
    ]


def _neighbours(pod: PodCounts) -> list[tuple[tuple[int, int], ...]]:
    """One pod has nobody to be compared with but itself a moment earlier: pairs of intervals, so that drift cancels."""
    return [(pod[index], pod[index + 1]) for index in range(0, len(pod) - 1, 2)]
