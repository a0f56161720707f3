"""Where each limit lies: evidence just below it decides nothing, just above it decides.

What is expected is worked out here from what the documentation promises, and not with the judge's code.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from modelrelease.judge import (
    Arm,
    Blame,
    ErrorTolerance,
    LatencyTolerance,
    Settings,
    State,
    Window,
    assess,
    begin,
    enter_step,
    observe,
    observe_many,
)
from modelrelease.judge.assessment import verdict
from modelrelease.judge.evidence import EFFECT_WEIGHTS
from modelrelease.judge.mixture import Mixture
from modelrelease.judge.plan import plan_of

BOUNDS = (50.0, 100.0, math.inf)
ALPHA, BETA = 0.02, 0.005
"""Neither the defaults nor equal, so that one taken for the other shows."""

ERRORS_CEILING, SLOW_CEILING = 0.04, 0.01
UNSTAKED, LITTLE = 0.15, 1e-4
FAILED, SLOW = 0.01, 0.02
"""Stable's shares in the history; a failed request is slow."""

Ceilings = tuple[bool, bool]
SHARES: list[tuple[Ceilings, float, dict[Blame, float]]] = [
    # Ceilings of errors and latency, latency's share of what both metrics have, and how alpha is divided then.
    ((False, False), 0.5, {"errors": 0.48, "latency": 0.48, "errors-bake": 0.02, "latency-bake": 0.02}),
    ((False, False), 0.1, {"errors": 0.864, "latency": 0.096, "errors-bake": 0.036, "latency-bake": 0.004}),
    (
        (True, False),
        0.5,
        {"errors": 0.43, "latency": 0.43, "errors-bake": 0.02, "latency-bake": 0.02, "errors-ceiling": 0.1},
    ),
    (
        (True, True),
        0.1,
        {"errors": 0.774, "latency": 0.086, "errors-bake": 0.036, "latency-bake": 0.004}
        | {"errors-ceiling": 0.05, "latency-ceiling": 0.05},
    ),
]
PARTS = [(ceilings, latency, shares, part) for ceilings, latency, shares in SHARES for part in shares]


def settings_of(ceilings: Ceilings = (False, False), alpha: float = ALPHA) -> Settings:
    return Settings(
        false_rollback_probability=alpha,
        missed_regression_probability=BETA,
        errors=ErrorTolerance(ceiling=ERRORS_CEILING if ceilings[0] else None),
        latency=LatencyTolerance(ceiling_ms=90.0 if ceilings[1] else None),
    )


