"""Keeps the judge's states of all releases under way: one query per provider and tick, one cursor per release.

A release's state is a pure function of the samples on its time grid. What is kept here in memory is only a cache: after
a restart it is rebuilt from the checkpoint in status and the samples since, through the same code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from modelrelease.api.snapshot import Snapshot
from modelrelease.api.status import ReleaseStatus
from modelrelease.controller.case import Answer, Case
from modelrelease.controller.intake import History, Intake, Pods
from modelrelease.errors import MetricsUnavailable
from modelrelease.judge import Assessment, Series, State, assess, seconds_to_gate
from modelrelease.ports import Clock, Key, Metrics, Samples, Watched
from modelrelease.rollout.analysis import grid_after, grid_before, judge_settings
from modelrelease.rollout.guard import SETTLE_SECONDS
from modelrelease.rollout.seen import AnalysisSeen, MetricsHealth

CATCH_UP_SECONDS = 4.0
"""How long a tick begins new questions for releases that lag; the others wait for it."""

TICK_PHASE_SECONDS = 0.02
"""Ticks come just after a grid point has become old enough."""

_log = structlog.get_logger(__name__)


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
        self._cases: dict[Key, Case] = {}

    def problem(self, provider: str, source: str) -> tuple[str, str] | None:
        """(reason, sentence) where a provider or source is not configured."""
        if provider not in self._providers:
            known = ", ".join(sorted(self._providers)) or "none"
            return "UnknownProvider", (
                f"Prometheus {provider!r} is not in the operator's configuration; set analysis.provider to one that is "
                f"there: {known}."
            )
        if source not in self._sources:
            known = ", ".join(sorted(self._sources))
            return "UnknownSource", (
                f"Metrics source {source!r} is not in the operator's configuration; set analysis.source to one that is "
                f"there: {known}."
            )
        return None

    def forget(self, key: Key) -> None:
        """The release is not analysed any more."""
        self._cases.pop(key, None)

    def look(self, key: Key, watched: Watched, status: ReleaseStatus, pods: Pods, now: float) -> AnalysisSeen:
        """Consume what has arrived, and say what the judge makes of it."""
        snapshot = status.snapshot
        if snapshot is None or snapshot.analysis.provider not in self._providers:
            return AnalysisSeen(MetricsHealth.UNAVAILABLE, "The provider is not configured.", None, None)
        case = self._case(key, watched, status, snapshot)
        if not pods.are_read:
            case.doubt()
        elif case.certain is not None:
            case = self._cases[key] = case.trusted()
        self._consume(case, snapshot, status, pods)
        return self._seen(case, status, snapshot, now)

    def blind(self, key: Key, status: ReleaseStatus, why: str) -> AnalysisSeen:
        """What the judge knew before, at a moment at which nobody can tell what to ask."""
        case = self._cases.get(key)
        state = case.checkpoint if case is not None and case.identity == _identity(status) else _restored(status)
        return AnalysisSeen(MetricsHealth.UNAVAILABLE, f"{why} This is no evidence; the release holds.", None, state)

    def _case(self, key: Key, watched: Watched, status: ReleaseStatus, snapshot: Snapshot) -> Case:
        case = self._cases.get(key)
        identity = _identity(status)
        if case is not None and case.identity == identity and case.watched == watched:
            return case
        scrape = self._providers[snapshot.analysis.provider].scrape_interval_seconds
        is_asked = case is not None and case.watched == watched and case.state is case.checkpoint
        answer = case.answer if case is not None and is_asked else Answer()
        restored = _restored(status)
        anew = _step_begins(status, snapshot) if restored is None else None
        before, case = case, Case(watched, snapshot.analysis, scrape, identity, restored, anew, answer)
        if before is not None and before.identity[0] == identity[0]:
            case.excluded, case.asked_at_seconds = before.excluded, before.asked_at_seconds
        self._cases[key] = case
        return case

    def _consume(self, case: Case, snapshot: Snapshot, status: ReleaseStatus, pods: Pods) -> None:
        answer, intake = case.answer, Intake.of(snapshot, case.scrape_seconds)
        case.exclude(intake.excluded(pods))
        if answer.samples is None or (case.state is None and not pods.are_read):
            return
        until = grid_before(answer.end_seconds - case.lag_seconds, snapshot.analysis.interval)
        if case.state is None:
            begins = intake.history_begins(pods)
            if status.step > 0 and status.started_at is not None:
                begins = min(begins, status.started_at)  # pods that came since run what those before them ran
            since = max(answer.end_seconds - case.history_seconds, begins)
            history = History(answer.samples, answer.pods, since, until)
            case.begin(intake.begun(history, step=status.step), begins)
            return
        case.leave_gap_out()
        before = case.state.cursor_seconds
        case.state = intake.advanced(case.state, answer.samples, case.excluded, until=until)
        if answer.is_piece and case.state.cursor_seconds == before:
            case.pass_over_gap(until)

    def _seen(self, case: Case, status: ReleaseStatus, snapshot: Snapshot, now: float) -> AnalysisSeen:
        health, message = case.health(now)
        if case.state is None:
            return AnalysisSeen(health, message, None, None)
        settings = judge_settings(snapshot.strategy, snapshot.analysis)
        assessment = assess(case.state, settings)
        canary = max((metric.requests_canary for metric in assessment.metrics), default=0)
        return AnalysisSeen(
            health=health,
            message=message,
            assessment=assessment,
            state=case.checkpoint,
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
        cases = {key: case for key, case in self._cases.items() if case.analysis.provider == provider}
        asking = {key: case for key, case in cases.items() if not case.is_patient(now)}
        behind = [key for key, case in asking.items() if case.is_behind(now)]
        together = {key: case for key, case in asking.items() if key not in behind and case.has_news(now)}
        if together:
            start = min(case.start_seconds(now) for case in together.values())
            await self._ask(metrics, together, start, now)
        await self._catch_up(metrics, {key: asking[key] for key in behind})

    async def _catch_up(self, metrics: Metrics, behind: Mapping[Key, Case]) -> None:
        """Ask for each release that lags, the one that waits longest first, as long as the next tick can wait.

        At least one is asked in each tick, and then goes to the end of the line: all get their turn, while those with
        traffic are never kept waiting by more than CATCH_UP_SECONDS and one answer.
        """
        began = self._clock.monotonic()
        for key, case in sorted(behind.items(), key=lambda item: item[1].asked_at_seconds):
            if self._cases.get(key) is not case:
                continue  # forgotten, or begun anew, while others were asked
            now = self._clock.now()
            end = case.end_seconds(now)
            case.asked_at_seconds = self._clock.monotonic()
            await self._ask(metrics, {key: case}, case.start_seconds(now), end, is_piece=end < now)
            if self._clock.monotonic() - began >= CATCH_UP_SECONDS:
                return

    async def _ask(
        self, metrics: Metrics, cases: Mapping[Key, Case], start: float, end: float, *, is_piece: bool = False
    ) -> None:
        watched = {key: case.watched for key, case in cases.items()}
        try:
            answers = await metrics.query(watched, start_seconds=start, end_seconds=end)
            for case in cases.values():
                if case.state is None:
                    case.answer.pods = await _ask_pods(metrics, case.watched, start, end)
        except MetricsUnavailable as failure:
            for key, case in cases.items():
                case.fail(str(failure))
                self._wake(key)
            return
        for key, case in cases.items():
            case.answer.samples = answers.get(key, Samples((), None))
            case.answer.end_seconds = end
            case.answer.is_piece = is_piece
            case.answer.failure = ""
            self._wake(key)


def _identity(status: ReleaseStatus) -> tuple[str, float | None]:
    return status.revision, status.step_started_at


def _step_begins(status: ReleaseStatus, snapshot: Snapshot) -> float | None:
    """The grid point from which samples belong to the current step; None before the first."""
    if status.step == 0 or status.step_started_at is None:
        return None
    return grid_after(status.step_started_at + SETTLE_SECONDS, snapshot.analysis.interval)


def _restored(status: ReleaseStatus) -> State | None:
    """The judge's state from its checkpoint; None where there is none, or one that this version cannot read: then it
    begins anew from stable's history, and the step's samples are judged again."""
    if status.judge is None:
        return None
    try:
        return State.from_json(status.judge)
    except ValueError as problem:
        _log.warning("checkpoint of the judge cannot be read", revision=status.revision, error=str(problem))
        return None


async def _ask_pods(metrics: Metrics, watched: Watched, start: float, end: float) -> Mapping[str, tuple[Series, ...]]:
    """Stable's pods by themselves; none where that cannot be answered: a refinement must not hold a release up."""
    try:
        return await metrics.query_pods(watched, start_seconds=start, end_seconds=end)
    except MetricsUnavailable as failure:
        _log.warning("stable's pods are not compared", service=watched.stable_service, error=str(failure))
        return {}
