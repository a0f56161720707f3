"""How many pods a weight needs, and which weight pods may carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease.rollout.capacity import replicas_needed, step_for_capacity
from simulation.looks import spec_of

PROPORTIONAL = spec_of().strategy
FIXED = spec_of(strategy={"canaryReplicas": 3}).strategy


@pytest.mark.parametrize(
    ("stable", "weight", "expected"), [(10, 1, 1), (10, 20, 2), (10, 50, 5), (3, 50, 2), (10, 100, 10), (0, 100, 1)]
)
def test_proportional_replicas(stable: int, weight: int, expected: int) -> None:
    assert expected == replicas_needed(PROPORTIONAL, stable, weight)


@pytest.mark.parametrize("weight", [1, 50, 100])
def test_fixed_replicas(weight: int) -> None:
    assert 3 == replicas_needed(FIXED, 10, weight)


@pytest.mark.parametrize(
    ("available", "at_most", "expected"),
    [(0, 5, 0), (1, 5, 2), (2, 5, 3), (4, 5, 3), (5, 5, 4), (10, 5, 5), (10, 2, 2)],
)
def test_the_highest_step_that_pods_can_carry(available: int, at_most: int, expected: int) -> None:
    assert expected == step_for_capacity(PROPORTIONAL, 10, available, at_most)


@given(stable=st.integers(0, 500), available=st.integers(1, 500), at_most=st.integers(1, 5))
def test_no_step_is_given_more_traffic_than_its_pods_can_take(stable: int, available: int, at_most: int) -> None:
    step = step_for_capacity(PROPORTIONAL, stable, available, at_most)
    assert 0 <= step <= at_most
    assert step == 0 or replicas_needed(PROPORTIONAL, stable, PROPORTIONAL.steps[step - 1].weight) <= available