def arm(requests: int, errors: int = 0, slow: int = 0) -> Arm:
    """``slow`` counts the failed ones, too."""
    return Arm(requests, errors, BOUNDS, ((requests - slow) // 2, requests - slow, requests - errors))


def in_step(settings: Settings, step: int = 2, known: int = 100_000, phi: float = 1.0) -> State:
    history = Window(0.0, 10.0, arm(known, round(FAILED * known), round(SLOW * known)), arm(0))
    state = begin(settings, at_seconds=10.0, baseline=[history])
    errors, latency = (replace(metric, dispersion=phi) for metric in (state.errors, state.latency))
    return enter_step(replace(state, errors=errors, latency=latency), settings, step=step, at_seconds=10.0)


def after(state: State, settings: Settings, stable: Arm, canary: Arm) -> State:
    at = state.cursor_seconds
    return observe(state, settings, Window(at, at + 10, stable, canary))


def with_evidence(state: State, evidence: dict[Blame, float]) -> State:
    """Stakes that are worth so much, together with what is not staked."""
    fields: dict[str, dict[str, Mixture]] = {"errors": {}, "latency": {}}
    for part, value in evidence.items():
        metric, _, kind = part.partition("-")
        fields[metric][kind or "concurrent"] = Mixture((math.log(value - UNSTAKED),) * len(EFFECT_WEIGHTS))
    return replace(
        state,
        errors=replace(state.errors, **fields["errors"]),
        latency=replace(state.latency, **fields["latency"]),
    )


@pytest.mark.parametrize(("ceilings", "latency_share", "shares", "part"), PARTS)
def test_each_part_of_the_evidence_rolls_back_at_its_share_of_the_promise(
    ceilings: Ceilings, latency_share: float, shares: dict[Blame, float], part: Blame
) -> None:
    """The others, worth 1 each, count with theirs."""
    settings = settings_of(ceilings)
    state = replace(in_step(settings), latency_share=latency_share)
    share = shares[part]
    limit = (1 / ALPHA - (1 - share)) / share
    below, above = (with_evidence(state, {part: limit * times}) for times in (1 - LITTLE, 1 + LITTLE))
    assert None is verdict(below, settings)
    assert part == verdict(above, settings)
    nothing = arm(0), arm(0)
    assert not assess(after(below, settings, *nothing), settings).rollback
    assert part == assess(after(above, settings, *nothing), settings).blame


@pytest.mark.parametrize("alpha", [0.001, ALPHA, 0.3, 0.9])
@pytest.mark.parametrize(("ceilings", "latency_share", "shares", "most"), PARTS)
def test_parts_that_are_each_too_little_roll_back_together_and_the_largest_is_blamed(
    ceilings: Ceilings, latency_share: float, shares: dict[Blame, float], most: Blame, alpha: float
) -> None:
    settings = settings_of(ceilings, alpha)
    state = replace(in_step(settings), latency_share=latency_share)
    each = {part: (1.01 if part == most else 1.0) / share / alpha for part, share in shares.items()}
    total = sum(shares[part] * worth for part, worth in each.items()) * alpha
    below, above = (
        with_evidence(state, {part: worth / total * times for part, worth in each.items()})
        for times in (1 - LITTLE, 1 + LITTLE)
    )
    assert None is verdict(below, settings)
    assert most == verdict(above, settings)


@pytest.mark.parametrize(("ceilings", "latency_share", "shares"), SHARES)
def test_parts_that_all_have_just_enough_roll_back(
    ceilings: Ceilings, latency_share: float, shares: dict[Blame, float]
) -> None:
    """What is staked alone is less than it takes here; what is not counts as well."""
    settings = settings_of(ceilings)
    state = replace(in_step(settings), latency_share=latency_share)
    for times, rolled_back in ((1 - LITTLE, False), (1 + LITTLE, True)):
        reached = with_evidence(state, dict.fromkeys(shares, times / ALPHA))
        assert rolled_back is (verdict(reached, settings) is not None)


def test_the_bar_shows_the_part_that_is_nearest_to_its_limit() -> None:
    settings = settings_of((True, True))
    state = with_evidence(
        in_step(settings), {"errors": 7.0, "errors-ceiling": 30.0, "latency": 9.0, "latency-bake": 2.0}
    )
    shown = [metric.rollback_evidence for metric in assess(state, settings).metrics]
    expected = [math.log(30) / math.log(1 / ALPHA / 0.05), math.log(9) / math.log(1 / ALPHA / 0.43)]
    assert expected == pytest.approx(shown)


BETS = [(0, 0.5), (1, 0.3), (2, 0.2), (None, 1.0)]


def with_gates(state: State, errors: tuple[float, ...], latency: tuple[float, ...]) -> State:
    return replace(state, errors=replace(state.errors, gate=errors), latency=replace(state.latency, gate=latency))


@pytest.mark.parametrize("metric", ["errors", "latency"])
@pytest.mark.parametrize(("bet", "weight"), BETS)
def test_a_gate_is_passed_at_its_promise_by_both_metrics(metric: str, bet: int | None, weight: float) -> None:
    settings = settings_of()
    lost = -50.0
    limit = -math.log(BETA) - math.log(weight)
    for log, passed in ((limit - LITTLE, False), (limit + LITTLE, True)):
        gate = tuple(log if bet in (None, index) else lost for index in range(3))
        enough = (limit + 1,) * 3
        state = with_gates(in_step(settings), *((gate, enough) if metric == "errors" else (enough, gate)))
        found = assess(state, settings)
        assert passed is found.gate_passed
        shown = found.metrics[0 if metric == "errors" else 1].promotion_evidence
        assert min(1.0, log / limit if weight == 1 else 1 + (log - limit) / -math.log(BETA)) == pytest.approx(shown)
        assert not assess(replace(state, blame="latency"), settings).gate_passed


def test_what_the_buckets_cannot_show_holds_up_no_gate() -> None:
    settings = settings_of()
    state = with_gates(in_step(settings), (10.0,) * 3, (0.0,) * 3)
    assert not assess(state, settings).gate_passed
    blind = replace(state, latency=replace(state.latency, bound_ms=None))
    assert assess(blind, settings).gate_passed
    assert [1.0, 0.0] == [metric.promotion_evidence for metric in assess(blind, settings).metrics]


def test_there_is_no_gate_before_the_first_step() -> None:
    settings = settings_of()
    state = begin(settings, at_seconds=0.0, baseline=[])
    assert not assess(with_gates(state, (10.0,) * 3, (10.0,) * 3), settings).gate_passed


@pytest.mark.parametrize(
    ("step", "errors", "latency"),
    [(-1, 0.2, 0.2), (0, 0.04, 0.04), (1, 0.01, 0.01), (2, 0.004, 0.004), (3, 0.001, 0.0), (4, 0.001, 0.0)],
)
def test_what_a_gate_tolerates_shrinks_with_the_weight_that_follows(step: int, errors: float, latency: float) -> None:
    settings = Settings()
    found = [plan_of(settings, step, name).gate_increase for name in ("errors", "latency")]
    assert [errors, latency] == pytest.approx(found)


def test_no_gate_tolerates_harm_to_more_than_half_of_the_requests() -> None:
    assert 0.5 == plan_of(Settings(harm_budget=0.03), 0, "latency").gate_increase


@pytest.mark.parametrize(("step", "stable"), [(0, 99), (1, 19), (2, 4), (3, 1)])
def test_windows_wait_until_one_canary_request_is_expected(step: int, stable: int) -> None:
    settings = settings_of()
    state = in_step(settings, step)
    early = after(state, settings, arm(stable - 1), arm(1, 1, 1))
    assert (stable - 1, stable - 1) == (early.errors.pending.stable, early.latency.pending.stable)
    assert early.errors.concurrent == state.errors.concurrent
    due = after(early, settings, arm(1), arm(0))
    assert (0, 0) == (due.errors.pending.stable, due.latency.pending.stable)
    assert due.errors.concurrent.log_evidence > state.errors.concurrent.log_evidence


@pytest.mark.parametrize(("ceilings", "latency_share", "shares"), SHARES)
@pytest.mark.parametrize("part", ["errors", "latency"])
def test_one_bad_request_wins_what_a_rollback_lacks_and_little_more(
    ceilings: Ceilings, latency_share: float, shares: dict[Blame, float], part: Blame
) -> None:
    """At 1 %, where a bad request might win a factor of 90; stable has about as many bad ones as expected."""
    settings = settings_of(ceilings)
    needed = 1 / ALPHA / shares[part]
    state = with_evidence(replace(in_step(settings, 0), latency_share=latency_share), {part: needed / 3})
    failed = 2 if part == "errors" else 0
    grown = after(state, settings, arm(99, failed, 3), arm(1, int(part == "errors"), 1))
    metric = grown.errors if part == "errors" else grown.latency
    assert needed < math.exp(metric.concurrent.log_evidence) < 1.2 * needed


def rates(limit: float) -> list[float]:
    """What is bet on: 1.2 to 12 times a limit, and 60 %; at most halfway between the limit and all."""
    return [min(rate, (1 + limit) / 2) for rate in (*(limit * effect for effect in (1.2, 1.65, 2.7, 5, 12)), 0.6)]


def expected_logs(bad: int, requests: int, limit: float, phi: float) -> list[float]:
    """The likelihood ratios of one window against a fixed limit, after the first stakes of 85 %; e^-60 is nothing."""
    served = requests - bad
    grown = [bad * math.log(rate / limit) + served * math.log((1 - rate) / (1 - limit)) for rate in rates(limit)]
    return [max(math.log(0.85) + log / phi, -60.0) for log in grown]


@pytest.mark.parametrize("phi", [1.0, 4.0])
def test_ceilings_count_the_canary_alone_and_discount_its_bursts(phi: float) -> None:
    settings = settings_of((True, True))
    settings = replace(settings, latency=LatencyTolerance(ceiling_ms=100.0))  # is a bound itself
    state = in_step(settings, phi=phi)
    state = replace(state, latency=replace(state.latency, dispersion=2 * phi))
    state = after(state, settings, arm(400, 390, 400), arm(100, 6, 9))
    errors, latency = state.errors.ceiling, state.latency.ceiling
    assert errors is not None
    assert latency is not None
    assert expected_logs(6, 100, ERRORS_CEILING, phi) == pytest.approx(errors.logs, abs=2e-6)
    assert expected_logs(9, 100, SLOW_CEILING, 2 * phi) == pytest.approx(latency.logs, abs=2e-6)


@pytest.mark.parametrize("phi", [1.0, 4.0])
@pytest.mark.parametrize("known", [2000, 200_000])
def test_the_bake_tolerates_half_more_than_the_margin_around_what_stable_surely_had(known: int, phi: float) -> None:
    """The upper rate u is Wilson's: two standard errors of u itself above what was seen."""
    settings = settings_of()
    state = in_step(settings, step=4, known=known, phi=phi)
    ratio = state.latency.ratio
    limits = state.errors.bake_limit, state.latency.bake_limit
    for limit, (seen, times, more) in zip(limits, ((FAILED, 1.1, 0.001), (SLOW, ratio, 0.0)), strict=True):
        assert limit is not None
        upper = (limit / 1.5 - more) / times
        assert 2 == pytest.approx((upper - seen) / math.sqrt(upper * (1 - upper) / (known / phi)), rel=0.03)
    errors, latency = 70, 90
    baked = after(state, settings, arm(0), arm(1000, errors, latency))
    for metric, bad in ((baked.errors, errors), (baked.latency, latency)):
        assert metric.bake is not None
        assert metric.bake_limit is not None
        assert expected_logs(bad, 1000, metric.bake_limit, phi) == pytest.approx(metric.bake.logs, abs=2e-6)


def test_a_bake_has_no_limit_where_nothing_is_known_or_everything_tolerated() -> None:
    settings = settings_of()
    wide = replace(settings, errors=ErrorTolerance(max_ratio=70.0))
    assert in_step(wide, step=4).errors.bake_limit is None
    assert in_step(settings, step=4, known=0).errors.bake_limit is None
    assert in_step(replace(wide, errors=ErrorTolerance(max_ratio=60.0)), step=4).errors.bake_limit is not None


def test_a_step_makes_fresh_stakes_where_the_old_ones_are_worth_less() -> None:
    """A window only where they are worth less by e²; here by 1.8 times. The first fresh one is worth 0.055."""
    settings = settings_of((True, False))
    state = with_evidence(in_step(settings), {"errors": UNSTAKED + 0.03, "errors-ceiling": UNSTAKED + 0.03})
    seen = after(state, settings, arm(400), arm(100))
    assert seen.errors.ceiling is not None
    assert {0} == {*seen.errors.concurrent.restarts, *seen.errors.ceiling.restarts}
    moved = enter_step(state, settings, step=3, at_seconds=20.0)
    assert moved.errors.ceiling is not None
    assert {1} == {*moved.errors.concurrent.restarts, *moved.errors.ceiling.restarts}
    assert moved.errors.concurrent.log_evidence == pytest.approx(math.log(UNSTAKED + 0.03), abs=1e-5)


def test_what_waits_at_the_end_of_a_step_is_only_stables_past() -> None:
    settings = settings_of()
    state = after(in_step(settings, step=0), settings, arm(98, 7), arm(1, 1))
    assert (98, 1) == (state.errors.pending.stable, state.errors.pending.canary)
    moved = enter_step(state, settings, step=1, at_seconds=state.cursor_seconds)
    assert (0, 0) == (moved.errors.pending.stable, moved.errors.pending.canary)
    assert (1000 + 7, 100_000 + 98) == moved.errors.past


def test_the_first_blame_stays() -> None:
    settings = settings_of()
    state = replace(with_evidence(in_step(settings), {"errors": 1e6}), blame="latency")
    assert "latency" == after(state, settings, arm(4), arm(1)).blame


def test_an_arm_without_the_bound_is_not_compared() -> None:
    settings = settings_of()
    state = in_step(settings)
    other = Arm(400, 0, (70.0, math.inf), (300, 400))
    for stable, canary in ((other, arm(100, 0, 60)), (arm(400), other)):
        found = after(state, settings, stable, canary)
        assert state.latency == found.latency
        assert state.errors != found.errors


def test_the_share_of_latency_is_fixed_with_the_first_step() -> None:
    settings = settings_of()
    coarse = Window(0.0, 10.0, Arm(5000, 0, (10.0, math.inf), (0, 5000)), arm(0))
    state = enter_step(begin(settings, at_seconds=10.0, baseline=[coarse]), settings, step=0, at_seconds=10.0)
    state = after(state, settings, arm(5000, 0, 60), arm(50))
    moved = enter_step(state, settings, step=1, at_seconds=state.cursor_seconds)
    assert moved.latency.bound_ms == 100.0
    assert (0.1, 0.1) == (state.latency_share, moved.latency_share)


def test_bursts_are_known_by_metric_and_from_pods_where_they_are_told_apart() -> None:
    """Both pods stumble together, which costs nothing; and one alone is slow now and then."""
    settings = settings_of()
    pods: dict[str, list[Window]] = {"a": [], "b": []}
    for index in range(60):
        failed = 40 if index % 6 == 0 else 0
        for name, windows in pods.items():
            slow = 30 * (name == "a" and index % 5 == 0)
            windows.append(Window(10.0 * index, 10.0 * index + 10, arm(1000, failed, failed + slow), arm(0)))
    both = [
        Window(a.start_seconds, a.end_seconds, arm(2000, 2 * a.stable.errors, 2 * a.stable.errors), arm(0))
        for a in pods["a"]
    ]
    told = begin(settings, at_seconds=600.0, baseline=both, baseline_by_pod=pods)
    pooled = begin(settings, at_seconds=600.0, baseline=both)
    assert told.errors.dispersion == 1.0 < pooled.errors.dispersion
    assert told.latency.dispersion > 2.0


def ceilings_reached(multiple: float, count: int, seed: int) -> dict[Blame, np.ndarray]:
    """The highest evidence in 30 windows, for a canary with so many times the rates that the ceilings allow."""
    settings = settings_of((True, True), alpha=1e-9)
    rng = np.random.default_rng(seed)
    states = [in_step(settings, step=3)] * count
    top: dict[Blame, np.ndarray] = {"errors-ceiling": np.zeros(count), "latency-ceiling": np.zeros(count)}
    for index in range(30):
        requests = (20, 300, 3)[index % 3]
        failed = rng.binomial(requests, multiple * ERRORS_CEILING, count)
        slow = rng.binomial(requests, multiple * SLOW_CEILING, count)
        at = states[0].cursor_seconds
        arms = [
            Arm(requests, int(bad), BOUNDS, (0, requests - int(late), requests))
            for bad, late in zip(failed, slow, strict=True)
        ]
        states = observe_many([
            (state, settings, Window(at, at + 10, arm(0), canary))
            for state, canary in zip(states, arms, strict=True)
        ])  # fmt: skip
        for part, mixtures in (
            ("errors-ceiling", [state.errors.ceiling for state in states]),
            ("latency-ceiling", [state.latency.ceiling for state in states]),
        ):
            logs = np.array([mixture.log_evidence for mixture in mixtures if mixture is not None])
            top[part] = np.maximum(top[part], logs)
    return top


def test_a_canary_at_a_ceiling_rarely_looks_as_if_it_were_above() -> None:
    """(b) P(sup E >= 1/a) <= a for ceilings, looked at after each window."""
    count = 500
    for top in ceilings_reached(1.0, count, seed=3).values():
        for probability in (0.2, 0.05, 0.01):
            limit = probability + 3 * math.sqrt(probability * (1 - probability) / count)
            assert np.mean(top >= -math.log(probability)) <= limit


def test_a_canary_above_a_ceiling_is_found() -> None:
    """The simulation above can fail."""
    for top in ceilings_reached(1.5, 100, seed=4).values():
        assert np.mean(top >= -math.log(0.05)) > 0.2
