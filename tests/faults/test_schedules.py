"""Random schedules reach what they are to break."""

from __future__ import annotations

from faults.schedules import play


def test_few_schedules_see_every_phase_before_the_calm() -> None:
    """Also that nothing is wrong with these."""
    played = [play(seed) for seed in (22, 41, 42)]

    assert [""] * 3 == [one.problem for one in played]
    seen = frozenset[str]().union(*(one.phases for one in played))
    assert {"Preparing", "Progressing", "Baking", "Promoting", "RollingBack", "RolledBack", "Succeeded"} <= seen


def test_a_seed_is_replayed_exactly() -> None:
    assert play(6) == play(6)
