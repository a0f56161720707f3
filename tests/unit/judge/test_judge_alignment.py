"""Arms that report for themselves, each at its own moment: stable is read at the canary's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from modelrelease.judge import Arm, Settings, Window, begin, enter_step, observe_many, windows
from modelrelease.judge.counters import STEADY_SCRAPES
from modelrelease.judge.samples import ArmName, Series

T = 1_790_000_000.0
SCRAPE, INTERVAL = 15.0, 10.0
Floats = NDArray[np.float64]


def counter(
    arm: ArmName, times: Floats, grown: Floats, *, error: bool = False, bound_ms: float | None = None
) -> Series:
    """A counter of a pod that stands at 100 at the first of ``times``, and grows by ``grown`` to each of the others."""
    values = 100 + np.concatenate(([0.0], np.cumsum(grown)))
    samples = tuple(zip((T + times).tolist(), values.tolist(), strict=True))
    code = "500" if error else "200"
    return Series(arm, f"{arm}-pod", "requests" if bound_ms is None else "bucket", code, error, bound_ms, samples)


def scrapes(phase: float, until: float = 400.0) -> Floats:
    return np.arange(phase - 8 * SCRAPE, until, SCRAPE)


def pod(arm: ArmName, phase: float, grown: float, incident: tuple[float, float] = (0, 0)) -> list[Series]:
    """A pod that answers ``grown`` requests between two scrapes, all of them with 500 during an incident."""
    times = scrapes(phase)
    seconds = np.clip(np.minimum(times[1:], incident[1]) - np.maximum(times[:-1], incident[0]), 0, None)
    bad = np.round(seconds / SCRAPE * grown)
    return [counter(arm, times, grown - bad), counter(arm, times, bad, error=True)]


def read(series: Sequence[Series], until: float, *, after: float = 0.0) -> list[Window]:
    return windows(series, after=T + after, until=T + until, interval_seconds=INTERVAL, scrape_interval_seconds=SCRAPE)


def spans(found: Sequence[Window]) -> list[tuple[float, float]]:
    return [(one.start_seconds - T, one.end_seconds - T) for one in found]


def test_stable_is_read_at_the_moment_of_the_canarys_scrape() -> None:
    """The canary is scraped at -10, 5, 20 and 35 s, stable at -1, 14, 29 and 44 s."""
    times = scrapes(14)
    stable = counter("stable", times, np.where(times[1:] < 14, 150.0, 300.0))
    found = read([stable, *pod("canary", 5, 30)], 60)
    assert [(0, 20), (20, 40), (40, 50)] == spans(found)
    assert [60, 30, 30] == [one.canary.requests for one in found]
    assert [90 + 300 + 120, 300, 300] == [one.stable.requests for one in found]


def test_a_window_waits_for_the_scrape_that_tells_what_stable_counted() -> None:
    series = [*pod("stable", 14, 150), *pod("canary", 5, 30)]
    known = [replace(one, samples=tuple(sample for sample in one.samples if sample[0] <= T + 28)) for one in series]
    assert [] == read(known, 28)
    assert [(0, 20)] == spans(read(series, 28))


def test_a_scrape_that_is_stored_in_part_is_waited_for() -> None:
    good, bad = pod("stable", 14, 150)
    late = replace(bad, samples=tuple(sample for sample in bad.samples if sample[0] <= T + 28))
    assert [] == read([good, late, *pod("canary", 5, 30)], 28)


def test_no_window_ends_while_stables_rates_change() -> None:
    """From 72 s on everything fails for 30 s: both arms are compared over the whole of it."""
    times = (72, 102)
    found = read([*pod("stable", 12, 1500, times), *pod("canary", 4, 1500, times)], 250)
    (seen,) = (one for one in found if one.canary.errors)
    assert (3000, 3000) == (seen.canary.errors, seen.stable.errors)
    assert seen.start_seconds - T <= times[0]
    assert times[1] <= seen.end_seconds - T
    assert seen.canary.requests == pytest.approx(seen.stable.requests, abs=1)
    assert not any(one.stable.errors for one in found if one is not seen)


def test_latencies_that_change_keep_a_window_open_too() -> None:
    times = scrapes(12)
    slow = np.where((times[1:] > 60) & (times[1:] < 100), 700.0, 10.0)
    stable = [
        counter("stable", times, np.full(len(slow), 1000.0)),
        counter("stable", times, 1000 - slow, bound_ms=100.0),
        counter("stable", times, np.full(len(slow), 1000.0), bound_ms=math.inf),
    ]
    found = read([*stable, *pod("canary", 4, 1000)], 250)
    slow_requests = [(one.stable.slower_than(100.0) or (0, 0))[0] for one in found]
    assert max(slow_requests) >= 2 * 700
    assert all(seen <= 21 for seen in slow_requests if seen != max(slow_requests))


def test_what_changes_for_long_is_judged_with_all_of_stables_bad_requests_that_may_belong_to_it() -> None:
    """Stable fails now more, now less, and the canary not at all; no window is later than announced."""
    times = scrapes(12)
    bad = np.where(np.arange(len(times) - 1) % 2, 600.0, 100.0)
    stable = [counter("stable", times, 1500 - bad), counter("stable", times, bad, error=True)]
    found = read([*stable, *pod("canary", 4, 1500)], 350)
    assert len(found) > 1
    longest = INTERVAL + STEADY_SCRAPES * SCRAPE + INTERVAL + SCRAPE
    assert all(end - start <= longest for start, end in spans(found))
    lasted = sum(end - start for start, end in spans(found))
    assert sum(one.stable.errors for one in found) > 1.1 * lasted / SCRAPE * 350
    assert sum(one.stable.requests for one in found) == pytest.approx(lasted / SCRAPE * 1500, rel=0.05)


def test_a_canary_that_fails_alone_holds_nothing_up() -> None:
    found = read([*pod("stable", 12, 1500), *pod("canary", 4, 1500, (72, 400))], 250)
    quiet = read([*pod("stable", 12, 1500), *pod("canary", 4, 1500)], 250)
    assert spans(quiet) == spans(found)


def test_one_clock_for_both_arms_needs_no_reading_in_between() -> None:
    """A gateway's scrapes show both arms at once: its increments are never divided, nor held back by an incident."""
    series = [replace(one, target="gateway") for arm in ("stable", "canary") for one in pod(arm, 12, 1500, (72, 102))]
    found = read(series, 250)
    assert {1500} == {one.stable.requests for one in found}
    assert [one.stable for one in found] == [one.canary for one in found]


