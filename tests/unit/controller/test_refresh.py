"""Which status writes are worth making."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import FakeClock
from modelrelease.api.status import AnalysisStatus, ArmStatus, Condition, ConditionStatus, ConditionType, ReleaseStatus
from modelrelease.controller.refresh import Refreshes, is_intent, is_significant
from modelrelease.ports import Key

BASE = ReleaseStatus(stable=ArmStatus(image="a:1", replicas=2))
READY = Condition(type=ConditionType.READY, status=ConditionStatus.TRUE, reason="Stable")

CHANGES: dict[str, tuple[dict[str, Any], bool, bool]] = {
    "nothing": ({}, False, False),
    "message": ({"message": "b"}, False, False),
    "figures": ({"analysis": AnalysisStatus(requests_in_step=5)}, False, False),
    "checkpoint": ({"judge": {"at": 1}}, False, False),
    "replicas": ({"stable": ArmStatus(image="a:1", replicas=3)}, False, False),
    "what stable runs": ({"stable": ArmStatus(image="a:2", replicas=2)}, False, False),
    "what is released": ({"canary": ArmStatus(image="a:2", digest="a@sha256:1")}, True, True),
    "step": ({"step": 2}, True, True),
    "confirmed weight": ({"confirmed_weight": 5}, False, False),
    "generation": ({"observed_generation": 2}, True, True),
    "a pod that went": ({"departures": [7.0]}, True, False),
    "condition": ({"conditions": [READY]}, True, False),
}


@pytest.mark.parametrize(("change", "significant", "intent"), CHANGES.values(), ids=CHANGES)
def test_what_is_written_at_once(change: dict[str, Any], significant: bool, intent: bool) -> None:
    after = BASE.model_copy(update=change)
    assert (significant, intent) == (is_significant(BASE, after), is_intent(BASE, after))


def test_words_of_a_condition_are_figures() -> None:
    before = BASE.model_copy(update={"conditions": [READY]})
    after = BASE.model_copy(update={"conditions": [READY.model_copy(update={"message": "b"})]})
    assert not is_significant(before, after)


def test_that_a_departure_is_over_can_wait() -> None:
    before = BASE.model_copy(update={"departures": [7.0, 8.0]})
    assert not is_significant(before, before.model_copy(update={"departures": [8.0]}))


def test_figures_once_per_interval_and_five_a_second_in_all() -> None:
    clock = FakeClock()
    refreshes = Refreshes(clock.monotonic)
    keys = [Key("vision", str(number)) for number in range(20)]

    first = [refreshes.allow(key, 10.0) for key in keys]
    again = [refreshes.allow(key, 10.0) for key in keys[:5]]
    clock.advance(1.0)
    second = [refreshes.allow(key, 10.0) for key in keys]
    clock.advance(10.0)

    assert [True] * 5 + [False] * 15 == first
    assert [False] * 5 == again
    assert [False] * 5 + [True] * 5 + [False] * 10 == second
    assert refreshes.allow(keys[0], 10.0)
