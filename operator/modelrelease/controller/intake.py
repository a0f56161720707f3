"""From raw samples to the judge's state, by the grid of the release. Pure: the same samples give the same state."""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelrelease.api.spec import Analysis
from modelrelease.api.status import Snapshot
from modelrelease.judge import Settings, State, Window, begin, enter_step, observe, skip_to, windows
from modelrelease.ports import Samples
from modelrelease.rollout.analysis import grid_after, grid_before, judge_settings

BASELINE_SECONDS = 600.0
"""Stable's history that thresholds and stakes are chosen from before traffic moves."""


@dataclass(frozen=True, slots=True)
class Pods:
    """What the pods of both arms say about which samples count; unix seconds.

    stable_since_seconds: since when stable's oldest pod serves; history before that is another version's.
    canary_changed_seconds: when the canary's pods last changed; the warm-up begins there.
    """

    stable_since_seconds: float | None = None
    canary_changed_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Intake:
    """The rules by which one release's samples count, frozen with its snapshot."""

    settings: Settings
    analysis: Analysis
    scrape_seconds: float

    @staticmethod
    def of(snapshot: Snapshot, scrape_seconds: float) -> Intake:
        return Intake(judge_settings(snapshot.strategy, snapshot.analysis), snapshot.analysis, scrape_seconds)

    def begun(self, samples: Samples, pods: Pods, *, end_seconds: float, until: float, step: int) -> State:
        """The state before any traffic moves, or in `step` (counted from 1): the checkpoint is lost then, or there was
        none when a person waived the comparison.

        Args:
            end_seconds: where the samples end.
            until: the last grid point whose samples are all in.
        """
        oldest = max(end_seconds - BASELINE_SECONDS, (pods.stable_since_seconds or 0) + self.analysis.warm_up)
        history = self._windows(samples, grid_after(oldest, self.analysis.interval), until)
        state = begin(self.settings, at_seconds=until, baseline=history)
        return enter_step(state, self.settings, step=step - 1, at_seconds=until) if step > 0 else state

    def advanced(self, state: State, samples: Samples, pods: Pods, *, until: float) -> State:
        """The state after all windows up to `until` that are complete; the canary's warm-up is left out."""
        excluded = self._excluded(pods.canary_changed_seconds)
        for stop in (min(until, excluded[0]), until):
            if stop > excluded[0] and state.cursor_seconds < excluded[1]:
                # Also where a window was still open when the pods changed: it must not reach over that.
                state = skip_to(state, at_seconds=excluded[1])
            if state.cursor_seconds >= stop:
                continue
            for window in self._windows(samples, state.cursor_seconds, stop):
                state = observe(state, self.settings, window)
        return state

    def _windows(self, samples: Samples, after: float, until: float) -> list[Window]:
        return windows(
            samples.series,
            after=after,
            until=until,
            interval_seconds=self.analysis.interval,
            scrape_interval_seconds=self.scrape_seconds,
        )

    def _excluded(self, pods_changed_seconds: float | None) -> tuple[float, float]:
        """Grid points between which nothing counts, in either arm: the canary's pods have just changed."""
        if pods_changed_seconds is None:
            return math.inf, math.inf
        return (
            grid_before(pods_changed_seconds, self.analysis.interval),
            grid_after(pods_changed_seconds + self.analysis.warm_up, self.analysis.interval),
        )
