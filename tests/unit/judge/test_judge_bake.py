"""The bake compares with another time: rates as before, or a little higher, must not count against a canary."""

from __future__ import annotations

import numpy as np
import pytest

from modelrelease.judge import Arm, Settings, State, Window, begin, enter_step, observe_many

SETTINGS = Settings(weights=(50, 100))
RELEASES = 200


def baked(multiple: float, seed: int, history: int = 30_000) -> float:
    """Share of releases rolled back in ten minutes at 50 requests/s, with a multiple of stable's 0.5 % errors."""
    rng = np.random.default_rng(seed)
    states: list[State] = []
    for failed in rng.binomial(history, 0.005, RELEASES):
        known = Window(0.0, 10.0, Arm(history, int(failed)), Arm(0, 0))
        state = begin(SETTINGS, at_seconds=10.0, baseline=[known])
        states.append(enter_step(state, SETTINGS, step=1, at_seconds=10.0))
    for index in range(60):
        at = 10.0 + 10 * index
        seen = [
            Window(at, at + 10, Arm(0, 0), Arm(500, int(failed)))
            for failed in rng.binomial(500, 0.005 * multiple, RELEASES)
        ]
        states = observe_many([(state, SETTINGS, window) for state, window in zip(states, seen, strict=True)])
    return float(np.mean([state.blame == "errors-bake" for state in states]))


@pytest.mark.parametrize("multiple", [0.5, 1.0, 1.3])
def test_a_canary_as_good_as_stable_was_is_not_rolled_back(multiple: float) -> None:
    assert baked(multiple, seed=1) <= 0.01


def test_a_canary_that_breaks_under_the_full_load_is() -> None:
    assert baked(4.0, seed=2) >= 0.95


def test_without_any_knowledge_of_stable_nothing_is_held_against_the_canary() -> None:
    state = enter_step(begin(SETTINGS, at_seconds=0.0, baseline=[]), SETTINGS, step=1, at_seconds=0.0)
    (after,) = observe_many([(state, SETTINGS, Window(0.0, 10.0, Arm(0, 0), Arm(500, 500)))])
    assert after.blame is None
