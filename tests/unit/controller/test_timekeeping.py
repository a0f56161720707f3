"""Times in status across jumps of the wall clock, as one process sees them."""

from __future__ import annotations

import pytest

from fakes import FakeClock
from modelrelease.api.status import Phase, ReleaseStatus
from modelrelease.controller.timekeeping import Timekeeper
from modelrelease.ports import Key

KEY = Key("vision", "detect")
HOUR = 3600.0


def began(at: float, phase: Phase = Phase.PROGRESSING) -> ReleaseStatus:
    return ReleaseStatus(phase=phase, started_at=at - 5, phase_started_at=at - 1, step_started_at=at, scaled_at=at)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 2.0, -2.0])
def test_times_move_with_the_clock_until_that_is_written(jump: float) -> None:
    clock = FakeClock()
    keeper, stored = Timekeeper(clock.monotonic), began(clock.now())
    assert stored == keeper.kept(KEY, stored, clock.now())
    clock.advance(10)
    clock.jump(jump)
    at = clock.now() - 10
    moved = stored.model_copy(update={"phase_started_at": at - 1, "step_started_at": at, "scaled_at": at})
    for _ in range(2):
        assert moved == keeper.kept(KEY, stored, clock.now()), "also where the first write was refused"
        assert keeper.has_moved(KEY)
    assert moved == keeper.kept(KEY, moved, clock.now()), "also where the reply to the write was lost"
    assert not keeper.has_moved(KEY)
    clock.jump(-jump)
    assert stored == keeper.kept(KEY, moved, clock.now())


def test_a_step_that_began_after_the_jump_is_left_alone() -> None:
    clock = FakeClock()
    keeper = Timekeeper(clock.monotonic)
    keeper.kept(KEY, began(clock.now()), clock.now())
    clock.jump(HOUR)
    keeper.kept(KEY, began(clock.now() - HOUR), clock.now())
    stored = began(clock.now())
    clock.advance(1)
    assert stored == keeper.kept(KEY, stored, clock.now())


def test_a_jump_right_after_a_step_was_written_is_seen() -> None:
    clock = FakeClock()
    keeper = Timekeeper(clock.monotonic)
    keeper.kept(KEY, began(clock.now() - 60), clock.now())
    stored = began(clock.now())
    clock.jump(HOUR)
    assert clock.now() == keeper.kept(KEY, stored, clock.now()).step_started_at


def test_after_a_restart_only_times_ahead_tell_of_a_jump() -> None:
    clock = FakeClock()
    stored = began(clock.now())
    clock.jump(-HOUR)
    assert clock.now() == Timekeeper(clock.monotonic).kept(KEY, stored, clock.now()).step_started_at
    clock.jump(2 * HOUR)
    assert stored == Timekeeper(clock.monotonic).kept(KEY, stored, clock.now())


def test_a_clock_that_is_set_right_bit_by_bit_and_a_release_at_rest_move_nothing() -> None:
    clock = FakeClock()
    keeper = Timekeeper(clock.monotonic)
    stored, resting = began(clock.now()), began(clock.now(), Phase.SUCCEEDED)
    for status in (stored, resting):
        keeper.kept(KEY, status, clock.now())
    keeper.kept(KEY, stored, clock.now())
    clock.jump(1.9)
    assert stored == keeper.kept(KEY, stored, clock.now())
    clock.jump(HOUR)
    assert resting == keeper.kept(KEY, resting, clock.now())
    assert not keeper.has_moved(KEY)