@pytest.mark.parametrize("seed", range(6))
def test_windows_are_the_same_in_any_pieces(seed: int) -> None:
    rng = np.random.default_rng(seed)
    phases, begins = rng.uniform(0, SCRAPE, 2).round(3), float(rng.uniform(60, 120))
    times = (begins, begins + float(rng.uniform(20, 90)))
    series = [*pod("stable", float(phases[0]), 600, times), *pod("canary", float(phases[1]), 200, times)]
    whole = read(series, 300)
    cursor, found = 0.0, list[Window]()
    for now in range(0, 340, int(rng.integers(3, 25))):
        known = [
            replace(
                one, samples=tuple(sample for sample in one.samples if T + cursor - 5 * SCRAPE < sample[0] <= T + now)
            )
            for one in series
        ]
        found += read(known, min(now, 300), after=cursor)
        cursor = found[-1].end_seconds - T if found else 0.0
    assert whole == found
    covered = found[-1].end_seconds - T
    assert sum(one.stable.requests for one in found) == pytest.approx(600 * covered / SCRAPE, abs=700)


class Incidents:
    """Releases of an identical canary at half of 200 to 500 requests/s, with an incident of one to two minutes that
    fails 20 to 100 % of all requests; one pod per arm, each scraped every 15 s at a moment of its own."""

    def __init__(self, count: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._settings = Settings(weights=(50, 100), interval_seconds=INTERVAL)
        self.seen = [self._windows() for _ in range(count)]

    def _windows(self) -> list[Series]:
        rng = self._rng
        begins = rng.uniform(60, 75)
        ends, rate, share = begins + rng.uniform(60, 120), rng.uniform(100, 250), rng.uniform(0.2, 1)
        series: list[Series] = []
        for arm in ("stable", "canary"):
            times = scrapes(rng.uniform(0, SCRAPE), 300)
            failing = np.clip(np.minimum(times[1:], ends) - np.maximum(times[:-1], begins), 0, None) / SCRAPE
            requests = rng.poisson(rate * SCRAPE, len(failing))
            bad = rng.binomial(requests, 0.005 + failing * (share - 0.005))
            series += [counter(arm, times, requests - bad), counter(arm, times, bad, error=True)]
        return series

    def suspected(self, *, one_clock: bool) -> float:
        """Share of releases with evidence against the canary (a purse of more than √e) at any time.

        With ``one_clock`` both arms are taken for one target's.
        """
        read_windows = [
            read([replace(one, target="gateway") for one in series] if one_clock else series, 280)
            for series in self.seen
        ]
        before = Window(T - 600, T - 590, Arm(12_000, 60), Arm(0, 0))
        state = begin(self._settings, at_seconds=T, baseline=[before])
        states = [enter_step(state, self._settings, step=0, at_seconds=T)] * len(self.seen)
        highest = np.zeros(len(self.seen))
        for index in range(max(map(len, read_windows))):
            due = [number for number, found in enumerate(read_windows) if index < len(found)]
            judged = observe_many([(states[number], self._settings, read_windows[number][index]) for number in due])
            for number, after in zip(due, judged, strict=True):
                states[number] = after
                highest[number] = max(highest[number], after.errors.concurrent.log_evidence)
        return float(np.mean(highest > 0.5))


def test_an_incident_of_everybody_is_not_blamed_on_the_arm_that_is_scraped_first() -> None:
    """What the same samples give if the moments of the scrapes are not looked at shows that the test can fail."""
    incidents = Incidents(300, seed=8)
    assert incidents.suspected(one_clock=False) <= 0.01
    assert incidents.suspected(one_clock=True) > 0.04
