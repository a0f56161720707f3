"""(g) Counters to windows: true totals through resets, churn, late and missing scrapes; the same in any pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from modelrelease.judge.alignment import LOOKBACK_SCRAPES
from modelrelease.judge.counters import windows
from modelrelease.judge.increments import GONE_SCRAPES
from modelrelease.judge.samples import ArmName, Series, Window

T = 1_790_000_000.0
Samples = Sequence[tuple[float, float]]


def requests(
    arm: ArmName, samples: Samples, *, code: str = "200", target: str = "gateway", error: bool = False
) -> Series:
    moved = tuple((T + at, value) for at, value in samples)
    return Series(arm, target, "requests", code, error, None, moved)


def bucket(
    arm: ArmName, bound_ms: float, samples: Samples, *, code: str = "200", target: str = "gateway", error: bool = False
) -> Series:
    return replace(requests(arm, samples, code=code, target=target, error=error), kind="bucket", bound_ms=bound_ms)


def counter(per_scrape: float, until: int, *, since: int = -10, step: int = 1, zero: float = 0.0) -> Samples:
    return [(at, zero + per_scrape * index) for index, at in enumerate(range(since, until + 1, step))]


def read(
    series: Sequence[Series], until: float, *, after: float = 0, interval: float = 1, scrape: float = 1
) -> list[Window]:
    return windows(series, after=T + after, until=T + until, interval_seconds=interval, scrape_interval_seconds=scrape)


def spans(found: Sequence[Window]) -> list[tuple[float, float]]:
    return [(one.start_seconds - T, one.end_seconds - T) for one in found]


def test_steady_counters_give_their_increments() -> None:
    series = [requests("stable", counter(40, 5)), requests("canary", counter(10, 5))]
    found = read(series, 5)
    assert [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)] == spans(found)
    assert [40] * 5 == [one.stable.requests for one in found]
    assert [10] * 5 == [one.canary.requests for one in found]


def test_the_first_error_of_a_canary_that_fails_always_is_counted_from_zero() -> None:
    """A canary that answers nothing but 5xx is never without data: its series begins with its first error."""
    failing = requests("canary", [(2, 10), (3, 20)], code="503", error=True)
    found = read([requests("stable", counter(40, 3)), failing], 3)
    assert [0, 10, 10] == [one.canary.errors for one in found]
    assert [0, 10, 10] == [one.canary.requests for one in found]


def test_a_target_never_scraped_before_counts_from_its_first_value() -> None:
    """Its counter may be a week old: nobody knows when these requests were."""
    old = requests("canary", [(2, 5000), (3, 5010)], target="pod-a")
    found = read([requests("stable", counter(40, 3)), old], 3)
    assert [0, 0, 10] == [one.canary.requests for one in found]


def test_a_reset_counts_from_zero() -> None:
    reset = requests("canary", [(0, 990), (1, 1000), (2, 7), (3, 17)])
    found = read([requests("stable", counter(40, 3)), reset], 3)
    assert [10, 7, 10] == [one.canary.requests for one in found]


def test_a_restart_that_one_counter_shows_holds_for_all_of_the_process() -> None:
    """The new process has failed more often than the one before: five errors, not two more."""
    canary = [
        requests("canary", [(-1, 80), (0, 90), (1, 20), (2, 30)]),
        requests("canary", [(-1, 3), (0, 3), (1, 5), (2, 5)], code="500", error=True),
        bucket("canary", math.inf, [(-1, 3), (0, 3), (1, 5), (2, 5)], code="500", error=True),
    ]
    found = read([requests("stable", counter(40, 2), target="pod-s"), *canary], 2)
    assert [5, 0] == [one.canary.errors for one in found]
    assert [25, 10] == [one.canary.requests for one in found]
    assert [5, 0] == [one.canary.timed for one in found]


def test_a_counter_that_its_proxy_forgot_is_no_restart() -> None:
    """Else all that the others had counted since the proxy began would be taken for requests of this moment."""
    canary = [
        requests("canary", [(-1, 100_000), (0, 100_010), (1, 100_020)]),
        requests("canary", [(-1, 7), (0, 7), (1, 2)], code="500", error=True),
    ]
    found = read([requests("stable", counter(40, 1), target="pod-s"), *canary], 1)
    assert [(12, 2)] == [(one.canary.requests, one.canary.errors) for one in found]


def test_a_series_that_was_not_in_the_scrapes_before_counts_from_zero_again() -> None:
    """A scrape is stored as a whole: what it does not show had nothing to count, however long ago it last had."""
    errors = requests("canary", [(-4, 3), (3, 5), (4, 6)], code="500", error=True)
    found = read([requests("stable", counter(40, 4)), requests("canary", counter(10, 4)), errors], 4)
    assert [0, 0, 5, 1] == [one.canary.errors for one in found]


def test_a_late_scrape_extends_the_window_for_both_arms() -> None:
    stable = [requests("stable", counter(40, 4), target="pod-s")]
    late = requests("canary", [(-1, 0), (0, 10), (1, 20), (3, 40), (4, 50)], target="pod-c")
    found = read([*stable, late], 4)
    assert [(0, 1), (1, 3), (3, 4)] == spans(found)
    assert [10, 20, 10] == [one.canary.requests for one in found]
    assert [40, 80, 40] == [one.stable.requests for one in found]


def test_a_target_that_is_gone_does_not_block_for_ever() -> None:
    gone = requests("stable", counter(40, 3), target="pod-a")
    stays = requests("stable", counter(40, 20), target="pod-b")
    canary = requests("canary", counter(10, 20), target="pod-c")
    found = read([gone, stays, canary], 20)
    assert spans(found)[-1] == (19, 20)
    assert spans(found)[3] == (3, 3 + GONE_SCRAPES)
    assert sum(one.stable.requests for one in found) == 40 * 3 + 40 * 20
    assert sum(one.canary.requests for one in found) == 10 * 20


def test_a_target_that_comes_back_after_a_hole_begins_at_its_value() -> None:
    hole = requests("canary", [(-1, 0), (0, 10), (1, 20), (15, 500), (16, 510)], target="pod-c")
    found = read([requests("stable", counter(40, 16), target="pod-s"), hole], 16)
    assert sum(one.canary.requests for one in found) == 20


def test_no_samples_no_windows_and_then_one_long_one() -> None:
    """Prometheus was away: nothing is invented, and what happened in the hole is not judged."""
    times = [*range(-5, 3), *range(20, 24)]
    series = [requests(arm, [(at, 10 * at + 100) for at in times]) for arm in ("stable", "canary")]
    assert [(0, 1), (1, 2)] == spans(read(series, 15))
    assert [(0, 1), (1, 2), (2, 20), (20, 21)] == spans(read(series, 21))
    assert [10, 10, 0, 10] == [one.canary.requests for one in read(series, 21)]


def test_scrapes_rarer_than_the_grid() -> None:
    """15 s scrapes at different times on a 10 s grid: each window has a scrape of each target."""
    series = [
        requests("stable", [(at, 40 * at) for at in range(-57, 130, 15)], target="pod-s"),
        requests("canary", [(at, 10 * at) for at in range(-50, 130, 15)], target="pod-c"),
    ]
    found = read(series, 120, interval=10, scrape=15)
    assert all(one.stable.requests > 0 and one.canary.requests > 0 for one in found)
    assert found[-1].end_seconds - T >= 110
    assert sum(one.canary.requests for one in found) == 10 * (115 - -5)


def test_pod_churn_gives_true_totals() -> None:
    """Pods come and go; what was counted while they were scraped adds up exactly."""
    series, total = [], 0
    for index in range(6):
        since, until = 10 * index - 5, 10 * index + 12
        pod = requests("canary", [(at, 1000 + 3 * (at - since)) for at in range(since, until)], target=f"pod-{index}")
        total += 3 * sum(1 for at in range(since + 1, until) if at > 0)
        series.append(pod)
    found = read([requests("stable", counter(40, 80), target="pod-s"), *series], 80)
    assert sum(one.canary.requests for one in found) == total
    assert found[-1].end_seconds == T + 80


def test_buckets_with_codes_hold_successes_and_time_all() -> None:
    samples_ok, samples_bad = counter(8, 1, since=-1), counter(2, 1, since=-1)
    series = [
        requests("stable", counter(40, 1, since=-1)),
        requests("canary", samples_ok),
        requests("canary", samples_bad, code="500", error=True),
        *(bucket("canary", bound, samples_ok) for bound in (100.0, math.inf)),
        *(bucket("canary", bound, samples_bad, code="500", error=True) for bound in (100.0, math.inf)),
    ]
    (found,) = read(series, 1)
    assert (100.0, math.inf) == found.canary.bounds_ms
    assert (8, 8) == found.canary.at_most
    assert (2, 10) == found.canary.slower_than(100.0)


def test_buckets_without_codes_hold_everything() -> None:
    series = [
        requests("stable", counter(40, 1, since=-1)),
        requests("canary", counter(10, 1, since=-1)),
        bucket("canary", 100.0, counter(9, 1, since=-1), code=""),
        bucket("canary", math.inf, counter(10, 1, since=-1), code=""),
    ]
    (found,) = read(series, 1)
    assert (1, 10) == found.canary.slower_than(100.0)


def test_only_bounds_that_all_targets_have_are_added_up() -> None:
    one, two = counter(1, 1, since=-1), counter(2, 1, since=-1)
    series = [
        bucket("canary", 100.0, one, target="a"),
        bucket("canary", math.inf, two, target="a"),
        bucket("canary", math.inf, two, target="b"),
    ]
    (found,) = read(series, 1)
    assert (math.inf,) == found.canary.bounds_ms
    assert (4,) == found.canary.at_most


def test_staleness_marks_are_skipped() -> None:
    series = [
        requests("stable", counter(40, 3)),
        requests("canary", [(-1, 0.0), (0, 10.0), (1, math.nan), (2, 30.0), (3, 40.0)]),
    ]
    found = read(series, 3)
    assert sum(one.canary.requests for one in found) == 30


@pytest.mark.parametrize("interval", [0.1, 1.0, 2.5, 10.0])
def test_the_grid_is_the_same_in_pieces(interval: float) -> None:
    series = [requests("stable", [(at / 10, float(at + 100)) for at in range(-20, 400)])]
    whole = read(series, 39, interval=interval, scrape=0.1)
    cursor, pieces = T, []
    while found := windows(
        series, after=cursor, until=cursor + interval, interval_seconds=interval, scrape_interval_seconds=0.1
    ):
        pieces += found
        cursor = found[-1].end_seconds
    assert whole == pieces[: len(whole)]
    assert len(whole) > 2


def test_what_the_lookback_must_hold_is_named() -> None:
    assert LOOKBACK_SCRAPES > GONE_SCRAPES


def test_targets_that_are_never_up_to_date_together_do_not_hold_up_the_release() -> None:
    """Three overloaded pods, each answers every third scrape: windows close after the time a lost target would take."""
    pods = [
        requests("stable", [(at, 10 * at + 100) for at in range(-9 + pod, 61, 3)], target=f"pod-{pod}")
        for pod in range(3)
    ]
    found = read(pods, 60)
    assert {1 + GONE_SCRAPES} == {end - start for start, end in spans(found)}
    assert found[-1].end_seconds == T + 60
