"""Annotations by which people steer a release, and what comes of them."""

from __future__ import annotations

import time

import pytest

from demo.scenes import STABLE
from e2e.arena import HOLD_FIRST, STEPS, STRATEGY, Arena
from modelrelease.api.status import ConditionType, Phase

pytestmark = pytest.mark.e2e


def test_promote_next_lets_a_step_go_on_that_waits_for_approval(arena: Arena) -> None:
    arena.install(HOLD_FIRST)
    began = arena.start("v1.1.0")
    arena.wait_weight(20)
    arena.wait_clients_get("v1.1.0")
    time.sleep(6)
    assert arena.weight() == 20

    arena.steer(promote="next")

    arena.wait_phase(Phase.SUCCEEDED, 180)
    assert arena.annotations() == {}
    assert [handled.name for handled in arena.status().last_handled] == ["modelrelease.dev/promote"]
    arena.assert_no_errors(began)


def test_promote_full_skips_what_is_left_and_loses_no_request(arena: Arena) -> None:
    arena.install(HOLD_FIRST)
    began = arena.start("v1.1.0")
    arena.wait_weight(20)

    arena.steer(promote="full")

    arena.wait_phase(Phase.SUCCEEDED, 180)
    assert arena.shares("v1.1.0", 1) == 100
    assert arena.wait_event("PromotedByHand")
    arena.assert_no_errors(began)


def test_abort_takes_the_canary_off_and_says_why(arena: Arena) -> None:
    arena.install(HOLD_FIRST)
    began = arena.start("v1.1.0")
    arena.wait_weight(20)
    arena.wait_clients_get("v1.1.0")

    arena.steer(abort="the boxes look wrong")

    arena.wait_weight(0, 10)
    arena.wait_phase(Phase.ROLLED_BACK, 120)
    status = arena.status()
    assert status.outcome_reason == "Aborted"
    assert "the boxes look wrong" in status.message
    assert arena.annotations() == {}
    assert arena.shares("v1.1.0", 1) == 0
    arena.assert_no_errors(began)
    assert arena.canary_objects() == []


def test_retry_tries_the_same_image_again_as_another_revision(arena: Arena) -> None:
    arena.install(HOLD_FIRST)
    arena.start("v1.1.0")
    arena.wait_weight(20)
    first = arena.status().revision
    arena.steer(abort="try again later")
    arena.wait_phase(Phase.ROLLED_BACK, 120)

    arena.steer(retry="true")

    arena.wait_weight(20)
    assert arena.status().revision != first
    assert arena.status().retries == 1
    arena.steer(abort="end of the test")
    arena.wait_phase(Phase.ROLLED_BACK, 120)


def test_pause_stops_forward_moves_until_resume(arena: Arena) -> None:
    arena.install({**STRATEGY, "steps": [{"weight": weight, "minDuration": "8s"} for weight in STEPS]})
    began = arena.start("v1.1.0")
    arena.wait_weight(20)

    arena.steer(pause="true")  # before the step is over, on a busy machine too

    arena.wait_condition(ConditionType.PAUSED, "Annotation")
    time.sleep(11)
    assert (arena.weight(), arena.status().phase) == (20, Phase.PAUSED)
    arena.steer(resume="true")
    arena.wait_weight(50)
    arena.steer(abort="end of the test")
    arena.wait_phase(Phase.ROLLED_BACK, 120)
    arena.assert_no_errors(began)


def test_a_value_that_is_not_known_is_explained_and_changes_nothing(arena: Arena) -> None:
    arena.install(HOLD_FIRST)
    arena.start("v1.1.0")
    arena.wait_weight(20)

    arena.steer(promote="yes")

    assert "next" in arena.wait_event("AnnotationUnknown")
    time.sleep(3)
    assert arena.weight() == 20
    arena.kube.patch("modelrelease", arena.model.name, {"spec": {"image": arena.image(STABLE)}})
    arena.wait_weight(0, 20)
