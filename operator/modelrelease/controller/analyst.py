"""From raw samples to the judge's state: one query per provider and tick, one cursor per release.

A release's state is a pure function of the samples on its time grid. What is kept here in memory is only a cache: after
a restart it is rebuilt from the checkpoint in status and the samples since, through the same code.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from modelrelease.api.spec import Analysis
from modelrelease.api.status import ReleaseStatus, Snapshot
from modelrelease.errors import MetricsUnavailable
from modelrelease.judge import (
    LOOKBACK_SCRAPES,
    Assessment,
    State,
    assess,
    begin,
    enter_step,
    observe,
    seconds_to_gate,
    skip_to,
    windows,
)
from modelrelease.ports import Clock, Key, Metrics, Samples, Watched
from modelrelease.rollout.analysis import grid_after, judge_settings
from modelrelease.rollout.seen import AnalysisSeen, MetricsHealth

BASELINE_SECONDS = 600.0
"""Stable's history that thresholds and stakes are chosen from before traffic moves."""

CHUNK_SECONDS = 600.0
"""Longest range that one query asks for; a longer gap after a restart is caught up piece by piece."""

TICK_PHASE_SECONDS = 0.02
"""Ticks come just after a grid point has become old enough."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pods:
    """What the pods of both arms say about which samples count; unix seconds.

    stable_since_seconds: since when stable's oldest pod serves; history before that is another version's.
    canary_changed_seconds: when the canary's pods last changed; the warm-up begins there.
    """

    stable_since_seconds: float | None = None
    canary_changed_seconds: float | None = None


@dataclass(slots=True)
class _Answer:
    """The newest answer for one release."""

    samples: Samples | None = None
    end_seconds: float = 0.0
    is_piece: bool = False
    """It ends before now: more is to come."""
    failure: str = ""


@dataclass(slots=True)
class _Case:
    """One release under analysis."""

    watched: Watched
    analysis: Analysis
    lag_seconds: float
    identity: tuple[str, float | None]
    """Revision and start of the step: another one means another checkpoint."""
    state: State | None = None
    """None until stable's history was read."""
    answer: _Answer = field(default_factory=_Answer)

    def start_seconds(self, now: float, scrape_seconds: float) -> float:
        """Where the next question begins."""
        since = now - BASELINE_SECONDS if self.state is None else min(self.state.cursor_seconds, now)
        return since - LOOKBACK_SCRAPES * scrape_seconds

    def end_seconds(self, now: float) -> float:
        """Where the next question ends: now, or a piece further where much is to be caught up."""
        if self.state is None:
            return now
        return min(now, self.state.cursor_seconds + self.lag_seconds + CHUNK_SECONDS)

    def is_behind(self, now: float) -> bool:
        """Whether its samples are asked for apart, so that all others need not ask for so many."""
        return self.state is None or now - self.state.cursor_seconds > self.lag_seconds + CHUNK_SECONDS / 4

    def has_news(self, now: float) -> bool:
        """Whether a grid point has become old enough since the last answer, or there was none."""
        if self.answer.failure or self.answer.samples is None or self.answer.is_piece:
            return True
        newest, last = (
            grid_before(at - self.lag_seconds, self.analysis.interval) for at in (now, self.answer.end_seconds)
        )
        return newest > last


def grid_before(seconds: float, interval_seconds: float) -> float:
    """Last grid point at or before `seconds`."""
    return math.floor(seconds / interval_seconds) * interval_seconds


