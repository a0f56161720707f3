"""How many releases there are and where they stand, told to Prometheus when it asks.

Counts over all releases have few labels whatever happens. Single releases are shown only while they are under way, and
only so many of them; those that are left out are counted. Only the leader tells: a standby knows nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelrelease.api.status import ConditionStatus, ConditionType, MetricStatus, Phase, ReleaseStatus
from modelrelease.ports import Key
from modelrelease.rollout.seen import AnalysisSeen, MetricsHealth

MOST_RELEASES = 200
"""Releases shown one by one, at most; each is about 18 series."""

_OF_RELEASE = ["release_namespace", "release"]
"""`namespace` would clash with the label of the scraped pod."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one release stands."""

    phase: Phase
    stalled: str = ""
    """Reason of the condition Stalled; empty where it does not hold."""
    health: MetricsHealth | None = None
    """Of its analysis; None where none is under way."""
    judged_until: float | None = None
    """Time of the newest samples that the judge has weighed, unix seconds."""
    step: int = 0
    steps: int = 0
    weight_percent: int = 0
    step_started_seconds: float | None = None
    metrics: tuple[MetricStatus, ...] = ()


def entry_of(status: ReleaseStatus, analysis: AnalysisSeen | None) -> Entry:
    """What the census keeps of a status, and of what the judge says."""
    stalled = status.condition(ConditionType.STALLED)
    is_stalled = stalled is not None and stalled.status is ConditionStatus.TRUE
    reason = stalled.reason if stalled is not None and is_stalled else ""
    if status.phase.is_at_rest:
        return Entry(status.phase, reason)
    state = analysis.state if analysis is not None else None
    return Entry(
        phase=status.phase,
        stalled=reason,
        health=analysis.health if analysis is not None else None,
        judged_until=state.cursor_seconds if state is not None else None,
        step=status.step,
        steps=status.steps,
        weight_percent=status.weight,
        step_started_seconds=status.step_started_at,
        metrics=tuple(status.analysis.metrics),
    )


