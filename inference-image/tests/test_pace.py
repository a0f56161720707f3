from __future__ import annotations

from yolo_serving.pace import Pace


def test_nothing_measured_is_no_time() -> None:
    assert Pace(3).seconds == 0


def test_workers_and_pictures_share_the_time() -> None:
    pace = Pace(2)
    pace.record(1.2, 3)
    assert pace.seconds == 1.2 / 3 / 2


def test_one_slow_measurement_decides_nothing_and_a_slow_stretch_does() -> None:
    pace = Pace(1)
    for _ in range(10):
        pace.record(0.01)
    pace.record(60.0)
    assert pace.seconds == 0.01
    pace.record(0.5)
    assert pace.seconds == 0.5


def test_a_fast_stretch_is_believed_later() -> None:
    pace = Pace(1)
    for _ in range(15):
        pace.record(0.5)
    for _ in range(7):
        pace.record(0.01)
    assert pace.seconds == 0.5
    pace.record(0.01)
    assert pace.seconds == 0.01


def test_what_is_old_is_forgotten_with_the_next_measurement() -> None:
    now = 100.0
    pace = Pace(1, lambda: now)
    assert pace.stale
    for _ in range(15):
        pace.record(0.5)
    now += 5
    assert (pace.seconds, pace.stale) == (0.5, False)
    now += 0.1
    assert (pace.seconds, pace.stale) == (0.5, True)
    pace.record(0.01)
    assert (pace.seconds, pace.stale) == (0.01, False)


def test_what_is_no_picture_makes_the_pace_slower_and_never_faster() -> None:
    pace = Pace(2)
    for _ in range(3):
        pace.record(0.2)
    for _ in range(20):
        pace.record_other(0.001)
    assert pace.seconds == 0.1
    for _ in range(3):
        pace.record_other(0.6)
    assert pace.seconds == 0.3
