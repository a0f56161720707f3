"""A release, window by window: what the judge must notice, must not notice, and must remember."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from modelrelease.judge import (
    Arm,
    ErrorTolerance,
    LatencyTolerance,
    Settings,
    State,
    Window,
    assess,
    begin,
    enter_step,
    history_shortfall,
    native_bounds,
    observe,
    observe_many,
    seconds_to_gate,
    skip_to,
)

T = 1_790_000_000.0
BOUNDS = (25.0, 50.0, 100.0, 250.0, 500.0, math.inf)
SECONDS = Settings(interval_seconds=1.0)


def arm(requests: int, errors: int = 0, slow: int = 0) -> Arm:
    """Latencies: most below 50 ms, ``slow`` of the successful ones above 100 ms."""
    good = requests - errors
    slow = min(slow, good)
    return Arm(requests, errors, BOUNDS, (good // 3, good - slow - (good - slow) // 10, good - slow, good, good, good))


def window(at: float, stable: Arm, canary: Arm, length: float = 1.0) -> Window:
    return Window(at, at + length, stable, canary)


def history(seconds: int = 600, rps: int = 50, errors: int = 0, slow: int = 1) -> list[Window]:
    return [
        window(T - seconds + at, arm(rps, errors if at % 10 == 0 else 0, slow if at % 2 == 0 else 0), arm(0))
        for at in range(seconds)
    ]


def started(settings: Settings = SECONDS, step: int = 2, **past: int) -> State:
    state = begin(settings, at_seconds=T, baseline=history(**past))
    return enter_step(state, settings, step=step, at_seconds=T)


def healthy(state: State, settings: Settings, seconds: int, rps: int = 50) -> State:
    """Both arms alike: no errors, 1 % of the requests slow."""
    canary = rps * settings.weights[state.step] // 100
    rng = np.random.default_rng(int(state.cursor_seconds))
    for _ in range(seconds):
        slow = rng.binomial((rps - canary, canary), 0.01)
        seen = arm(rps - canary, 0, int(slow[0])), arm(canary, 0, int(slow[1]))
        state = observe(state, settings, window(state.cursor_seconds, *seen))
    return state


def failing(state: State, settings: Settings, count: int, failed: int) -> State:
    """After so many windows in which all of the canary's requests fail."""
    for _ in range(count):
        state = observe(state, settings, window(state.cursor_seconds, arm(4 * failed), arm(failed, failed)))
    return state


def failures_until_rollback(state: State, settings: Settings) -> int:
    """Failed canary requests in each of two windows, with stable serving four times as many without an error."""
    for failed in range(1, 200):
        if assess(failing(state, settings, 2, failed), settings).rollback:
            return failed
    return 200


def test_an_outage_at_twenty_percent_is_seen_after_a_few_requests() -> None:
    """20 %, 50 rps, 1 s windows, stable without an error in 30,000 requests: two windows of 10 are enough."""
    assert failures_until_rollback(started(), SECONDS) <= 6
    assert not assess(failing(started(), SECONDS, 1, 10), SECONDS).rollback
    assert "errors" == assess(failing(started(), SECONDS, 2, 10), SECONDS).blame


def test_an_outage_after_ten_good_minutes_is_seen_within_two_windows() -> None:
    assert failures_until_rollback(healthy(started(), SECONDS, 600), SECONDS) <= 10


def test_a_slow_canary_is_blamed_for_latency() -> None:
    state = started()
    for _ in range(20):
        state = observe(state, SECONDS, window(state.cursor_seconds, arm(40, 0, 0), arm(10, 0, 6)))
    found = assess(state, SECONDS)
    assert found.rollback
    assert "latency" == found.blame


