"""One clock for arms that report for themselves.

A gateway counts both arms, and each of its scrapes shows both up to the same moment. Pods are scraped one after the
other: the canary's counters stand at one moment and stable's at another, up to a scrape interval apart, and an incident
of everybody that begins in between would be held against one arm. So stable's counters are read at the moment at which
the canary's were scraped. Between two scrapes that is a matter of proportion, which keeps the odds fair as long as
stable fails at one rate in between (bets on a part θ of an increment win no more than a part θ of the bets: (1 + z)^θ
is at most 1 + θz). Whether it does is seen from the scrapes before. A window does not end while stable's rates change;
should it have to, all bad requests of stable that may belong to it count in it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modelrelease.judge.increments import (
    GONE_SCRAPES,
    Increment,
    Restarts,
    ScrapeTimes,
    Tally,
    increments,
    scrape_times,
)
from modelrelease.judge.samples import Arm, Series

LOOKBACK_SCRAPES = 5.0
"""How many scrape intervals before a grid point samples must reach: whatever a rule can look back at, and one scrape to
spare."""

STEADY_DEVIATIONS = 3.0
"""Standard deviations by which stable's rates may differ between scrapes and still be taken for the same."""

SCRAPES_COMPARED = 2
"""How many scrapes before the one in question are compared with it; with one, two short incidents of the same size in a
row would pass for none."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a window begins or ends.

    point_seconds: on the grid; samples up to here are in the window before.
    moments: if the arms are apart, the last scrapes of the canary's targets, in unix seconds, ascending; else empty.
    is_steady: whether stable's rates did not change around these moments.
    """

    point_seconds: float
    moments: tuple[float, ...] = ()
    is_steady: bool = True

    @property
    def clock_seconds(self) -> float:
        """Up to when stable counts, on average over the canary's targets."""
        return sum(self.moments) / len(self.moments) if self.moments else self.point_seconds

    def part(self, increment: Increment) -> float:
        """How much of an increment of stable lies before the edge."""
        at, since, grown = increment
        cut = self.clock_seconds
        if at <= cut:
            return grown
        if not self.moments or since >= cut:
            return 0.0
        return math.floor(grown * (cut - since) / (at - since) + _ROUNDING)

    def doubts(self, increment: Increment) -> bool:
        """Whether it is not known on which side of the edge the requests of this increment ended."""
        at, since, _ = increment
        return not self.is_steady and since < self.moments[-1] and at > self.moments[0]


