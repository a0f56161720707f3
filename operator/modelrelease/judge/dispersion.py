"""How much stable's bad requests come in bursts: the factor φ by which evidence is discounted.

Ten requests that fail together because one pod stumbled are one event, not ten. A judge that takes them for ten rolls
back healthy canaries. φ compares the variance that stable's pods show against each other, in the same intervals, with
the variance that independent requests would show; what hits all pods at once cancels out and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

SAFETY = 1.5
"""φ estimates the mean burst; bursts in one arm may be larger. Excess over 1 is taken this many times."""

ALONE_LIMIT = 3.0
"""Highest φ from one series. How one series varies in time does not tell bursts, which only one arm would have, from
moments that are bad for everybody, which are harmless and frequent; taken at its word it would stop releases for hours.
With pods to compare there is no limit."""

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
    groups = list(zip(*measured, strict=False)) if len(measured) > 1 else _neighbours(measured[0])
    squares = expected_squares = 0.0
    for group in groups:
        active = [(bad, requests) for bad, requests in group if requests > 0]
        total = sum(requests for _, requests in active)
        rate = sum(bad for bad, _ in active) / total if total else 0.0
        if len(active) < 2 or rate == 0:
            continue
        for bad, requests in active:
            expected = requests * rate
            squares += (bad - expected) ** 2
            expected_squares += expected * (1 - requests / total) * (1 - rate) if rate < 1 else 0.0
    if expected_squares <= 0:
        return 1.0
    found = max(1.0, 1 + SAFETY * (squares / expected_squares - 1))
    return found if len(measured) > 1 else min(found, ALONE_LIMIT)


def _neighbours(pod: PodCounts) -> list[tuple[tuple[int, int], ...]]:
    """One pod has nobody to be compared with but itself a moment earlier: pairs of intervals, so that drift cancels."""
    return [(pod[index], pod[index + 1]) for index in range(0, len(pod) - 1, 2)]
