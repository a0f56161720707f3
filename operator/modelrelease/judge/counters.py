"""Raw cumulative counters to windows of true increments.

Every increment belongs to the sample that showed it: the difference to the sample before is counted in the window that
holds the sample's timestamp. Only stable's increments are divided, and only where its pods are scraped at other moments
than the canary's (see ``alignment``). The windows are the same whenever, and in however many pieces, one asks for them,
as long as samples up to ``until`` have arrived and reach back ``LOOKBACK_SCRAPES`` scrape intervals before ``after``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelrelease.judge.alignment import Edges
from modelrelease.judge.increments import GONE_SCRAPES, Restarts, ScrapeTimes, Tally, increments, restarts, scrape_times
from modelrelease.judge.samples import ArmName, Series, Window

FRESH_SCRAPES = 1.5
"""A target is up to date at a grid point if its last sample is younger than this many scrape intervals: one interval
and the jitter of the scraper, but not a missed scrape."""

STEADY_SCRAPES = 6.0
"""For how many scrape intervals a window waits for stable's rates to be steady; longer incidents are judged in parts,
in which stable's bad requests at the edges count in full."""

_GRID_DIGITS = 3
"""Grid points are rounded to milliseconds, so that adding an interval k times or k intervals once gives one float."""


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
    be sure that a target is gone, does not hold it up any longer. Where the arms' targets are not the same, it does not
    end while stable's rates change, for a while. An arm without series has no requests: that is what a proxy shows for
    a canary that was not asked yet.

    Args:
        series: samples of both arms, reaching back ``LOOKBACK_SCRAPES`` scrape intervals before ``after``. Those after
            ``until`` serve to tell what stable counted up to it.
        after: unix seconds; everything up to here is already judged.
        until: unix seconds; everything up to here has been scraped and stored.
        interval_seconds: length of a grid interval.
        scrape_interval_seconds: how often the targets are scraped.
    """
    gone_seconds = GONE_SCRAPES * scrape_interval_seconds
    scrapes = scrape_times(series)
    restarted = restarts(series, gone_seconds)
    counted = _Counted(series, scrapes, restarted, after, gone_seconds)
    edges = Edges(series, scrapes, restarted, until, scrape_interval_seconds)
    found: list[Window] = []
    start = edges.at(after)
    for point in _grid(after, until, interval_seconds):
        if start is None:
            break
        begins = start.point_seconds
        ages = _Ages.at(point, begins, scrapes, gone_seconds)
        waited_enough = point - begins >= interval_seconds + gone_seconds
        up_to_date = ages.oldest < FRESH_SCRAPES * scrape_interval_seconds and ages.all_inside
        if not (ages.any_inside and (up_to_date or waited_enough)):
            continue
        end = edges.at(point)
        if end is None:
            break
        if not end.is_steady and point - begins < interval_seconds + STEADY_SCRAPES * scrape_interval_seconds:
            continue
        tallies = counted.take(until=point)
        is_apart = bool(start.moments or end.moments)
        stable = edges.stable_between(start, end) if is_apart else tallies["stable"].arm()
        found.append(Window(begins, point, stable, tallies["canary"].arm()))
        start = end
    return found


def _grid(after: float, until: float, interval_seconds: float) -> Iterator[float]:
    count = 1
    while (point := round(after + count * interval_seconds, _GRID_DIGITS)) <= until + 10**-_GRID_DIGITS / 2:
        yield point
        count += 1


@dataclass(frozen=True, slots=True)
class _Ages:
    """How recent the live targets' samples are at a grid point, and whether the open window holds any of them."""

    oldest: float
    all_inside: bool
    any_inside: bool

    @staticmethod
    def at(point: float, start: float, scrapes: ScrapeTimes, gone_seconds: float) -> _Ages:
        last = [times[index - 1] for times in scrapes.values() if (index := bisect_right(times, point)) > 0]
        live = [at for at in last if point - at < gone_seconds]
        inside = [at > start for at in live]
        return _Ages(max((point - at for at in live), default=math.inf), all(inside), any(inside))


class _Counted:
    """All increments after the cursor, in order of time, handed out window by window."""

    def __init__(
        self, series: Sequence[Series], scrapes: ScrapeTimes, restarted: Restarts, after: float, gone_seconds: float
    ) -> None:
        self._found = sorted(
            (at, index, grown)
            for index, one in enumerate(series)
            for at, _, grown in increments(one, scrapes, restarted, gone_seconds)
            if at > after
        )
        self._series = series
        self._next = 0

    def take(self, *, until: float) -> dict[ArmName, Tally]:
        """Counts of both arms from samples up to ``until`` that were not handed out before."""
        tallies: dict[ArmName, Tally] = {"stable": Tally(), "canary": Tally()}
        while self._next < len(self._found) and self._found[self._next][0] <= until:
            _, index, grown = self._found[self._next]
            tallies[self._series[index].arm].add(self._series[index], grown)
            self._next += 1
        return tallies