class Census(Collector):
    """Register it with prometheus_client; `note` what each look at a release found."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        is_leading: Callable[[], bool] = lambda: True,
        most_releases: int = MOST_RELEASES,
    ) -> None:
        self._now = now
        self._is_leading = is_leading
        self._most_releases = most_releases
        self._entries: dict[Key, Entry] = {}

    def note(self, key: Key, entry: Entry) -> None:
        """What stands for a release moves to the end when a release begins, so that the oldest are shown first."""
        before = self._entries.get(key)
        if before is not None and before.phase.is_at_rest and not entry.phase.is_at_rest:
            del self._entries[key]
        self._entries[key] = entry

    def forget(self, key: Key) -> None:
        """The release is deleted."""
        self._entries.pop(key, None)

    def collect(self) -> Iterator[Metric]:
        entries = self._entries if self._is_leading() else {}
        active = [(key, entry) for key, entry in entries.items() if not entry.phase.is_at_rest]
        shown = active[: self._most_releases]
        yield from self._totals(entries.values(), [entry for _, entry in active])
        yield _gauge(
            "modelrelease_releases_not_shown",
            "Releases under way that the metrics of single releases leave out, because there are too many.",
            [((), len(active) - len(shown))],
        )
        yield from self._single(shown)

    def _lag(self, judged_until: float) -> float:
        """Seconds; 0 while what comes next is not counted yet, because pods or the step have just changed."""
        return max(0.0, self._now() - judged_until)

    def _totals(self, entries: Iterable[Entry], active: list[Entry]) -> Iterator[Metric]:
        listed = list(entries)
        phases = Counter(entry.phase for entry in listed)
        stalled = Counter(entry.stalled for entry in listed if entry.stalled)
        health = Counter(entry.health for entry in active if entry.health is not None)
        lags = [self._lag(entry.judged_until) for entry in active if entry.judged_until is not None]
        yield _gauge(
            "modelrelease_releases",
            "ModelReleases by phase.",
            [((phase,), phases[phase]) for phase in Phase],
            ["phase"],
        )
        yield _gauge(
            "modelrelease_stalled_releases",
            "ModelReleases that only a person can get on, by the reason of their condition Stalled.",
            [((reason,), count) for reason, count in sorted(stalled.items())],
            ["reason"],
        )
        yield _gauge(
            "modelrelease_analysed_releases",
            "Releases under analysis, by whether there are metrics to judge them by.",
            [((each,), health[each]) for each in MetricsHealth],
            ["health"],
        )
        yield _gauge(
            "modelrelease_evaluation_lag_seconds",
            "Age of the newest samples that the judge has weighed, of the release that is furthest behind.",
            [((), max(lags, default=0.0))],
        )

    def _single(self, shown: list[tuple[Key, Entry]]) -> Iterator[Metric]:
        names = [((key.namespace, key.name), entry) for key, entry in shown]
        yield _gauge(
            "modelrelease_release_phase",
            "1 for the phase of a release under way.",
            [((*name, entry.phase), 1) for name, entry in names],
            [*_OF_RELEASE, "phase"],
        )
        for metric, text, value in _FIGURES:
            yield _gauge(metric, text, [(name, value(entry)) for name, entry in names], _OF_RELEASE)
        yield _gauge(
            "modelrelease_release_step_started_timestamp_seconds",
            "When the current step of a release under way began, unix time.",
            [(name, each.step_started_seconds) for name, each in names if each.step_started_seconds is not None],
            _OF_RELEASE,
        )
        yield _gauge(
            "modelrelease_release_evaluation_lag_seconds",
            "Age of the newest samples that the judge has weighed for a release under way.",
            [(name, self._lag(each.judged_until)) for name, each in names if each.judged_until is not None],
            _OF_RELEASE,
        )
        yield from _comparisons([(name, metric) for name, entry in names for metric in entry.metrics])


_FIGURES: tuple[tuple[str, str, Callable[[Entry], float]], ...] = (
    ("modelrelease_release_step", "Number of the current step of a release under way.", lambda entry: entry.step),
    ("modelrelease_release_steps", "Number of steps of a release under way.", lambda entry: entry.steps),
    (
        "modelrelease_release_weight_percent",
        "Share of the traffic that the canary is meant to have.",
        lambda entry: entry.weight_percent,
    ),
)

_VALUES = {
    "errorRate": ("modelrelease_release_error_ratio", "Error rate of both arms in the current step."),
    "latencyP99Milliseconds": (
        "modelrelease_release_latency_p99_milliseconds",
        "P99 latency of both arms in the current step.",
    ),
}


def _comparisons(compared: list[tuple[tuple[str, str], MetricStatus]]) -> Iterator[Metric]:
    """What the judge compares, and how far its evidence has got."""
    yield _gauge(
        "modelrelease_release_evidence",
        "Share of the evidence that a rollback, or the promotion gate, needs; 1 is enough.",
        [
            ((*name, metric.name, towards), share)
            for name, metric in compared
            for towards, share in (("rollback", metric.rollback_evidence), ("promotion", metric.promotion_evidence))
        ],
        [*_OF_RELEASE, "metric", "towards"],
    )
    yield _gauge(
        "modelrelease_release_requests",
        "Requests of both arms that were compared in the current step.",
        [
            ((*name, metric.name, arm), count)
            for name, metric in compared
            for arm, count in (("stable", metric.stable_requests), ("canary", metric.canary_requests))
        ],
        [*_OF_RELEASE, "metric", "arm"],
    )
    for kind, (metric_name, text) in _VALUES.items():
        yield _gauge(
            metric_name,
            text,
            [
                ((*name, arm), value)
                for name, metric in compared
                if metric.name == kind
                for arm, value in (("stable", metric.stable), ("canary", metric.canary))
                if value is not None
            ],
            [*_OF_RELEASE, "arm"],
        )


def _gauge(
    name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], labels: Iterable[str] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for words, value in values:
        family.add_metric(list(words), value)
    return family
