"""Raw cumulative counters to windows of true increments.

Every increment belongs to the sample that showed it: the difference to the sample before is counted in the window that
holds the sample's timestamp. Nothing is interpolated or extrapolated (Prometheus' ``rate`` and ``increase`` do both,
which turns whole requests into fractions and invents some at the edges). All rules look only at samples at or before
the grid point in question, so the windows are the same whenever, and in however many pieces, one asks for them, as long
as samples up to ``until`` have arrived and reach back ``LOOKBACK_SCRAPES`` scrape intervals before ``after``.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from modelrelease.judge.samples import Arm, Window

ArmName = Literal["stable", "canary"]

FRESH_SCRAPES = 1.5
"""A target is up to date at a grid point if its last sample is younger than this many scrape intervals: one interval
and the jitter of the scraper, but not a missed scrape."""

GONE_SCRAPES = 4.0
"""A target without a sample for this many scrape intervals is gone: windows stop waiting for it, and should it come
back its first value is its new zero (what happened in the hole, resets included, cannot be known)."""

LOOKBACK_SCRAPES = 5.0
"""How far before ``after`` the samples must reach: whatever a rule can look back at, and one scrape to spare."""

_GRID_DIGITS = 3
"""Grid points are rounded to milliseconds, so that adding an interval k times or k intervals once gives one float."""


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


@dataclass(slots=True)
class _Tally:
    """Counts of one arm in the window that is being filled."""

    requests: float = 0.0
    errors: float = 0.0
    timed: float = 0.0
    within: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    bounds: dict[str, set[float]] = field(default_factory=lambda: defaultdict(set))

    def add(self, series: Series, increment: float) -> None:
        if series.kind == "requests":
            self.requests += increment
            self.errors += increment if series.is_error else 0.0
            return
        bound = math.inf if series.bound_ms is None else series.bound_ms
        self.bounds[series.target].add(bound)
        if math.isinf(bound):
            self.timed += increment
        if not series.is_error:
            self.within[bound] += increment

    def arm(self) -> Arm:
        """The counts so far. Only bounds that all targets of the arm have can be added up over targets."""
        shared = sorted(set.intersection(*self.bounds.values())) if self.bounds else []
        bounds = tuple(shared) if shared and math.isinf(shared[-1]) else ()
        requests = round(self.requests)
        return Arm(
            requests=requests,
            errors=min(round(self.errors), requests),
            bounds_ms=bounds,
            at_most=tuple(round(self.within[bound]) for bound in bounds),
            timed=round(self.timed) if bounds else -1,
        )


def windows(
    series: Sequence[Series],
    *,
    after: float,
    until: float,
    interval_seconds: float,
    scrape_interval_seconds: float,
) -> list[Window]:
    """Complete windows on the grid, in order, without gaps, from ``after`` on and at most up to ``until``.

    ``after`` is a grid point (the judge's cursor); the grid goes on from it in steps of ``interval_seconds``. A window
    closes at the first grid point at which every live target has a sample inside the window and is up to date; until
    then it grows, for both arms. A target that is gone, or a window that has already waited for as long as it takes to
    be sure that a target is gone, does not hold it up any longer. An arm without series has no requests: that is what
    a proxy shows for a canary that was not asked yet.

    Args:
        series: samples of both arms, reaching back ``LOOKBACK_SCRAPES`` scrape intervals before ``after``.
        after: unix seconds; everything up to here is already judged.
        until: unix seconds; everything up to here has been scraped and stored.
        interval_seconds: length of a grid interval.
        scrape_interval_seconds: how often the targets are scraped.
    """
    gone_seconds = GONE_SCRAPES * scrape_interval_seconds
    scrapes = _scrape_times(series)
    increments = _Increments(series, scrapes, after, gone_seconds)
    found: list[Window] = []
    start = after
    for point in _grid(after, until, interval_seconds):
        ages = _Ages.at(point, start, scrapes, gone_seconds)
        waited_enough = point - start >= interval_seconds + gone_seconds
        up_to_date = ages.oldest < FRESH_SCRAPES * scrape_interval_seconds and ages.all_inside
        if not (ages.any_inside and (up_to_date or waited_enough)):
            continue
        tallies = increments.take(until=point)
        found.append(Window(start, point, tallies["stable"].arm(), tallies["canary"].arm()))
        start = point
    return found


def _grid(after: float, until: float, interval_seconds: float) -> Iterator[float]:
    count = 1
    while (point := round(after + count * interval_seconds, _GRID_DIGITS)) <= until + 10**-_GRID_DIGITS / 2:
        yield point
        count += 1


def _scrape_times(series: Sequence[Series]) -> dict[str, list[float]]:
    """Per target, when any of its series was sampled, ascending."""
    times: dict[str, set[float]] = defaultdict(set)
    for one in series:
        times[one.target].update(at for at, value in one.samples if not math.isnan(value))
    return {target: sorted(found) for target, found in times.items() if found}


@dataclass(frozen=True, slots=True)
class _Ages:
    """How recent the live targets' samples are at a grid point, and whether the open window holds any of them."""

    oldest: float
    all_inside: bool
    any_inside: bool

    @staticmethod
    def at(point: float, start: float, scrapes: dict[str, list[float]], gone_seconds: float) -> _Ages:
        last = [times[index - 1] for times in scrapes.values() if (index := bisect_right(times, point)) > 0]
        live = [at for at in last if point - at < gone_seconds]
        inside = [at > start for at in live]
        return _Ages(max((point - at for at in live), default=math.inf), all(inside), any(inside))


class _Increments:
    """All increments after the cursor, in order of time, handed out window by window."""

    def __init__(
        self, series: Sequence[Series], scrapes: dict[str, list[float]], after: float, gone_seconds: float
    ) -> None:
        self._gone_seconds = gone_seconds
        self._scrapes = scrapes
        found = [(at, index, grown) for index, one in enumerate(series) for at, grown in self._of(one) if at > after]
        self._found = sorted(found)
        self._series = series
        self._next = 0

    def take(self, *, until: float) -> dict[ArmName, _Tally]:
        """Counts of both arms from samples up to ``until`` that were not handed out before."""
        tallies: dict[ArmName, _Tally] = {"stable": _Tally(), "canary": _Tally()}
        while self._next < len(self._found) and self._found[self._next][0] <= until:
            _, index, grown = self._found[self._next]
            tallies[self._series[index].arm].add(self._series[index], grown)
            self._next += 1
        return tallies

    def _of(self, series: Series) -> Iterator[tuple[float, float]]:
        """(time, increment) of each sample of a series.

        A value below the one before is a counter that began again at 0. A series that was not there before counts
        from 0 if its target was scraped successfully shortly before, because then the scrape showed that it had
        nothing to count yet (the first error of a canary makes a new series); else nobody knows since when it counts.
        """
        before: tuple[float, float] | None = None
        for at, value in series.samples:
            if math.isnan(value):
                continue
            if before is not None and at - before[0] < self._gone_seconds:
                yield at, value - before[1] if value >= before[1] else value
            else:
                yield at, value if self._scraped_before(series.target, at) else 0.0
            before = (at, value)

    def _scraped_before(self, target: str, at: float) -> bool:
        times = self._scrapes[target]
        index = bisect_left(times, at)
        return index > 0 and at - times[index - 1] < self._gone_seconds
