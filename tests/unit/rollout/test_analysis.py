"""The comparison in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelrelease.judge import Assessment
from modelrelease.rollout.analysis import evidence_sentence
from simulation.looks import metric


def _assessment(error_rate: float, p99_ms: float) -> Assessment:
    errors = replace(metric(), canary_value=error_rate)
    latency = replace(metric("latency"), canary_p99_ms=p99_ms)
    return Assessment(rollback=False, blame=None, gate_passed=False, metrics=(errors, latency))


@pytest.mark.parametrize(
    ("error_rate", "p99_ms", "expected"),
    [
        (0.002, 41.0, "error rate 0.20% (stable 0.10%); P99 41 ms (stable 40 ms); 1,000 canary requests."),
        (0.002, 0.42, "error rate 0.20% (stable 0.10%); P99 0.42 ms (stable 40 ms); 1,000 canary requests."),
        (1.0, 0.0, "error rate 100.00% (stable 0.10%); 1,000 canary requests."),
    ],
    ids=["both", "less than a millisecond", "nothing but failures"],
)
def test_figures_are_told_where_they_mean_something(error_rate: float, p99_ms: float, expected: str) -> None:
    assert expected == evidence_sentence(_assessment(error_rate, p99_ms))


def test_nothing_compared_is_said() -> None:
    assert "nothing has been compared yet." == evidence_sentence(None)