def test_an_identical_canary_passes_each_gate_and_is_not_rolled_back() -> None:
    state = begin(SECONDS, at_seconds=T, baseline=history())
    for step in range(4):
        state = enter_step(state, SECONDS, step=step, at_seconds=state.cursor_seconds)
        assert not assess(state, SECONDS).gate_passed
        share = SECONDS.weights[step] / 100
        expected = seconds_to_gate(state, SECONDS, canary_rps=200 * share, stable_rps=200 * (1 - share))
        assert expected is not None
        waited = 0
        while not assess(state, SECONDS).gate_passed:
            state, waited = healthy(state, SECONDS, 10, rps=200), waited + 10
            assert waited < 4 * expected + 60
        assert not assess(state, SECONDS).rollback
    assert assess(enter_step(state, SECONDS, step=4, at_seconds=state.cursor_seconds), SECONDS).gate_passed


def test_a_wide_tolerance_does_not_hold_up_the_first_gate() -> None:
    """Three times the P99 is tolerated, and 40 % harm at 5 %: the tolerated share of slow requests is above 1."""
    wide = Settings(interval_seconds=1.0, harm_budget=0.02, latency=LatencyTolerance(max_ratio=3.0))
    young = [window(T - 30 + at, Arm(10, 0, BOUNDS, (0, 0, 10 - at % 2, 10, 10, 10)), arm(0)) for at in range(30)]
    state = enter_step(begin(wide, at_seconds=T, baseline=young), wide, step=0, at_seconds=T)
    assert state.latency.bound_ms == 100.0
    assert state.latency.ratio * 15 / 300 + 0.4 > 1
    for _ in range(20):
        at = state.cursor_seconds
        state = observe(state, wide, window(at, Arm(99, 0, BOUNDS, (0, 0, 94, 99, 99, 99)), arm(1)))
    assert assess(state, wide).gate_passed
    fresh = enter_step(begin(wide, at_seconds=T, baseline=young), wide, step=0, at_seconds=T)
    expected = seconds_to_gate(fresh, wide, canary_rps=1.0, stable_rps=99.0)
    assert expected is not None
    assert expected < 20


@pytest.mark.parametrize("requests", [0, 25, 199])
def test_a_young_stable_is_short_of_history(requests: int) -> None:
    state = begin(SECONDS, at_seconds=T, baseline=[window(T - 1, arm(requests), arm(0))])
    assert 200 - requests == history_shortfall(state)
    waited = observe(state, SECONDS, window(T, arm(1000, 0, 10), arm(0)))
    assert 0 == history_shortfall(waited)
    assert waited.latency.bound_ms is None
    assert 100.0 == enter_step(waited, SECONDS, step=0, at_seconds=T + 1).latency.bound_ms


def test_no_history_is_waited_for_where_there_are_no_latencies() -> None:
    state = begin(SECONDS, at_seconds=T, baseline=[window(T - 1, Arm(300, 0), Arm(0, 0))])
    assert 0 == history_shortfall(state)
    assert 0.1 == enter_step(state, SECONDS, step=0, at_seconds=T).latency_share


def test_replay_is_a_no_op_and_an_overlap_is_refused() -> None:
    """(f)"""
    state = healthy(started(), SECONDS, 5)
    assert state is observe(state, SECONDS, window(T + 2, arm(40, 9), arm(10, 10)))
    with pytest.raises(ValueError, match="cursor"):
        observe(state, SECONDS, window(T + 4, arm(40), arm(10), length=2.0))


@pytest.mark.parametrize("step", [-1, 0, 2, 4])
def test_a_state_survives_json_bit_for_bit(step: int) -> None:
    """(f) also through a store that writes whole floats as integers; and it stays below 1 KiB."""
    settings = replace(SECONDS, errors=ErrorTolerance(ceiling=0.05), latency=LatencyTolerance(ceiling_ms=240.0))
    state = begin(settings, at_seconds=T, baseline=history(errors=1))
    if step >= 0:
        state = healthy(enter_step(state, settings, step=0, at_seconds=T), settings, 30)
        state = healthy(enter_step(state, settings, step=step, at_seconds=T + 30), settings, 200)
    stored = json.dumps(state.to_json(), separators=(",", ":"), allow_nan=False)
    assert state == State.from_json(json.loads(stored))
    as_integers = json.loads(
        stored, parse_float=lambda text: int(float(text)) if float(text).is_integer() else float(text)
    )
    assert state == State.from_json(as_integers)


