"""From raw samples to the judge's state, by the grid of the release. Pure: the same samples give the same state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelrelease.api.snapshot import Snapshot
from modelrelease.api.spec import Analysis
from modelrelease.judge import Series, Settings, State, Window, begin, enter_step, observe, skip_to, windows
from modelrelease.ports import Samples
from modelrelease.rollout.analysis import grid_after, grid_before, judge_settings

Excluded = tuple[float, float]
"""Two grid points, in unix seconds, between which nothing counts."""


@dataclass(frozen=True, slots=True)
class Pods:
    """What the pods of both arms say about which samples count; unix seconds.

    stable_since_seconds: since when stable's oldest pod serves; history before that is another version's.
    canary_changes_seconds: when the canary's pods changed, as far as they show it; a warm-up begins at each.
    outage: from when to when there was no pod of the canary because others took it away.
    are_read: False where pods cannot be read at present: what happens to them is not known.
    """

    stable_since_seconds: float | None = None
    canary_changes_seconds: tuple[float, ...] = ()
    outage: tuple[float, float] | None = None
    are_read: bool = True


@dataclass(frozen=True, slots=True)
class History:
    """What a release begins with.

    pods: stable's pods by themselves; empty where they do not report.
    since_seconds: where what tells something about the version that runs begins.
    until_seconds: the last grid point whose samples are all in.
    """

    samples: Samples
    pods: Mapping[str, tuple[Series, ...]]
    since_seconds: float
    until_seconds: float


@dataclass(frozen=True, slots=True)
class Intake:
    """The rules by which one release's samples count, frozen with its snapshot."""

    settings: Settings
    analysis: Analysis
    scrape_seconds: float

    @staticmethod
    def of(snapshot: Snapshot, scrape_seconds: float) -> Intake:
        return Intake(judge_settings(snapshot.strategy, snapshot.analysis), snapshot.analysis, scrape_seconds)

    def history_begins(self, pods: Pods) -> float:
        """Since when what stable does tells something about the version that runs, in unix seconds."""
        return (pods.stable_since_seconds or 0) + self.analysis.warm_up

    def begun(self, history: History, *, step: int) -> State:
        """The state before any traffic moves, or in `step` (counted from 1): the checkpoint is lost then, or there was
        none when a person waived the comparison."""
        since, until = history.since_seconds, history.until_seconds
        state = begin(
            self.settings,
            at_seconds=until,
            baseline=self._windows(history.samples.series, grid_after(since, self.analysis.interval), until),
            baseline_by_pod=self._by_pod(history),
        )
        return enter_step(state, self.settings, step=step - 1, at_seconds=until) if step > 0 else state

    def _by_pod(self, history: History) -> Mapping[str, list[Window]] | None:
        """The history of each of stable's pods; None where there are not two to compare.

        Pods are scraped at different moments, so their windows are so long that each holds a scrape of every pod:
        else those of one would seldom end where those of another do.
        """
        if len(history.pods) < 2:
            return None
        interval = self.analysis.interval * math.ceil(2 * self.scrape_seconds / self.analysis.interval)
        after = grid_after(history.since_seconds, interval)
        return {
            pod: self._windows(series, after, history.until_seconds, interval) for pod, series in history.pods.items()
        }

    def advanced(self, state: State, samples: Samples, excluded: Sequence[Excluded], *, until: float) -> State:
        """The state after all windows up to `until` that are complete, without what is excluded."""
        change = state.transition
        changes = [] if change is None else [(change.left_seconds, change.entered_seconds)]
        for begins, ends in sorted([*excluded, *changes]):
            if until <= begins:
                break
            # Also where a window was still open when the pods or the weight changed: it must not reach over that.
            state = skip_to(self._observed(state, samples, begins), at_seconds=ends)
        return self._observed(state, samples, until)

    def _observed(self, state: State, samples: Samples, until: float) -> State:
        if state.cursor_seconds >= until:
            return state
        for window in self._windows(samples.series, state.cursor_seconds, until):
            state = observe(state, self.settings, window)
        return state

    def _windows(
        self, series: Sequence[Series], after: float, until: float, interval_seconds: float | None = None
    ) -> list[Window]:
        return windows(
            series,
            after=after,
            until=until,
            interval_seconds=interval_seconds or self.analysis.interval,
            scrape_interval_seconds=self.scrape_seconds,
        )

    def excluded(self, pods: Pods) -> list[Excluded]:
        """Where nothing counts, in either arm: the canary's pods had just changed."""
        interval, warm_up = self.analysis.interval, self.analysis.warm_up
        times = [(changed, changed + warm_up) for changed in pods.canary_changes_seconds]
        if pods.outage is not None:
            times.append(pods.outage)
        return [(grid_before(begins, interval), grid_after(ends, interval)) for begins, ends in times]
