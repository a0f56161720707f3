"""What a state says: roll back, grow, or neither yet; and how far it is from either."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from modelrelease.judge.evidence import GATE_WEIGHTS
from modelrelease.judge.latency import quantile_ms
from modelrelease.judge.mixture import Mixture
from modelrelease.judge.settings import Settings
from modelrelease.judge.state import Blame, MetricState, State
from modelrelease.judge.steps import entered

BAKE_SHARE = 0.04
"""The bake's part of the false-rollback probability. At 100 % requests are plentiful: it needs little."""

CEILING_SHARE = 0.1
"""The absolute ceilings' part, where there are any."""

_GATE_WEIGHTS: tuple[float, ...] = tuple(GATE_WEIGHTS.tolist())


@dataclass(frozen=True, slots=True)
class MetricAssessment:
    """What is known about one metric, for people and for the controller.

    stable_value, canary_value: share of failed requests, or of requests slower than ``threshold_ms``, in this step
        (stable's: before it, where it has no requests in it); None without requests.
    stable_p99_ms, canary_p99_ms: interpolated, for display only; None for errors or where not measurable.
    requests_stable, requests_canary: in this step.
    rollback_evidence, promotion_evidence: 0 to 1, the share of what is needed on a logarithmic scale. At 100 % there is
        nothing left to promote to, and the latter is 1.
    """

    name: Literal["errors", "latency"]
    resolvable: bool
    stable_value: float | None
    canary_value: float | None
    stable_p99_ms: float | None
    canary_p99_ms: float | None
    threshold_ms: float | None
    requests_stable: int
    requests_canary: int
    rollback_evidence: float
    promotion_evidence: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the evidence so far says. A rollback is final; a gate counts as long as it is passed when one asks."""

    rollback: bool
    blame: Blame | None
    gate_passed: bool
    metrics: tuple[MetricAssessment, ...]


def assess(state: State, settings: Settings) -> Assessment:
    """What the state says: roll back, grow, or neither yet. A step that has begun has its own gate, with nothing in it
    as long as requests of the one before are judged."""
    state = entered(state, settings)
    parts = _log_evidence(state, settings)
    metrics = (_assess_errors(state, settings, parts), _assess_latency(state, settings, parts))
    weight = settings.weights[state.step] if state.step >= 0 else 0
    passed = weight == 100 or (weight > 0 and all(m.promotion_evidence >= 1 for m in metrics if m.resolvable))
    return Assessment(
        rollback=state.blame is not None,
        blame=state.blame,
        gate_passed=passed and state.blame is None,
        metrics=metrics,
    )


def shares(state: State, settings: Settings) -> dict[Blame, float]:
    """How the false-rollback probability is divided: weights of the parts of the evidence, adding up to 1."""
    ceilings: list[Blame] = []
    if settings.errors.ceiling is not None:
        ceilings.append("errors-ceiling")
    if settings.latency.ceiling_ms is not None:
        ceilings.append("latency-ceiling")
    concurrent = concurrent_share(settings)
    latency = state.latency_share
    divided: dict[Blame, float] = {
        "errors": concurrent * (1 - latency),
        "latency": concurrent * latency,
        "errors-bake": BAKE_SHARE * (1 - latency),
        "latency-bake": BAKE_SHARE * latency,
    }
    return divided | dict.fromkeys(ceilings, CEILING_SHARE / max(1, len(ceilings)))


def concurrent_share(settings: Settings) -> float:
    """The part of the false-rollback probability that both metrics' comparisons with stable have together."""
    has_ceilings = settings.errors.ceiling is not None or settings.latency.ceiling_ms is not None
    return 1 - BAKE_SHARE - (CEILING_SHARE if has_ceilings else 0.0)


Parts = dict[Blame, tuple[float, float]]
"""(log of the evidence, log of its share of the false-rollback probability) per part."""


