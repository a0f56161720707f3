"""Releases of a version that equals stable, played on stable's own traffic: what the judge would have said, and when.

Each window's requests are dealt to the two arms at random by the weight of the step. Both arms then are samples of one
population, so a rollback would be false, and each time that a gate takes is one that an equal canary would see. What
this cannot show are bursts that hit one arm only: dealing spreads them over both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from modelrelease.api.spec import Analysis, Strategy
from modelrelease.cli.measured import Traffic
from modelrelease.judge import Settings, State, Window, begin, enter_step
from modelrelease.judge.evidence import gate_log_evidence
from modelrelease.judge.process import observe_many
from modelrelease.judge.samples import Arm
from modelrelease.rollout.analysis import grid_after, judge_settings
from modelrelease.rollout.guard import SETTLE_SECONDS


@dataclass(frozen=True, slots=True)
class Pace:
    """What a release waits for beside evidence.

    lag_seconds: how far behind now the judge works.
    startup_seconds: from a pod's creation until it is ready.
    grows: per step, whether its weight takes more canary pods than the one before; their start is waited for, and then
        nothing counts during the warm-up.
    """

    lag_seconds: float
    startup_seconds: float
    grows: tuple[bool, ...]


@dataclass(slots=True)
class Run:
    """One release. Times are unix seconds of the traffic that it was played on."""

    state: State
    step: int
    began_seconds: float
    step_seconds: list[float] = field(default_factory=list)
    """How long each finished step lasted."""
    blame: str = ""
    is_over: bool = False
    due_seconds: float = 0.0

    def lasted(self, step: int, end_seconds: float) -> tuple[float, bool] | None:
        """How long a step (from 0) lasted, in seconds, and whether to its end; where the history ended before it, at
        `end_seconds`, it would have lasted longer. None where the run did not get there, or was rolled back there."""
        if step < len(self.step_seconds):
            return self.step_seconds[step], True
        if step > self.step or self.is_over:
            return None
        return max(0.0, end_seconds - self.began_seconds), False


@dataclass(frozen=True, slots=True)
class Play:
    """The rules by which the runs go."""

    settings: Settings
    strategy: Strategy
    analysis: Analysis
    pace: Pace

    @staticmethod
    def of(strategy: Strategy, analysis: Analysis, pace: Pace) -> Play:
        return Play(judge_settings(strategy, analysis), strategy, analysis, pace)


def cycled(found: Sequence[Window], seconds: float) -> Iterator[Window]:
    """The same windows over and over, as if time went on, for `seconds` in all."""
    span = found[-1].end_seconds - found[0].start_seconds
    for turn in count():
        for window in found:
            if turn * span + window.start_seconds - found[0].start_seconds >= seconds:
                return
            shift = turn * span
            yield Window(window.start_seconds + shift, window.end_seconds + shift, window.stable, window.canary)


def replay(play: Play, baseline: Traffic, played: Iterable[Window], runs: int, seed: int = 1) -> list[Run]:
    """Play `runs` releases. `baseline` is the history that each begins with."""
    random = np.random.default_rng(seed)
    started: list[Run] = []
    for window in played:
        if not started:
            at = window.start_seconds
            state = begin(play.settings, at_seconds=at, baseline=baseline.windows, baseline_by_pod=baseline.pods)
            started = [_entered(play, Run(state, -1, at), 0, at) for _ in range(runs)]
        active = [run for run in started if not run.is_over and run.state.cursor_seconds <= window.start_seconds]
        if active:
            dealt = deal(window, [play.strategy.steps[run.step].weight for run in active], random)
            judged = observe_many([(run.state, play.settings, one) for run, one in zip(active, dealt, strict=True)])
            passed = _gates_passed(judged, play.settings)
            for run, state, is_passed in zip(active, judged, passed, strict=True):
                run.state = state
                _go_on(play, run, window, is_passed=is_passed)
        elif all(run.is_over for run in started):
            break
    return started


def _entered(play: Play, run: Run, step: int, at_seconds: float) -> Run:
    """Begin a step: what the operator does in `step_changes`, and the warm-up where pods were added."""
    warm_up = play.analysis.warm_up if play.pace.grows[step] else 0.0
    counted_from = grid_after(at_seconds + max(SETTLE_SECONDS, warm_up), play.analysis.interval)
    run.state = enter_step(run.state, play.settings, step=step, at_seconds=counted_from)
    run.step, run.began_seconds = step, at_seconds
    lasting = play.strategy.steps[step].min_duration
    if play.strategy.steps[step].weight == 100:
        lasting = max(lasting, play.strategy.bake_time)
    run.due_seconds = at_seconds + lasting
    return run


def _go_on(play: Play, run: Run, window: Window, *, is_passed: bool) -> None:
    """What the operator makes of a window, once it is old enough to be looked at."""
    if run.state.blame is not None:
        run.blame, run.is_over = run.state.blame, True
        return
    visible = window.end_seconds + play.pace.lag_seconds
    if not is_passed or visible + play.analysis.interval <= run.due_seconds:
        return
    ends = max(visible, run.due_seconds)
    following = run.step + 1
    if following >= len(play.strategy.steps):
        run.step_seconds.append(ends - run.began_seconds)
        run.is_over = True
        return
    ends += play.pace.startup_seconds if play.pace.grows[following] else 0.0
    run.step_seconds.append(ends - run.began_seconds)
    _entered(play, run, following, ends)


def deal(window: Window, weights_percent: Sequence[int], random: np.random.Generator) -> list[Window]:
    """The window with its stable requests dealt to both arms, each to the canary with the probability of the weight;
    once per weight, independently."""
    arm = window.stable
    shares = np.array(weights_percent)[:, None] / 100
    within = np.maximum(np.diff(np.array([0, *arm.at_most], dtype=np.int64)), 0)
    timed = arm.timed
    failed = max(0, timed - int(within.sum()))
    is_one_count = timed == arm.requests and failed == arm.errors
    kinds = [*within, failed] if is_one_count else [*within, failed, arm.errors, arm.requests - arm.errors]
    dealt = random.binomial(np.array(kinds, dtype=np.int64), shares)
    at_most = np.cumsum(dealt[:, : len(within)], axis=1)
    timed_each = dealt[:, : len(within) + 1].sum(axis=1)
    errors = dealt[:, len(within)] if is_one_count else dealt[:, -2]
    requests = timed_each if is_one_count else dealt[:, -2] + dealt[:, -1]
    figures = zip(requests.tolist(), errors.tolist(), at_most.tolist(), timed_each.tolist(), strict=True)
    canaries = [Arm(*one[:2], arm.bounds_ms, tuple(one[2]), one[3] if arm.bounds_ms else -1) for one in figures]
    return [Window(window.start_seconds, window.end_seconds, _rest(arm, canary), canary) for canary in canaries]


def _rest(arm: Arm, canary: Arm) -> Arm:
    return Arm(
        requests=arm.requests - canary.requests,
        errors=arm.errors - canary.errors,
        bounds_ms=arm.bounds_ms,
        at_most=tuple(all_ - part for all_, part in zip(arm.at_most, canary.at_most, strict=True)),
        timed=arm.timed - canary.timed if arm.bounds_ms else -1,
    )


def _gates_passed(states: Sequence[State], settings: Settings) -> list[bool]:
    """As `assess` has it, for many at once and without all that only people look at."""
    needed = -math.log(settings.missed_regression_probability)
    errors = gate_log_evidence(np.array([state.errors.gate for state in states]))
    latency = gate_log_evidence(np.array([state.latency.gate for state in states]))
    return [
        settings.weights[state.step] == 100
        or bool(error >= needed and (slow >= needed or state.latency.bound_ms is None))
        for state, error, slow in zip(states, errors, latency, strict=True)
    ]