class Edges:
    """The edges of all windows, and what stable counted between two of them."""

    def __init__(
        self, series: Sequence[Series], scrapes: ScrapeTimes, restarted: Restarts, until: float, scrape_seconds: float
    ) -> None:
        targets = {arm: {one.target for one in series if one.arm == arm} for arm in ("stable", "canary")}
        self._have_one_clock = targets["canary"] <= targets["stable"]
        if self._have_one_clock:
            return
        stable = [one for one in series if one.arm == "stable"]
        self._stable = scrape_times(stable)
        self._canary = scrape_times(one for one in series if one.arm == "canary")
        self._until = until
        self._gone_seconds = GONE_SCRAPES * scrape_seconds
        self._reach_seconds = LOOKBACK_SCRAPES * scrape_seconds
        self._sizes = Counter((one.target, at) for one in stable for at, value in one.samples if not math.isnan(value))
        self._cells: dict[tuple[str, float], list[tuple[Series, Increment]]] = defaultdict(list)
        for one in stable:
            for increment in increments(one, scrapes, restarted, self._gone_seconds):
                self._cells[one.target, increment[0]].append((one, increment))

    def at(self, point: float) -> Edge | None:
        """The edge at a grid point; None while a scrape of stable is missing that will tell.

        The arms are apart where no target reports both.
        """
        if self._have_one_clock:
            return Edge(point)
        canary, stable = self._live(self._canary, point), self._live(self._stable, point)
        if not canary or not stable or canary.keys() & stable.keys():
            return Edge(point)
        moments = tuple(sorted(canary.values()))
        spans: dict[str, tuple[int, int]] = {}
        for target in stable:
            times = self._stable[target]
            first, last = max(1, bisect_left(times, moments[0])), bisect_left(times, moments[-1])
            if last == len(times) or times[last] - times[last - 1] >= self._gone_seconds:
                if last == len(times) and self._until - times[-1] < self._gone_seconds:
                    return None
                continue
            if not self._is_complete(target, last):
                return None
            spans[target] = first, last
        return Edge(point, moments, self._is_steady(spans, point - self._reach_seconds))

    def stable_between(self, begins: Edge, ends: Edge) -> Arm:
        """What stable counted between two edges of which one at least is apart."""
        tally = Tally()
        low = min(begins.point_seconds, begins.clock_seconds, *begins.moments)
        high = max(ends.point_seconds, ends.clock_seconds) + self._gone_seconds
        for target, times in self._stable.items():
            for at in times[bisect_right(times, low) : bisect_right(times, high)]:
                for one, increment in self._cells[target, at]:
                    *_, grown = increment
                    inside = max(0.0, ends.part(increment) - begins.part(increment))
                    tally.add(one, inside)
                    if begins.doubts(increment) or ends.doubts(increment):
                        tally.add_bad_beyond(one, grown - inside)
        return tally.arm()

    def _live(self, arm: ScrapeTimes, point: float) -> dict[str, float]:
        """The last scrape up to a grid point of each target that is not gone."""
        last = {target: times[index - 1] for target, times in arm.items() if (index := bisect_right(times, point)) > 0}
        return {target: at for target, at in last.items() if point - at < self._gone_seconds}

    def _is_complete(self, target: str, index: int) -> bool:
        """Whether a scrape is stored as a whole. One that is newer than what all have been scraped up to is, once it
        holds as many series as the one before."""
        times = self._stable[target]
        if times[index] <= self._until:
            return True
        return index > 0 and self._sizes[target, times[index]] >= self._sizes[target, times[index - 1]]

    def _is_steady(self, spans: dict[str, tuple[int, int]], since: float) -> bool:
        """Whether stable's rates in the scrapes that hold the canary's moments are those of each scrape before."""
        if not spans:
            return True
        now = self._counted(
            [(target, index) for target, (first, last) in spans.items() for index in range(first, last + 1)]
        )
        before = [
            [
                (target, first - back)
                for target, (first, _) in spans.items()
                if first - back > 0 and self._stable[target][first - back - 1] > since
            ]
            for back in range(1, SCRAPES_COMPARED + 1)
        ]
        return bool(before[0]) and all(_are_alike(now, self._counted(one)) for one in before)

    def _counted(self, scrapes: Iterable[tuple[str, int]]) -> Arm:
        tally = Tally()
        for target, index in scrapes:
            for one, (_, _, grown) in self._cells[target, self._stable[target][index]]:
                tally.add(one, grown)
        return tally.arm()


def _are_alike(one: Arm, other: Arm) -> bool:
    """Whether all shares of bad requests, failed ones and those above each latency bound, may be the same.

    The difference of Anscombe's arcsine roots, which has a variance close to (1/n + 1/m)/4 for all rates.
    """
    pairs = [((one.errors, one.requests), (other.errors, other.requests))]
    for bound in one.bounds_ms:
        slow, slow_before = one.slower_than(bound), other.slower_than(bound)
        if slow is not None and slow_before is not None:
            pairs.append((slow, slow_before))
    return all(
        abs(_arcsine(*now) - _arcsine(*before)) < STEADY_DEVIATIONS * math.sqrt(1 / now[1] + 1 / before[1]) / 2
        for now, before in pairs
        if now[1] > 0 and before[1] > 0
    )


def _arcsine(bad: int, requests: int) -> float:
    return math.asin(math.sqrt((bad + 3 / 8) / (requests + 3 / 4)))