def _log_evidence(state: State, settings: Settings) -> Parts:
    """The evidence of each part. A weighted mean is valid however the parts depend."""
    mixtures: dict[Blame, Mixture | None] = {
        "errors": state.errors.concurrent,
        "latency": state.latency.concurrent,
        "errors-ceiling": state.errors.ceiling,
        "latency-ceiling": state.latency.ceiling,
        "errors-bake": state.errors.bake,
        "latency-bake": state.latency.bake,
    }
    parts: Parts = {}
    for name, share in shares(state, settings).items():
        mixture = mixtures[name]
        parts[name] = (mixture.log_evidence if mixture is not None else 0.0, math.log(share))
    return parts


def verdict(state: State, settings: Settings) -> Blame | None:
    """The part that says most, if all together reach 1/alpha."""
    needed = -math.log(settings.false_rollback_probability)
    if _highest_log(state) < needed - math.log(4 / 3):
        # No stake is worth 3/4 of what is needed. All of them together, and what is not staked, then do not reach it.
        return None
    weighted = {name: log + share for name, (log, share) in _log_evidence(state, settings).items()}
    top = max(weighted.values())
    if top + math.log(sum(math.exp(log - top) for log in weighted.values())) < needed:
        return None
    return max(weighted, key=lambda name: weighted[name])


def _highest_log(state: State) -> float:
    highest = max(*state.errors.concurrent.logs, *state.latency.concurrent.logs)
    for mixture in (state.errors.ceiling, state.latency.ceiling, state.errors.bake, state.latency.bake):
        if mixture is not None:
            highest = max(highest, *mixture.logs)
    return highest


def _rollback_evidence(state: State, settings: Settings, parts: Parts, name: Literal["errors", "latency"]) -> float:
    if state.blame is not None and state.blame.startswith(name):
        return 1.0
    needed = -math.log(settings.false_rollback_probability)
    own = (part for blame, part in parts.items() if blame.startswith(name))
    return _bar(max(log / (needed - log_share) for log, log_share in own))


def _promotion_evidence(state: State, metric: MetricState, settings: Settings) -> float:
    if state.step >= 0 and settings.weights[state.step] == 100:
        return 1.0
    top = max(metric.gate)
    mean = sum(weight * math.exp(log - top) for weight, log in zip(_GATE_WEIGHTS, metric.gate, strict=True))
    return _bar((top + math.log(mean)) / -math.log(settings.missed_regression_probability))


def _bar(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _assess_errors(state: State, settings: Settings, parts: Parts) -> MetricAssessment:
    metric = state.errors
    return MetricAssessment(
        name="errors",
        resolvable=True,
        stable_value=_shown_stable(metric),
        canary_value=_share(metric.step.canary_bad, metric.step.canary),
        stable_p99_ms=None,
        canary_p99_ms=None,
        threshold_ms=None,
        requests_stable=metric.step.stable,
        requests_canary=metric.step.canary,
        rollback_evidence=_rollback_evidence(state, settings, parts, "errors"),
        promotion_evidence=_promotion_evidence(state, metric, settings),
    )


def _assess_latency(state: State, settings: Settings, parts: Parts) -> MetricAssessment:
    metric = state.latency
    resolvable = metric.bound_ms is not None
    stable = state.stable_step if state.stable_step.total else state.stable_before
    return MetricAssessment(
        name="latency",
        resolvable=resolvable,
        stable_value=_shown_stable(metric) if resolvable else None,
        canary_value=_share(metric.step.canary_bad, metric.step.canary),
        stable_p99_ms=quantile_ms(stable),
        canary_p99_ms=quantile_ms(state.canary_step),
        threshold_ms=metric.bound_ms,
        requests_stable=metric.step.stable,
        requests_canary=metric.step.canary,
        rollback_evidence=_rollback_evidence(state, settings, parts, "latency"),
        promotion_evidence=_promotion_evidence(state, metric, settings) if resolvable else 0.0,
    )


def _shown_stable(metric: MetricState) -> float | None:
    return _share(metric.step.stable_bad, metric.step.stable) if metric.step.stable else _share(*metric.past)


def _share(bad: int, requests: int) -> float | None:
    return bad / requests if requests else None