def test_the_state_of_a_long_release_is_below_a_kibibyte() -> None:
    state = healthy(
        enter_step(healthy(started(errors=1), SECONDS, 100), SECONDS, step=3, at_seconds=T + 300), SECONDS, 300, rps=500
    )
    assert len(json.dumps(state.to_json(), separators=(",", ":"))) < 1024
    baking = healthy(enter_step(state, SECONDS, step=4, at_seconds=state.cursor_seconds), SECONDS, 100)
    assert len(json.dumps(baking.to_json(), separators=(",", ":"))) < 1024


ISTIO_MS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6, math.inf)
BUCKETS = {
    "Istio's": tuple(map(float, ISTIO_MS)),
    "native, in seconds": (*native_bounds(1.0, 65_536.0, unit_ms=1000.0), math.inf),
    "x 1.25": (*(round(5 * 1.25**power, 1) for power in range(32)), math.inf),
}


@pytest.mark.parametrize("bounds", BUCKETS.values(), ids=BUCKETS)
@pytest.mark.parametrize("rps", [50, 1_000_000])
@pytest.mark.parametrize("spread", [0.6, 1.5])
def test_also_with_many_buckets_both_ceilings_and_millions_of_requests(
    bounds: tuple[float, ...], rps: int, spread: float
) -> None:
    """Log-normal latencies around 60 ms."""
    limited = replace(SECONDS, errors=ErrorTolerance(ceiling=0.2), latency=LatencyTolerance(ceiling_ms=900.0))
    within = ndtr(np.log(np.array(bounds) / 60) / spread)

    def many(requests: int) -> Arm:
        served = requests - requests // 200
        return Arm(requests, requests - served, bounds, tuple(int(count) for count in np.round(served * within)))

    state = begin(limited, at_seconds=T, baseline=[window(T - 1, many(600 * rps), Arm(0, 0))])
    for step, weight in enumerate(limited.weights):
        state = enter_step(state, limited, step=step, at_seconds=state.cursor_seconds)
        for _ in range(20):
            seen = many(rps * (100 - weight) // 100), many(rps * weight // 100)
            state = observe(state, limited, window(state.cursor_seconds, *seen))
        text = json.dumps(state.to_json(), separators=(",", ":"))
        assert len(text) < 1024
        assert state == State.from_json(json.loads(text))


def test_a_restart_from_a_checkpoint_reaches_the_same_state() -> None:
    """(f)"""
    rng = np.random.default_rng(4)
    seen = [
        window(
            T + at,
            arm(40, int(rng.binomial(40, 0.01)), int(rng.binomial(30, 0.01))),
            arm(10, int(rng.binomial(10, 0.01))),
        )
        for at in range(100)
    ]
    state = started()
    for one in seen[:40]:
        state = observe(state, SECONDS, one)
    restarted = State.from_json(json.loads(json.dumps(state.to_json())))
    for one in seen[40:]:
        state = observe(state, SECONDS, one)
    for one in seen[20:]:
        restarted = observe(restarted, SECONDS, one)
    assert state == restarted


@pytest.mark.parametrize(
    "damage",
    [
        {"v": 3},
        {"at": "x"},
        {"step": None},
        {"packed": None},
        {"packed": 7},
        {"packed": ""},
        {"packed": "not packed"},
        {"packed": "c-pO6"},
        {"packed": "é"},
        {"next": [1]},
    ],
)
def test_a_damaged_state_is_refused(damage: dict[str, object]) -> None:
    stored = started().to_json()
    assert started() == State.from_json(stored)
    with pytest.raises(ValueError):  # noqa: PT011 the message depends on where the damage is
        State.from_json(stored | damage)


def test_a_state_that_lacks_something_is_refused() -> None:
    whole = started().to_json()
    for name in whole:
        with pytest.raises(ValueError, match="state"):
            State.from_json({key: value for key, value in whole.items() if key != name})


def test_what_happens_in_a_window_does_not_change_how_it_is_judged() -> None:
    """(d) thresholds, margins and estimates come from the windows before."""
    state = healthy(started(errors=1), SECONDS, 50)
    at = state.cursor_seconds
    good, bad = (observe(state, SECONDS, window(at, arm(40, x, x), arm(10, x, x))) for x in (0, 5))
    assert (good.latency.bound_ms, good.latency.ratio) == (bad.latency.bound_ms, bad.latency.ratio)
    assert good.errors.dispersion == bad.errors.dispersion
    assert good.errors.concurrent.restarts == bad.errors.concurrent.restarts
    # The logarithms differ by 5 canary and 5 stable errors at the same stakes: linear in the counts.
    half = observe(state, SECONDS, window(at, arm(40, 3), arm(10, 2)))
    none = observe(state, SECONDS, window(at, arm(40, 0), arm(10, 0)))
    more = observe(state, SECONDS, window(at, arm(40, 6), arm(10, 4)))
    steps = [np.array(x.errors.concurrent.logs) for x in (none, half, more)]
    assert steps[2] - steps[1] == pytest.approx(steps[1] - steps[0], abs=3e-6)


def test_more_canary_errors_raise_the_bars() -> None:
    """(e) through the whole state."""
    state = started(errors=1)
    state = failing(state, SECONDS, 1, 10)
    found = [observe(state, SECONDS, window(T + 1, arm(40, 1), arm(10, failed))) for failed in range(11)]
    logs = [one.errors.concurrent.log_evidence for one in found]
    assert logs == sorted(logs)
    assert len(set(logs[:4])) == 4
    shown = [assess(one, SECONDS).metrics[0].rollback_evidence for one in found]
    assert shown == sorted(shown)
    assert shown[0] < 0.5
    assert 1.0 == shown[-1]


def test_few_requests_wait_for_company() -> None:
    """At 1 % of 10 requests/s stable's requests of ten windows are compared with the canary's together."""
    state = started(step=0)
    for at in range(9):
        state = observe(state, SECONDS, window(T + at, arm(10), arm(0)))
        assert 10 * (at + 1) == state.errors.pending.stable
    state = observe(state, SECONDS, window(T + 9, arm(10), arm(1, 1)))
    assert 0 == state.errors.pending.stable
    assert state.errors.concurrent.log_evidence > 0
    waiting = observe(state, SECONDS, window(T + 10, arm(10), arm(1, 1)))
    assert waiting.errors.concurrent == state.errors.concurrent
    assert 1 == assess(waiting, SECONDS).metrics[0].requests_canary - assess(state, SECONDS).metrics[0].requests_canary


def test_no_data_is_no_evidence() -> None:
    state = started()
    for at in range(50):
        state = observe(state, SECONDS, window(T + at, arm(0), arm(0)))
    found = assess(state, SECONDS)
    assert not found.rollback
    assert not found.gate_passed
    assert found.metrics[0].canary_value is None
    assert 0.0 == found.metrics[0].promotion_evidence == found.metrics[1].promotion_evidence


def test_unresolvable_latency_is_said_before_traffic_moves_and_left_out() -> None:
    coarse = [
        Window(T - 600 + at, T - 599 + at, Arm(50, 0, (10.0, 1000.0, math.inf), (0, 50, 50)), Arm(0, 0))
        for at in range(600)
    ]
    state = begin(SECONDS, at_seconds=T, baseline=coarse)
    assert not assess(state, SECONDS).metrics[1].resolvable
    state = enter_step(state, SECONDS, step=0, at_seconds=T)
    while not assess(state, SECONDS).gate_passed:
        at = state.cursor_seconds
        fast = Arm(1000, 0, (10.0, 1000.0, math.inf), (0, 1000, 1000))
        state = observe(
            state, SECONDS, Window(at, at + 1, fast, replace(fast, requests=10, at_most=(0, 10, 10), timed=10))
        )
        assert at < T + 1000
    assert not assess(state, SECONDS).rollback


def test_without_history_the_threshold_comes_with_the_release() -> None:
    state = enter_step(begin(SECONDS, at_seconds=T, baseline=[]), SECONDS, step=2, at_seconds=T)
    assert not assess(state, SECONDS).metrics[1].resolvable
    state = healthy(state, SECONDS, 30)
    assert assess(state, SECONDS).metrics[1].resolvable
    assert 1 <= failures_until_rollback(state, SECONDS) <= 8


def test_ceilings_hold_whatever_stable_does() -> None:
    settings = replace(SECONDS, errors=ErrorTolerance(ceiling=0.05))
    state = started(settings)
    for _ in range(60):
        state = observe(state, settings, window(state.cursor_seconds, arm(40, 8), arm(10, 2)))
    assert "errors-ceiling" == assess(state, settings).blame
    below = started(settings)
    for _ in range(300):
        below = observe(below, settings, window(below.cursor_seconds, arm(400, 16), arm(100, 4)))
    assert not assess(below, settings).rollback


def test_a_latency_ceiling_counts_requests_above_it() -> None:
    settings = replace(SECONDS, latency=LatencyTolerance(ceiling_ms=90.0))
    state = started(settings)
    for _ in range(100):
        state = observe(state, settings, window(state.cursor_seconds, arm(40, 0, 8), arm(10, 0, 2)))
    assert "latency-ceiling" == assess(state, settings).blame


def test_the_bake_compares_with_what_stable_was_like() -> None:
    state = healthy(started(step=3, errors=1), SECONDS, 60)
    baking = enter_step(state, SECONDS, step=4, at_seconds=state.cursor_seconds)
    fine = broken = baking
    for at in range(300):
        start = baking.cursor_seconds + at
        fine = observe(fine, SECONDS, window(start, arm(0), arm(50, at % 10 == 0, at % 2)))
        broken = observe(broken, SECONDS, window(start, arm(0), arm(50, at % 4, at % 2)))
    assert assess(fine, SECONDS).gate_passed
    assert "errors-bake" == assess(broken, SECONDS).blame
    assert not assess(broken, SECONDS).gate_passed
    assert 0.0 == seconds_to_gate(baking, SECONDS, canary_rps=50, stable_rps=0)


def test_a_verdict_stays() -> None:
    state = healthy(failing(started(), SECONDS, 2, 10), SECONDS, 300)
    state = enter_step(state, SECONDS, step=3, at_seconds=state.cursor_seconds)
    assert assess(state, SECONDS).rollback
    assert 1.0 == assess(state, SECONDS).metrics[0].rollback_evidence


def test_excluded_time_moves_the_cursor_forward_only() -> None:
    state = skip_to(started(), at_seconds=T + 30)
    assert T + 30 == state.cursor_seconds
    assert T + 30 == skip_to(state, at_seconds=T).cursor_seconds
    assert T + 30 == enter_step(state, SECONDS, step=3, at_seconds=T).cursor_seconds
    assert state is observe(state, SECONDS, window(T + 29, arm(40), arm(10, 10)))


def test_a_step_begins_while_the_one_before_is_still_judged() -> None:
    """Windows come late. Those of the weight before count against the canary, and for nobody's next gate."""
    before = healthy(started(), SECONDS, 300)
    at = before.cursor_seconds
    state = enter_step(before, SECONDS, step=3, at_seconds=at + 4, left_seconds=at + 2)
    assert assess(before, SECONDS).gate_passed
    assert not assess(state, SECONDS).gate_passed
    state = State.from_json(json.loads(json.dumps(state.to_json())))
    with pytest.raises(ValueError, match="over the weight's change"):
        observe(state, SECONDS, window(at, arm(120), arm(30), length=3.0))
    for second in range(2):
        state = observe(state, SECONDS, window(at + second, arm(40), arm(10, 1)))
    assert [0, 0] == [metric.requests_canary for metric in assess(state, SECONDS).metrics]
    assert None is seconds_to_gate(state, SECONDS, canary_rps=0, stable_rps=0)
    assert state is observe(state, SECONDS, window(at + 2, arm(40), arm(10, 10)))
    assert state is observe(state, SECONDS, window(at + 2, arm(80), arm(20, 20), length=2.0))
    with pytest.raises(ValueError, match="reaches back"):
        observe(state, SECONDS, window(at + 2, arm(120), arm(30), length=3.0))
    after = observe(state, SECONDS, window(at + 4, arm(25), arm(25)))
    assert (3, None, 25) == (after.step, after.transition, after.errors.step.canary)
    assert (before.errors.past[1] + before.errors.step.stable + 80) == after.errors.past[1]
    spared = enter_step(before, SECONDS, step=3, at_seconds=at + 4)
    spared = observe(spared, SECONDS, window(at + 4, arm(25), arm(25)))
    assert spared.errors.concurrent.log_evidence < after.errors.concurrent.log_evidence


def test_time_may_begin_at_nothing() -> None:
    """Seconds are those of the caller's clock; 0.0 is one of them, and not "unknown"."""
    state = begin(SECONDS, at_seconds=-5.0, baseline=[Window(-6.0, -5.0, arm(3000, 0, 30), arm(0))])
    state = enter_step(state, SECONDS, step=2, at_seconds=-5.0)
    leaving = enter_step(state, SECONDS, step=3, at_seconds=2.0, left_seconds=0.0)
    assert leaving.transition is not None
    assert (0.0, 2.0) == (leaving.transition.left_seconds, leaving.transition.entered_seconds)
    for at in (-2.0, -1.0):
        leaving = observe(leaving, SECONDS, window(at, arm(40), arm(10, 10)))
    assert assess(leaving, SECONDS).rollback


@pytest.mark.parametrize("step", [-2, -1, 5])
def test_a_step_that_is_not_declared_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match="step"):
        enter_step(started(), SECONDS, step=step, at_seconds=T)