class Analyst:
    """Keeps the judge's states of all releases under way."""

    def __init__(
        self,
        providers: Mapping[str, Metrics],
        sources: frozenset[str],
        clock: Clock,
        wake: Callable[[Key], None],
    ) -> None:
        self._providers = providers
        self._sources = sources
        self._clock = clock
        self._wake = wake
        self._cases: dict[Key, _Case] = {}

    def problem(self, provider: str, source: str) -> str:
        """A sentence where a provider or source is not configured; empty where both are."""
        if provider not in self._providers:
            known = ", ".join(sorted(self._providers)) or "none"
            return f"Prometheus {provider!r} is not in the operator's configuration; it has: {known}."
        if source not in self._sources:
            known = ", ".join(sorted(self._sources))
            return f"Metrics source {source!r} is not in the operator's configuration; it has: {known}."
        return ""

    def forget(self, key: Key) -> None:
        """The release is not analysed any more."""
        self._cases.pop(key, None)

    def look(self, key: Key, watched: Watched, status: ReleaseStatus, pods: Pods, now: float) -> AnalysisSeen:
        """Consume what has arrived, and say what the judge makes of it."""
        snapshot = status.snapshot
        if snapshot is None or snapshot.analysis.provider not in self._providers:
            return AnalysisSeen(MetricsHealth.UNAVAILABLE, "The provider is not configured.", None, None)
        case = self._case(key, watched, status, snapshot)
        self._consume(case, snapshot, status.step, pods)
        return self._seen(case, status, snapshot, now)

    def _case(self, key: Key, watched: Watched, status: ReleaseStatus, snapshot: Snapshot) -> _Case:
        case = self._cases.get(key)
        identity = (status.revision, status.step_started_at)
        if case is not None and case.identity == identity and case.watched == watched:
            return case
        scrape = self._providers[snapshot.analysis.provider].scrape_interval_seconds
        lag = max(scrape, snapshot.analysis.lag if snapshot.analysis.lag is not None else 2 * scrape)
        state = _restored(status)
        answer = case.answer if case is not None and case.watched == watched else _Answer()
        case = _Case(watched, snapshot.analysis, lag, identity, state, answer)
        self._cases[key] = case
        return case

    def _consume(self, case: _Case, snapshot: Snapshot, step: int, pods: Pods) -> None:
        samples = case.answer.samples
        if samples is None:
            return
        settings = judge_settings(snapshot.strategy, snapshot.analysis)
        scrape = self._providers[snapshot.analysis.provider].scrape_interval_seconds
        interval = snapshot.analysis.interval
        until = grid_before(case.answer.end_seconds - case.lag_seconds, interval)
        if case.state is None:
            oldest = case.answer.end_seconds - BASELINE_SECONDS
            start = grid_after(max(oldest, (pods.stable_since_seconds or 0) + snapshot.analysis.warm_up), interval)
            history = windows(
                samples.series, after=start, until=until, interval_seconds=interval, scrape_interval_seconds=scrape
            )
            case.state = begin(settings, at_seconds=until, baseline=history)
            if step > 0:
                # The checkpoint is lost, or there was none when a person waived the comparison.
                case.state = enter_step(case.state, settings, step=step - 1, at_seconds=until)
            return
        before = case.state.cursor_seconds
        excluded = _excluded(pods.canary_changed_seconds, snapshot.analysis)
        for stop in (min(until, excluded[0]), until):
            if stop > excluded[0] and case.state.cursor_seconds < excluded[1]:
                # Also where a window was still open when the pods changed: it must not reach over that.
                case.state = skip_to(case.state, at_seconds=excluded[1])
            if case.state.cursor_seconds >= stop:
                continue
            for window in windows(
                samples.series,
                after=case.state.cursor_seconds,
                until=stop,
                interval_seconds=interval,
                scrape_interval_seconds=scrape,
            ):
                case.state = observe(case.state, settings, window)
        if case.answer.is_piece and case.state.cursor_seconds == before:
            # Nothing was scraped in the whole piece; waiting for it would be for ever.
            case.state = skip_to(case.state, at_seconds=until)

    def _seen(self, case: _Case, status: ReleaseStatus, snapshot: Snapshot, now: float) -> AnalysisSeen:
        health, message = self._health(case, now)
        if case.state is None:
            return AnalysisSeen(health, message, None, None)
        settings = judge_settings(snapshot.strategy, snapshot.analysis)
        assessment = assess(case.state, settings)
        canary = max((metric.requests_canary for metric in assessment.metrics), default=0)
        return AnalysisSeen(
            health=health,
            message=message,
            assessment=assessment,
            state=case.state,
            requests_in_step=canary,
            seconds_to_gate=self._seconds_to_gate(case.state, snapshot, assessment, status, now),
        )

    def _seconds_to_gate(
        self, state: State, snapshot: Snapshot, assessment: Assessment, status: ReleaseStatus, now: float
    ) -> float | None:
        elapsed = now - (status.step_started_at or now)
        if elapsed < 2 * snapshot.analysis.interval or not assessment.metrics:
            return None
        metric = max(assessment.metrics, key=lambda one: one.requests_canary)
        settings = judge_settings(snapshot.strategy, snapshot.analysis)
        return seconds_to_gate(
            state,
            settings,
            canary_rps=metric.requests_canary / elapsed,
            stable_rps=metric.requests_stable / elapsed,
        )

    def _health(self, case: _Case, now: float) -> tuple[MetricsHealth, str]:
        answer = case.answer
        if answer.failure:
            return MetricsHealth.UNAVAILABLE, f"{answer.failure} This is no evidence; the release holds."
        if answer.samples is None:
            return MetricsHealth.WAITING, "Waiting for the first answer of Prometheus."
        newest = answer.samples.newest_seconds
        scrape = self._providers[case.analysis.provider].scrape_interval_seconds
        allowed = case.lag_seconds + LOOKBACK_SCRAPES * scrape + case.analysis.interval
        if answer.is_piece:
            return MetricsHealth.WAITING, "Catching up on the samples since the last evaluation."
        if newest is None:
            return MetricsHealth.STALE, (
                f"Prometheus has no samples for {case.watched.stable_service} and {case.watched.canary_service}. "
                "This is no evidence; the release holds."
            )
        if now - newest > allowed:
            return MetricsHealth.STALE, (
                f"The newest sample is {now - newest:.0f} s old, more than {allowed:.0f} s. This is no evidence; the "
                "release holds."
            )
        if case.state is not None and now - case.state.cursor_seconds > allowed + case.lag_seconds:
            return MetricsHealth.WAITING, "Waiting for samples of both arms to be complete."
        return MetricsHealth.FRESH, "Metrics are fresh."

    async def run(self, provider: str) -> None:
        """Ask one provider for ever: one query for all its releases per tick."""
        while True:
            await asyncio.sleep(self._until_tick(provider))
            try:
                await self.tick(provider)
            except MetricsUnavailable as failure:
                _log.warning("metrics unavailable", provider=provider, error=str(failure))

    def _until_tick(self, provider: str) -> float:
        cases = [case for case in self._cases.values() if case.analysis.provider == provider]
        if not cases:
            return 1.0
        quickest = min(cases, key=lambda case: case.analysis.interval)
        interval = quickest.analysis.interval
        phase = quickest.lag_seconds % interval + TICK_PHASE_SECONDS
        now = self._clock.now()
        return grid_before(now - phase, interval) + interval + phase - now

    async def tick(self, provider: str) -> None:
        """Ask once, for all releases that are up to date together and for each that lags by itself."""
        metrics, now = self._providers[provider], self._clock.now()
        scrape = metrics.scrape_interval_seconds
        cases = {key: case for key, case in self._cases.items() if case.analysis.provider == provider}
        together: dict[Key, _Case] = {}
        for key, case in cases.items():
            if case.is_behind(now):
                end = case.end_seconds(now)
                await self._ask(metrics, {key: case}, case.start_seconds(now, scrape), end, is_piece=end < now)
            elif case.has_news(now):
                together[key] = case
        if together:
            start = min(case.start_seconds(now, scrape) for case in together.values())
            await self._ask(metrics, together, start, now)

    async def _ask(
        self, metrics: Metrics, cases: Mapping[Key, _Case], start: float, end: float, *, is_piece: bool = False
    ) -> None:
        watched = {key: case.watched for key, case in cases.items()}
        try:
            answers = await metrics.query(watched, start_seconds=start, end_seconds=end)
        except MetricsUnavailable as failure:
            for key, case in cases.items():
                case.answer.failure = str(failure)
                self._wake(key)
            return
        for key, case in cases.items():
            case.answer.samples = answers.get(key, Samples((), None))
            case.answer.end_seconds = end
            case.answer.is_piece = is_piece
            case.answer.failure = ""
            self._wake(key)


def _restored(status: ReleaseStatus) -> State | None:
    """The judge's state from its checkpoint; None where there is none, or one that this version cannot read: then it
    begins anew from stable's history, and the step's evidence is collected again."""
    if status.judge is None:
        return None
    try:
        return State.from_json(status.judge)
    except ValueError as problem:
        _log.warning("checkpoint of the judge cannot be read", revision=status.revision, error=str(problem))
        return None


def _excluded(pods_changed_seconds: float | None, analysis: Analysis) -> tuple[float, float]:
    """Grid points between which nothing counts, in either arm: the canary's pods have just changed."""
    if pods_changed_seconds is None:
        return math.inf, math.inf
    return (
        grid_before(pods_changed_seconds, analysis.interval),
        grid_after(pods_changed_seconds + analysis.warm_up, analysis.interval),
    )
