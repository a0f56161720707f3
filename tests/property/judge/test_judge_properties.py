"""The judge under generated histories: totals, pieces, restarts, extremes."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modelrelease.judge import (
    Arm,
    ErrorTolerance,
    LatencyTolerance,
    Series,
    Settings,
    State,
    Window,
    assess,
    begin,
    enter_step,
    observe,
    seconds_to_gate,
    skip_to,
    windows,
)
from modelrelease.judge.samples import ArmName

T = 1_790_000_000.0
BOUNDS = (50.0, 100.0, math.inf)
JUDGED = Settings(
    errors=ErrorTolerance(ceiling=0.2), latency=LatencyTolerance(ceiling_ms=90.0), weights=(1, 20, 50, 100)
)

counts = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 10**9))


@st.composite
def arms(draw: st.DrawFn) -> Arm:
    requests = draw(counts)
    errors = draw(st.one_of(st.just(0), st.just(requests), st.integers(0, requests)))
    good = requests - errors
    fast = draw(st.integers(0, good))
    return Arm(requests, errors, BOUNDS, (draw(st.integers(0, fast)), fast, good))


@st.composite
def releases(draw: st.DrawFn) -> tuple[State, list[Window]]:
    """A release in some step, and windows to come."""
    history = [
        Window(T - 10 * (index + 1), T - 10 * index, arm, Arm(0, 0))
        for index, arm in enumerate(draw(st.lists(arms(), max_size=4)))
    ][::-1]
    state = begin(JUDGED, at_seconds=T, baseline=history)
    state = enter_step(state, JUDGED, step=draw(st.integers(0, 3)), at_seconds=T)
    pairs = draw(st.lists(st.tuples(arms(), arms()), max_size=8))
    seen = [Window(T + 10 * i, T + 10 * i + 10, *pair) for i, pair in enumerate(pairs)]
    if not draw(st.booleans()):
        return state, seen
    left = T + 10 * draw(st.integers(1, 4))  # in the last ones of these windows another step has begun
    state = enter_step(state, JUDGED, step=draw(st.integers(0, 3)), at_seconds=left + 10, left_seconds=left)
    return state, [window for window in seen if window.start_seconds != left]


def stored(state: State) -> State:
    return State.from_json(json.loads(json.dumps(state.to_json(), allow_nan=False)))


@given(releases())
def test_whatever_is_seen_the_assessment_is_made_of_numbers(release: tuple[State, list[Window]]) -> None:
    """(h)"""
    state, seen = release
    for window in seen:
        state = observe(state, JUDGED, window)
        found = assess(state, JUDGED)
        assert found.rollback is (found.blame is not None)
        assert not (found.rollback and found.gate_passed)
        for metric in found.metrics:
            assert 0.0 <= metric.rollback_evidence <= 1.0
            assert 0.0 <= metric.promotion_evidence <= 1.0
            for value in (metric.stable_value, metric.canary_value):
                assert value is None or 0.0 <= value <= 1.0
            for p99_ms in (metric.stable_p99_ms, metric.canary_p99_ms):
                assert p99_ms is None or 0.0 <= p99_ms <= 100.0
        left = seconds_to_gate(state, JUDGED, canary_rps=1.0, stable_rps=10.0)
        assert left is None or left >= 0.0
        logs = [*state.errors.concurrent.logs, *state.latency.concurrent.logs, *state.errors.gate]
        assert np.isfinite(logs).all()


@given(releases(), st.data())
def test_a_restart_anywhere_changes_nothing(release: tuple[State, list[Window]], data: st.DataObject) -> None:
    """(f)"""
    state, seen = release
    cut = data.draw(st.integers(0, len(seen)))
    again_from = data.draw(st.integers(0, cut))
    for window in seen[:cut]:
        state = observe(state, JUDGED, window)
    restarted = stored(state)
    assert state == restarted
    for window in seen[cut:]:
        state = observe(state, JUDGED, window)
    for window in seen[again_from:]:
        restarted = observe(restarted, JUDGED, window)
    assert state == restarted


@given(releases(), arms(), arms())
def test_one_more_canary_error_never_helps_the_canary(
    release: tuple[State, list[Window]], stable: Arm, canary: Arm
) -> None:
    """(e) with everything else the same."""
    state, seen = release
    for window in seen:
        state = observe(state, JUDGED, window)
    if canary.errors == canary.requests:
        return
    worse = replace(canary, errors=canary.errors + 1, timed=canary.timed)
    pair = [
        observe(state, JUDGED, Window(state.cursor_seconds, state.cursor_seconds + 10, stable, x))
        for x in (replace(canary, timed=canary.timed), worse)
    ]
    assert pair[0].errors.concurrent.log_evidence <= pair[1].errors.concurrent.log_evidence
    for better_log, worse_log in zip(pair[0].errors.gate, pair[1].errors.gate, strict=True):
        assert better_log >= worse_log


@given(releases(), st.floats(0, 1000))
def test_the_cursor_never_goes_back(release: tuple[State, list[Window]], offset: float) -> None:
    state, seen = release
    for window in seen:
        state = observe(state, JUDGED, window)
    before = state.cursor_seconds
    assert before <= skip_to(state, at_seconds=T + offset).cursor_seconds
    assert before <= enter_step(state, JUDGED, step=1, at_seconds=T + offset).cursor_seconds


def scraped(seed: int) -> tuple[list[Series], dict[str, list[tuple[float, int]]]]:
    """A gateway and pods with jitter, missed scrapes, resets and late series; and per arm what truly happened when.

    A process that begins again takes all its counters with it. None of them is above the value before: that could not
    be told from one that grew.
    """
    rng = np.random.default_rng(seed)
    series: list[Series] = []
    truth: dict[str, list[tuple[float, int]]] = {"stable": [], "canary": []}
    arms: tuple[ArmName, ...] = ("stable", "canary")
    for target in range(rng.integers(1, 4)):
        phase = round(float(rng.uniform(0, 0.9)), 3)
        missed = rng.random(40) < rng.choice([0.0, 0.1, 0.4])
        times = [T + number + phase for number in range(-8, 30) if not (missed[number + 8] and not missed[number + 9])]
        first = {arm: 0 if arm == "stable" else int(rng.choice([0, 5, 12])) for arm in arms}
        values = {arm: int(rng.integers(0, 1000)) if first[arm] == 0 else 0 for arm in arms}
        samples: dict[ArmName, list[tuple[float, float]]] = {arm: [] for arm in arms}
        for index, at in enumerate(times):
            grown = {arm: int(rng.integers(0, 20)) for arm in arms if index >= first[arm]}
            reset = rng.random() < 0.1 and all(grown[arm] < values[arm] for arm in grown)
            for arm, more in grown.items():
                values[arm] = more if reset else values[arm] + more
                samples[arm].append((at, float(values[arm])))
                if index > 0 and at > T:
                    truth[arm].append((at, more))
        series += [Series(arm, f"t{target}", "requests", "200", False, None, tuple(samples[arm])) for arm in arms]
    return series, truth


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 8), max_size=30), st.sampled_from([1.0, 2.0, 5.0]))
def test_windows_are_true_totals_and_the_same_in_any_pieces(seed: int, pieces: list[int], interval: float) -> None:
    """(g) and the bit-for-bit part of (f): tick by tick and in one go give the same windows."""
    series, truth = scraped(seed)
    whole = windows(series, after=T, until=T + 30, interval_seconds=interval, scrape_interval_seconds=1.0)
    cursor, now, found = T, T, []
    for piece in [*pieces, 30]:
        now = min(now + piece, T + 30)
        known = [
            replace(one, samples=tuple(sample for sample in one.samples if cursor - 5 <= sample[0] <= now))
            for one in series
        ]
        new = windows(known, after=cursor, until=now, interval_seconds=interval, scrape_interval_seconds=1.0)
        found += new
        cursor = new[-1].end_seconds if new else cursor
    assert whole == found
    ends = [window.end_seconds for window in whole]
    assert [T, *ends[:-1]] == [window.start_seconds for window in whole] or not whole
    if whole:
        for arm in ("stable", "canary"):
            total = sum(grown for at, grown in truth[arm] if at <= ends[-1])
            assert total == sum(getattr(window, arm).requests for window in whole)