def test_a_canary_that_fails_at_the_end_of_a_step_is_found_before_the_next_one_is_judged() -> None:
    before = healthy(started(), SECONDS, 30)
    at = before.cursor_seconds
    state = enter_step(before, SECONDS, step=4, at_seconds=at + 4, left_seconds=at + 2)
    assert assess(failing(state, SECONDS, 2, 10), SECONDS).rollback
    again = enter_step(state, SECONDS, step=3, at_seconds=at + 9, left_seconds=at + 7)  # promoted twice at once
    assert (2.0, 9.0) == tuple(one - at for one in (again.transition.left_seconds, again.transition.entered_seconds))


def test_many_are_judged_as_each_alone() -> None:
    rng = np.random.default_rng(8)
    states = [healthy(started(step=step), SECONDS, 5 * step) for step in range(5)]
    seen = [
        window(state.cursor_seconds, arm(300, int(rng.integers(0, 9)), 3), arm(100, int(rng.integers(0, 9)), 2))
        for state in states
    ]
    together = observe_many([(state, SECONDS, one) for state, one in zip(states, seen, strict=True)])
    alone = [observe(state, SECONDS, one) for state, one in zip(states, seen, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert one.errors.concurrent.logs == pytest.approx(other.errors.concurrent.logs, abs=1e-12)
        assert one.latency.gate == pytest.approx(other.latency.gate, abs=1e-12)
        assert one.cursor_seconds == other.cursor_seconds


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("false_rollback_probability", 0.0),
        ("weights", ()),
        ("weights", (0, 100)),
        ("interval_seconds", 0.0),
        ("harm_budget", 1.0),
    ],
)
def test_settings_that_make_no_sense_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(SECONDS, **{field: value})
