"""Raw cumulative counters to true increments, each with the time between two scrapes that it belongs to.

Nothing is extrapolated (Prometheus' ``rate`` and ``increase`` do that, which turns whole requests into fractions and
invents some at the edges).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from modelrelease.judge.samples import Arm, Series

GONE_SCRAPES = 4.0
"""A target without a sample for this many scrape intervals is gone: windows stop waiting for it, and should it come
back its first value is its new zero (what happened in the hole, resets included, cannot be known)."""

ScrapeTimes = dict[str, list[float]]
"""Per target, when any of its series was sampled, ascending, in unix seconds."""

Restarts = Mapping[str, Set[float]]
"""Per target, the scrapes (unix seconds) that were the first of a process that had begun again."""


def scrape_times(series: Iterable[Series]) -> ScrapeTimes:
    times: dict[str, set[float]] = defaultdict(set)
    for one in series:
        times[one.target].update(at for at, value in one.samples if not math.isnan(value))
    return {target: sorted(found) for target, found in times.items() if found}


def restarts(series: Iterable[Series], gone_seconds: float) -> Restarts:
    """Which processes began again, as the counters of their requests show together.

    The one that fell shows it; one that has counted more since than in all the time before does not. Some proxies
    forget single counters, though: where those that did not fall held more before than the others have counted since,
    they went on.
    """
    since: dict[tuple[str, float], float] = defaultdict(float)
    held: dict[tuple[str, float], float] = defaultdict(float)
    for one in series:
        if one.kind != "requests":
            continue
        samples = [sample for sample in one.samples if not math.isnan(sample[1])]
        for (earlier, before), (at, value) in pairwise(samples):
            if at - earlier < gone_seconds and value < before:
                since[one.target, at] += value
            elif at - earlier < gone_seconds:
                held[one.target, at] += before
    found: dict[str, set[float]] = {}
    for (target, at), counted in since.items():
        if held.get((target, at), 0.0) <= counted:
            found.setdefault(target, set()).add(at)
    return found


Increment = tuple[float, float, float]
"""(at, since, grown): what a series grew by after the scrape ``since`` and up to the one ``at``, in unix seconds. Bare,
because each window needs some thousand of them."""


def increments(series: Series, scrapes: ScrapeTimes, restarted: Restarts, gone_seconds: float) -> Iterator[Increment]:
    """One increment per sample of a series.

    A value below the one before is a counter that began again at 0, and so did all others of its target that did so
    with it. A series that was not there before counts from 0 if
    its target was scraped successfully shortly before, because then the scrape showed that it had nothing to count yet
    (the first error of a canary makes a new series); else nobody knows since when it counts.
    """
    began = restarted.get(series.target, frozenset())
    before: tuple[float, float] | None = None
    for at, value in series.samples:
        if math.isnan(value):
            continue
        if before is not None and at - before[0] < gone_seconds:
            goes_on = value >= before[1] and at not in began
            yield at, before[0], value - before[1] if goes_on else value
        else:
            since = _scrape_before(scrapes[series.target], at)
            is_new = at - since < gone_seconds
            yield at, since if is_new else at, value if is_new else 0.0
        before = (at, value)


def _scrape_before(times: list[float], at: float) -> float:
    index = bisect_left(times, at)
    return times[index - 1] if index > 0 else -math.inf


@dataclass(slots=True)
class Tally:
    """Counts of one arm in a stretch of time that is being filled."""

    requests: float = 0.0
    errors: float = 0.0
    timed: float = 0.0
    timed_beyond: float = 0.0
    within: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    within_beyond: dict[float, float] = field(default_factory=lambda: defaultdict(float))
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

    def add_bad_beyond(self, series: Series, increment: float) -> None:
        """Requests that may or may not belong here: those that went bad are taken to, in place of good ones."""
        if series.kind == "requests":
            self.errors += increment if series.is_error else 0.0
            return
        bound = math.inf if series.bound_ms is None else series.bound_ms
        if math.isinf(bound):
            self.timed_beyond += increment
        if not series.is_error:
            self.within_beyond[bound] += increment

    def arm(self) -> Arm:
        """The counts so far. Only bounds that all targets of the arm have can be added up over targets."""
        shared = sorted(set.intersection(*self.bounds.values())) if self.bounds else []
        bounds = tuple(shared) if shared and math.isinf(shared[-1]) else ()
        requests = round(self.requests)
        # Rounded parts of increments may leave a bucket one short of a smaller one: hence the running maximum.
        at_most = tuple(accumulate((self._at_most(bound) for bound in bounds), max))
        return Arm(
            requests=requests,
            errors=min(round(self.errors), requests),
            bounds_ms=bounds,
            at_most=at_most,
            timed=max(round(self.timed), at_most[-1]) if bounds else -1,
        )

    def _at_most(self, bound: float) -> int:
        slow_beyond = self.timed_beyond - self.within_beyond.get(bound, 0.0)
        return max(0, round(self.within[bound] - slow_beyond))
