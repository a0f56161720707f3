"""Capacity leads traffic: how many canary replicas a weight needs, and which weight given replicas may carry."""

from __future__ import annotations

import math

from modelrelease.api.spec import Strategy


def replicas_needed(strategy: Strategy, stable_replicas: int, weight_percent: int) -> int:
    """Canary replicas for `weight_percent` of stable's traffic: the fixed number, else its share, at least 1.

    The share keeps the load per pod equal in both arms, without which they could not be compared.
    """
    if strategy.canary_replicas is not None:
        return strategy.canary_replicas
    return max(1, math.ceil(stable_replicas * weight_percent / 100))


def step_for_capacity(strategy: Strategy, stable_replicas: int, available: int, at_most_step: int) -> int:
    """The highest step (from 1) up to `at_most_step` that `available` canary pods can carry; 0 without any pod."""
    if available <= 0:
        return 0
    for step in range(at_most_step, 0, -1):
        weight = strategy.steps[step - 1].weight
        if replicas_needed(strategy, stable_replicas, weight) <= available:
            return step
    return 1 if strategy.canary_replicas is not None else 0
