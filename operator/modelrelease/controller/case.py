"""One release under analysis: what is to be asked of Prometheus for it, and whether the answers are sound. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from modelrelease.api.durations import format_duration
from modelrelease.api.spec import Analysis
from modelrelease.controller.intake import Excluded
from modelrelease.judge import LOOKBACK_SCRAPES, Series, State, history_shortfall, skip_to
from modelrelease.ports import Samples, Watched
from modelrelease.rollout.analysis import grid_before
from modelrelease.rollout.seen import MetricsHealth

LONGER_HISTORY = 6
"""How many times the baseline is read where that holds too few requests to know stable's P99."""

HISTORY_AGAIN_SECONDS = 5.0
"""How often the whole history is asked for while it is waited for."""

CHUNK_SECONDS = 600.0
"""Longest range that one query asks for; a longer gap after a restart is caught up piece by piece."""


@dataclass(slots=True)
class Answer:
    """The newest answer for one release."""

    samples: Samples | None = None
    end_seconds: float = 0.0
    is_piece: bool = False
    """It ends before now: more is to come."""
    failure: str = ""
    pods: Mapping[str, tuple[Series, ...]] = field(default_factory=dict)
    """Stable's pods by themselves, in the answer that a release begins with."""


@dataclass(slots=True)
class Case:
    """One release under analysis."""

    watched: Watched
    analysis: Analysis
    scrape_seconds: float
    identity: tuple[str, float | None]
    """Revision and start of the step: another one means another checkpoint."""
    state: State | None = None
    """None until stable's history was read, and was enough."""
    step_begins_seconds: float | None = None
    """Grid point at which the step began whose checkpoint is lost: all since then is judged again, against stable's
    history before that. In a bake stable's newest history is empty. None where nothing is lost."""
    answer: Answer = field(default_factory=Answer)
    reads_more: bool = False
    """Whether more of stable's history is read than the baseline."""
    short: State | None = None
    """The state from the baseline alone, while more is read: taken where that cannot be had."""
    history_missing: str = ""
    """Why stable's history is not enough yet, in a sentence."""
    ask_from_seconds: float = 0.0
    """When to ask for the history again."""
    asked_at_seconds: float = -math.inf
    """When it was last asked for by itself, by the clock that never jumps."""
    empty_until_seconds: float = 0.0
    """Up to here nothing was scraped since the cursor."""
    excluded: tuple[Excluded, ...] = ()
    """What is to be left out once samples of it are old enough to be judged, in order of time."""
    certain: State | None = None
    """While pods cannot be read: the state as of when they could. `state` goes on, and what it says may be due to pods
    that had just started or were taken away; once pods can be read, all since then is judged again. None while they
    can."""

    @property
    def lag_seconds(self) -> float:
        """How far behind now a sample must be, so that late scrapes are in."""
        wanted = self.analysis.lag
        return max(self.scrape_seconds, wanted if wanted is not None else 2 * self.scrape_seconds)

    @property
    def history_seconds(self) -> float:
        """How much of stable's history is asked for."""
        return self.analysis.baseline * (LONGER_HISTORY if self.reads_more else 1)

    def start_seconds(self, now: float) -> float:
        """Where the next question begins."""
        begins = self._history_ends(now) - self.history_seconds
        since = begins if self.state is None else min(self._asked_until(now), now)
        return since - LOOKBACK_SCRAPES * self.scrape_seconds

    def end_seconds(self, now: float) -> float:
        """Where the next question ends: now, or a piece further where much is to be caught up."""
        if self.state is None:
            return self._history_ends(now)
        return min(now, self._asked_until(now) + self.lag_seconds + CHUNK_SECONDS)

    def _history_ends(self, now: float) -> float:
        """Where the history of stable ends that is asked for first, late scrapes included."""
        return now if self.step_begins_seconds is None else min(now, self.step_begins_seconds + self.lag_seconds)

    def _asked_until(self, now: float) -> float:
        """Where the next question goes on; a stretch that was found empty while the clock was wrong counts no more."""
        cursor = -math.inf if self.state is None else self.state.cursor_seconds
        return max(cursor, self.empty_until_seconds) if self.empty_until_seconds <= now else cursor

    @property
    def checkpoint(self) -> State | None:
        """The state that nothing which is not known yet can change."""
        return self.state if self.certain is None else self.certain

    def doubt(self) -> None:
        """What comes from now on may be due to what happens to the canary's pods, which cannot be read."""
        self.certain = self.checkpoint

    def trusted(self) -> Case:
        """Pods can be read: what was doubted is to be asked for again, and answers on their way do not hold that."""
        if self.state is self.certain:
            return replace(self, certain=None)
        return replace(self, state=self.certain, certain=None, answer=Answer(), empty_until_seconds=0.0)

    def exclude(self, ranges: Iterable[Excluded]) -> None:
        """Leave these ranges out, also when nothing shows them any more by the time that the cursor gets there.

        Samples are judged `lag` after a pod was asked to go, which is often gone by then. A restart forgets them, and
        finds them again: pods that are there show since when, those that went are in status (`departures`), and where
        the last available pod was taken away, that is found from the loss that stands there.
        """
        cursor = -math.inf if self.checkpoint is None else self.checkpoint.cursor_seconds
        self.excluded = tuple(sorted(one for one in {*self.excluded, *ranges} if one[1] > cursor))

    def pass_over_gap(self, until_seconds: float) -> None:
        """Go on after a piece from which no window could be made: waiting for it would be for ever.

        The state's cursor never gets ahead of what was scraped. When this machine's clock is an hour ahead, all that
        comes for an hour after it was set right would be left out otherwise, a breach included.
        """
        if self.state is None:
            return
        newest = self._newest_seconds()
        if newest <= self.state.cursor_seconds:
            self.empty_until_seconds = until_seconds
        else:
            scraped_until = grid_before(min(newest, until_seconds), self.analysis.interval)
            self.state = skip_to(self.state, at_seconds=scraped_until)

    def leave_gap_out(self) -> None:
        """Samples have come after a stretch without any."""
        if self.state is not None and self.state.cursor_seconds < self.empty_until_seconds < self._newest_seconds():
            self.state = skip_to(self.state, at_seconds=self.empty_until_seconds)

    def _newest_seconds(self) -> float:
        newest = self.answer.samples.newest_seconds if self.answer.samples is not None else None
        return -math.inf if newest is None else newest

    def is_behind(self, now: float) -> bool:
        """Whether its samples are asked for apart, so that all others need not ask for so many."""
        return self.state is None or now - self.state.cursor_seconds > self.lag_seconds + CHUNK_SECONDS / 4

    def is_patient(self, now: float) -> bool:
        """Whether its next question has time."""
        return self.state is None and now < self.ask_from_seconds

    def begin(self, state: State, begins_seconds: float) -> None:
        """Take the state from stable's history, unless that says too little about stable's P99 and more is to be had.

        Within a step it is taken in any case: nothing is held up that has begun. Of a stable that has served for long,
        more is asked for at once. Of a young one there will be more, until it is as old as the baseline; what is not
        known by then is not waited for.

        Args:
            begins_seconds: since when stable's history tells something, in unix seconds.
        """
        short, left = history_shortfall(state), begins_seconds + self.analysis.baseline - self.answer.end_seconds
        self.history_missing = ""
        if self.step_begins_seconds is not None:
            self.state = skip_to(state, at_seconds=self.step_begins_seconds)
        elif short and left > 0:
            self.history_missing = (
                f"Stable has served for too short a time to know its P99: it takes about {short:,} more requests, or "
                f"{format_duration(max(1.0, left))}."
            )
            self.ask_from_seconds = self.answer.end_seconds + min(left, HISTORY_AGAIN_SECONDS)
        elif short and not self.reads_more and left < 0:
            self.reads_more, self.short = True, state
            self.answer = Answer()
        else:
            self.state = state

    def fail(self, failure: str) -> None:
        """There was no answer.

        A longer history that cannot be read is done without: a query that is too large fails the next time as well.
        """
        if self.state is None and self.short is not None:
            self.state, self.short = self.short, None
        self.answer.failure = failure

    def has_news(self, now: float) -> bool:
        """Whether a grid point has become old enough since the last answer, or there was none."""
        if self.answer.failure or self.answer.samples is None or self.answer.is_piece:
            return True
        if now < self.answer.end_seconds:
            return True  # the clock was set back
        newest, last = (
            grid_before(at - self.lag_seconds, self.analysis.interval) for at in (now, self.answer.end_seconds)
        )
        return newest > last

    def health(self, now: float) -> tuple[MetricsHealth, str]:
        """Whether the newest answer is something to stand on, with a sentence for the condition."""
        answer = self.answer
        if answer.failure:
            return MetricsHealth.UNAVAILABLE, f"{answer.failure} This is no evidence; the release holds."
        if answer.samples is None:
            return MetricsHealth.WAITING, "Waiting for the first answer of Prometheus."
        newest = answer.samples.newest_seconds
        allowed = self.lag_seconds + LOOKBACK_SCRAPES * self.scrape_seconds + self.analysis.interval
        if answer.is_piece:
            return MetricsHealth.WAITING, "Catching up on the samples since the last evaluation."
        if newest is None:
            return MetricsHealth.STALE, (
                f"Prometheus has no samples for {self.watched.stable_service} and {self.watched.canary_service}. "
                "This is no evidence; the release holds."
            )
        if now - newest > allowed:
            return MetricsHealth.STALE, (
                f"The newest sample is {now - newest:.0f} s old, more than {allowed:.0f} s. This is no evidence; the "
                "release holds."
            )
        if self.state is not None and now - self.state.cursor_seconds > allowed + self.lag_seconds:
            return MetricsHealth.WAITING, "Waiting for samples of both arms to be complete."
        if self.state is None and self.history_missing:
            return MetricsHealth.WAITING, self.history_missing
        return MetricsHealth.FRESH, " ".join(filter(None, ("Metrics are fresh.", self.watched.senders.problem)))
