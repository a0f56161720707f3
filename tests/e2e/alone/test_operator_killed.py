"""Killing the operator changes nothing but a short delay. Alone, because all releases of the cluster feel it."""

from __future__ import annotations

import pytest

from demo.scenes import Scene
from demo.stage import kill_operator
from e2e.arena import STEPS, Arena
from modelrelease.api.status import Phase

pytestmark = pytest.mark.e2e


def test_release_goes_on_when_the_operator_is_killed_at_every_step(arena: Arena) -> None:
    arena.install()
    began = arena.start("v1.1.0")
    for weight in STEPS[:2]:
        arena.wait_weight(weight)
        kill_operator(arena.kube)

    arena.wait_phase(Phase.SUCCEEDED, 240)

    weights = [weight for _, weight in arena.ground.weights(began)]
    assert weights == [0, *STEPS, 0]
    assert arena.all_errors(began) == []
    assert arena.shares("v1.1.0", 1) == 100
    assert arena.canary_objects() == []


def test_bad_version_is_rolled_back_by_the_next_operator(arena: Arena) -> None:
    arena.install()
    scene = Scene("errors", "", "v1.2.0-errors", Phase.ROLLED_BACK, 120)
    arena.start("v1.2.0-errors")
    arena.wait_weight(20)
    kill_operator(arena.kube)

    arena.wait_phase(scene.expected, 180)

    assert arena.status().outcome_reason == "ErrorRateTooHigh"
    assert arena.shares("v1.2.0-errors", 1) == 0
