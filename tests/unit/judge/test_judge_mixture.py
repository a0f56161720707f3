"""The purse: it begins with 1, and nothing but bets changes what is in it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from modelrelease.judge import Arm, ErrorTolerance, LatencyTolerance, Settings, Window, begin, enter_step
from modelrelease.judge.assessment import shares
from modelrelease.judge.evidence import EFFECT_WEIGHTS, GATE_WEIGHTS, Array, gate_log_evidence
from modelrelease.judge.mixture import LOST, Mixture, grown

ROUNDING = 1e-5


def after(mixture: Mixture, log_factors: Array) -> Mixture:
    return Mixture(tuple(grown(np.array(mixture.logs), log_factors).tolist()), mixture.restarts)


def test_a_release_begins_with_a_purse_of_one() -> None:
    assert Mixture().log_evidence == pytest.approx(0.0, abs=ROUNDING)
    assert Mixture().log_evidence <= 1e-12
    assert float(gate_log_evidence(np.zeros(len(GATE_WEIGHTS)))) == pytest.approx(0.0, abs=1e-12)


def test_a_fresh_stake_moves_money_and_makes_none() -> None:
    """Also after thousands of them; otherwise a long release could be rolled back for its length."""
    rng = np.random.default_rng(1)
    mixture = Mixture()
    for _ in range(3000):
        mixture = after(mixture, rng.normal(-1.0, 2.0, len(EFFECT_WEIGHTS)))
        again = mixture.restarted(0.0)
        assert mixture.log_evidence - ROUNDING <= again.log_evidence <= mixture.log_evidence + 1e-12
        mixture = again
    assert min(mixture.restarts) > 100


def test_what_is_lost_is_not_owed() -> None:
    """However much was lost, the rest of the purse is there to begin afresh with."""
    empty = after(Mixture(), np.full(len(EFFECT_WEIGHTS), -1e6))
    assert {LOST} == set(empty.logs)
    assert math.exp(empty.log_evidence) == pytest.approx(0.15, rel=1e-3)
    assert empty.restarted().logs > empty.logs


@pytest.mark.parametrize("errors_ceiling", [None, 0.05])
@pytest.mark.parametrize("latency_ceiling", [None, 500.0])
@pytest.mark.parametrize("resolvable", [True, False])
def test_the_promise_is_divided_and_not_multiplied(
    errors_ceiling: float | None, latency_ceiling: float | None, resolvable: bool
) -> None:
    settings = replace(
        Settings(),
        errors=ErrorTolerance(ceiling=errors_ceiling),
        latency=LatencyTolerance(ceiling_ms=latency_ceiling),
    )
    slow = 10 if resolvable else 0
    seen = Arm(1000, 0, (50.0, 100.0, math.inf), (900, 1000 - slow, 1000))
    state = begin(settings, at_seconds=10.0, baseline=[Window(0.0, 10.0, seen, Arm(0, 0))])
    found = shares(enter_step(state, settings, step=0, at_seconds=10.0), settings)
    assert sum(found.values()) == pytest.approx(1.0)
    assert (found["latency"] > 0.3) is resolvable
