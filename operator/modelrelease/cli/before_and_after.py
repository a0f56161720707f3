"""How long a release takes before its first step and after its last."""

from __future__ import annotations

import math
from typing import Any, cast

from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.cli.measured import Traffic
from modelrelease.judge import State, history_shortfall
from modelrelease.ports import Manifest
from modelrelease.rollout.promoting import SETTLE_SECONDS
from modelrelease.rollout.seen import STEADY_SECONDS

_DEFAULT_SHARE = "25%"
"""Kubernetes' own, for maxSurge and maxUnavailable."""


def history_wait_seconds(spec: ModelReleaseSpec, traffic: Traffic, state: State, served_seconds: float) -> float:
    """How long a release waits until stable's history shows its P99.

    served_seconds: how much of the history tells something about the version that runs.
    """
    short, left = history_shortfall(state), spec.analysis.baseline - served_seconds
    if short == 0 or left <= 0:
        return 0.0
    return min(left, short / traffic.requests_per_second)


def preparing_seconds(startup_seconds: float, history_seconds: float) -> float:
    """From the edit to the first step: canary and history are waited for at the same time."""
    return max(startup_seconds + STEADY_SECONDS, history_seconds)


def promoting_seconds(spec: ModelReleaseSpec, deployment: Manifest | None, startup_seconds: float) -> float:
    """From the end of the bake to the end: stable is replaced, gets its traffic back, and the canary drains."""
    rounds = 1 if deployment is None else _rounds(cast(dict[str, Any], deployment)["spec"])
    return rounds * startup_seconds + SETTLE_SECONDS + spec.strategy.drain_delay


def _rounds(deployment: dict[str, Any]) -> int:
    """How many pods after one another a rolling update starts, at the least."""
    replicas = int(deployment.get("replicas", 1))
    strategy = deployment.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 1
    limits = strategy.get("rollingUpdate") or {}
    surge = _pods(limits.get("maxSurge", _DEFAULT_SHARE), replicas, math.ceil)
    missing = _pods(limits.get("maxUnavailable", _DEFAULT_SHARE), replicas, math.floor)
    return max(1, math.ceil(replicas / max(1, surge + missing)))


def _pods(limit: Any, replicas: int, rounded: Any) -> int:
    """A number of pods, or a share of all as Kubernetes rounds it."""
    text = str(limit)
    return int(rounded(int(text[:-1]) * replicas / 100)) if text.endswith("%") else int(text)
