"""Bursts in one arm: many requests that fail together are one event."""

from __future__ import annotations

import pytest

from modelrelease.judge import Arm, Settings, State, Window, begin, enter_step, observe

SETTINGS = Settings()
BASELINE = [Window(10.0 * index, 10.0 * index + 10, Arm(1000, 5), Arm(0, 0)) for index in range(60)]
REQUESTS = 1000
"""Of both arms in a window."""


def release(weight: int) -> State:
    state = begin(SETTINGS, at_seconds=600.0, baseline=BASELINE)
    return enter_step(state, SETTINGS, step=SETTINGS.weights.index(weight), at_seconds=600.0)


def windows(state: State, weight: int, failed: list[float]) -> State:
    """A window for each share of the canary's requests that fails; stable as always."""
    canary = REQUESTS * weight // 100
    for share in failed:
        at, stable = state.cursor_seconds, REQUESTS - canary
        seen = Window(at, at + 10, Arm(stable, stable // 200), Arm(canary, round(canary * share)))
        state = observe(state, SETTINGS, seen)
    return state


@pytest.mark.parametrize("weight", [1, 5, 20, 50])
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("good_minutes", [0, 30])
def test_one_window_of_failures_does_not_roll_back_and_repeated_ones_do(
    weight: int, share: float, good_minutes: int
) -> None:
    state = windows(release(weight), weight, [0.005] * (6 * good_minutes))
    burst = windows(state, weight, [share])
    assert burst.blame is None
    assert windows(burst, weight, [share] * 3).blame == "errors"
    assert windows(burst, weight, [0.0] * 3).blame is None


@pytest.mark.parametrize("weight", [5, 20, 50])
def test_an_outage_takes_two_windows(weight: int) -> None:
    assert windows(release(weight), weight, [1.0, 1.0]).blame == "errors"
    assert windows(release(weight), weight, [0.0] * 60 + [1.0, 1.0]).blame == "errors"


@pytest.mark.parametrize("weight", [20, 50])
def test_a_burst_that_is_cut_by_the_edge_of_a_window_does_not_roll_back(weight: int) -> None:
    """One in ten of the canary's requests of 20 s: as many as at 5 % would be an outage."""
    assert windows(release(weight), weight, [0.1, 0.1]).blame is None
