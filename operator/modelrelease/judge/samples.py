"""What the judge looks at: the raw samples of both arms, and their requests in one stretch of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ArmName = Literal["stable", "canary"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm in one window: true increments, not rates.

    requests: all requests that ended in the window.
    errors: those of them that failed.
    bounds_ms: upper bounds of the latency buckets, ascending, the last one infinite; empty where there are none.
    at_most: per bound, how many requests *succeeded* within it. A failed request is in no bucket here, and therefore
        counts as slow. Where the source's buckets do not know the response code they hold all requests; a failed
        request then is as slow as it was, because adding the failures would count a time-out twice, and a judge that
        counts one event twice is no longer bound by its false-rollback probability.
    timed: how many requests the buckets were made from, failed ones included. The share of slow requests is taken
        within the histogram and not against ``requests``: a proxy may publish the two at different moments. The
        default, -1, is replaced by the larger of ``requests`` and the last of ``at_most``, or 0 without buckets.
    """

    requests: int
    errors: int
    bounds_ms: tuple[float, ...] = ()
    at_most: tuple[int, ...] = ()
    timed: int = -1

    def __post_init__(self) -> None:
        if len(self.bounds_ms) != len(self.at_most):
            raise ValueError(f"{len(self.bounds_ms)} bounds but {len(self.at_most)} counts")
        if not 0 <= self.errors <= self.requests:
            raise ValueError(f"{self.errors} errors in {self.requests} requests")
        if self.timed < 0:
            timed = max(self.requests, self.at_most[-1]) if self.at_most else 0
            object.__setattr__(self, "timed", timed)

    def slower_than(self, bound_ms: float) -> tuple[int, int] | None:
        """(slow, timed) requests for one bucket bound; None where this arm has requests but no such bound."""
        timed = self.timed
        if timed == 0:
            return 0, 0
        if bound_ms not in self.bounds_ms:
            return None
        within = self.at_most[self.bounds_ms.index(bound_ms)]
        return (timed - within, timed) if within <= timed else (0, within)


@dataclass(frozen=True, slots=True)
class Window:
    """The time (start, end], unix seconds, both on the release's grid, with both arms complete in it."""

    start_seconds: float
    end_seconds: float
    stable: Arm
    canary: Arm

    def __post_init__(self) -> None:
        if not self.start_seconds < self.end_seconds:
            raise ValueError(f"a window from {self.start_seconds} to {self.end_seconds} has no length")


@dataclass(frozen=True, slots=True)
class Series:
    """The raw samples of one Prometheus series.

    arm: the side of the release that the series counts.
    target: identity of the scraped process (instance or pod). Samples of one target with one timestamp are one scrape.
    kind: ``requests`` for a counter of requests, ``bucket`` for a bucket of a latency histogram.
    code: the response code it counts; empty where the series does not tell.
    is_error: whether that code is a failure, as decided by the caller.
    bound_ms: the bucket's upper bound (may be infinite); None for ``requests``.
    samples: (unix seconds, cumulative value), ascending in time. NaN values (staleness marks) are skipped.
    """

    arm: ArmName
    target: str
    kind: Literal["requests", "bucket"]
    code: str
    is_error: bool
    bound_ms: float | None
    samples: tuple[tuple[float, float], ...]
