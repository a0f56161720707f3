"""Pods that went while nobody looked are told by those that were made in their place."""

from __future__ import annotations

import pytest

from modelrelease.api.status import AnalysisStatus, ArmStatus, ReleaseStatus
from modelrelease.rollout.outcome import departures
from simulation.looks import stable_seen

LOOKED_AT = 100.0


@pytest.mark.parametrize(
    ("was_ready", "replicas", "created", "expected"),
    [
        pytest.param(2, 2, (10.0, 20.0), set(), id="the-pods-of-then"),
        pytest.param(2, 2, (10.0, 110.0), {110.0}, id="one-in-the-place-of-another"),
        pytest.param(0, 1, (101.0,), set(), id="the-canarys-first-pod"),
        pytest.param(1, 2, (10.0, 105.0), set(), id="one-more-that-status-asks-for-already"),
        pytest.param(1, 3, (104.0, 105.0, 120.0), {120.0}, id="two-more-and-one-in-the-place-of-another"),
        pytest.param(3, 1, (110.0,), {110.0}, id="fewer-and-one-in-the-place-of-another"),
    ],
)
def test_a_pod_made_since_the_last_look_tells_of_one_that_went_unless_it_was_wanting(
    was_ready: int, replicas: int, created: tuple[float, ...], expected: set[float]
) -> None:
    status = ReleaseStatus(
        canary=ArmStatus(replicas=replicas, ready_replicas=was_ready),
        analysis=AnalysisStatus(evaluated_at=LOOKED_AT),
    )

    assert departures(status, stable_seen(replicas=replicas, created_seconds=created)) == expected
