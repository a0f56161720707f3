"""Everything that the judge remembers of a release: some hundred numbers, checkpointed in the resource's status."""

from __future__ import annotations

import json
import math
import zlib
from base64 import b85decode, b85encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Literal, cast

from modelrelease.judge.evidence import GATE_STAKES, Counts
from modelrelease.judge.latency import Histogram
from modelrelease.judge.mixture import Mixture

Blame = Literal["errors", "latency", "errors-ceiling", "latency-ceiling", "errors-bake", "latency-bake"]

_VERSION = 4

_MILLIONTHS = 1e6
"""Logarithms have six decimals (see ``mixture.stored``): whole numbers of these are shorter, and as exact."""


@dataclass(frozen=True, slots=True)
class MetricState:
    """One metric. ``bad`` requests are failed ones for errors, and slow ones for latency.

    bound_ms: latency only: the bucket bound that stands for P99; None while it cannot be resolved.
    ratio: r, frozen for a step.
    dispersion: φ, frozen for the release.
    past: stable's (bad, all) requests before the current step, history before the release included.
    step: counts in the current step.
    pending: the part of ``step`` that waits for enough traffic to be judged.
    concurrent: evidence that the canary is worse than stable at the same time.
    gate: logarithms of the promotion bets of the current step.
    ceiling: evidence that the canary is above the absolute ceiling; None without one.
    bake: evidence that the canary at 100 % is worse than stable was; None before.
    bake_limit: highest tolerated rate in the bake; None: not known.
    """

    dispersion: float
    ratio: float
    bound_ms: float | None = None
    past: tuple[int, int] = (0, 0)
    step: Counts = field(default_factory=Counts)
    pending: Counts = field(default_factory=Counts)
    concurrent: Mixture = field(default_factory=Mixture)
    gate: tuple[float, ...] = (0.0,) * len(GATE_STAKES)
    ceiling: Mixture | None = None
    bake: Mixture | None = None
    bake_limit: float | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A step that has begun while requests of the one before it are still to be judged; unix seconds.

    step: index of the new step.
    left_seconds: windows up to here belong to the step before.
    entered_seconds: windows from here on belong to the new one. In between the weight changed: nothing counts.
    """

    step: int
    left_seconds: float
    entered_seconds: float


@dataclass(frozen=True, slots=True)
class State:
    """The judge of one release between two grid points; never changed, only replaced.

    cursor_seconds: everything up to this grid point (unix seconds) is judged.
    step: index into the settings' weights; -1 before the first.
    blame: what the verdict against the canary is for; None without one. Once set it stays.
    latency_share: latency's share of the false-rollback probability; fixed with the first step.
    transition: the step that comes next, until its first window; None otherwise.
    stable_before: stable's latency histogram up to the current step; ``stable_step``, ``canary_step``: in this step.
    """

    cursor_seconds: float
    step: int
    blame: Blame | None
    latency_share: float
    errors: MetricState
    latency: MetricState
    stable_before: Histogram
    stable_step: Histogram
    canary_step: Histogram
    transition: Transition | None = None

    def to_json(self) -> dict[str, Any]:
        """Only dicts, strings and numbers; ``from_json`` gives back exactly this state.

        When and where it is can be read; the numbers of the bets and buckets are packed, and make less than 1 KiB.
        """
        stored: dict[str, Any] = {"v": _VERSION, "at": self.cursor_seconds, "step": self.step, "blame": self.blame}
        if self.transition is not None:
            stored["next"] = [self.transition.step, self.transition.left_seconds, self.transition.entered_seconds]
        histograms = self.stable_before, self.stable_step, self.canary_step
        stored["packed"] = _packed([
            self.latency_share,
            _metric_to_json(self.errors),
            _metric_to_json(self.latency),
            *map(_histogram_to_json, histograms),
        ])  # fmt: skip
        return stored

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> State:
        """The state that ``to_json`` wrote, also after a trip through a store that writes 1.0 as 1.

        Raises:
            ValueError: not written by this version, or damaged.
        """
        try:
            if stored["v"] != _VERSION:
                raise ValueError(f"a judge state of version {stored['v']}, not {_VERSION}")
            latency_share, errors, latency, before, stable, canary = _unpacked(stored["packed"])
            return State(
                cursor_seconds=float(stored["at"]),
                step=int(stored["step"]),
                blame=cast("Blame | None", stored["blame"]),
                latency_share=float(latency_share),
                errors=_metric_from_json(errors),
                latency=_metric_from_json(latency),
                stable_before=_histogram_from_json(before),
                stable_step=_histogram_from_json(stable),
                canary_step=_histogram_from_json(canary),
                transition=_transition_from_json(stored["next"]) if "next" in stored else None,
            )
        except (KeyError, TypeError, IndexError, AttributeError, zlib.error) as damaged:
            raise ValueError(f"a damaged judge state: {damaged!r}") from damaged


def _packed(numbers: list[Any]) -> str:
    """Deflated: digits and repeated bounds take less than half of their text, base 85 included."""
    text = json.dumps(numbers, separators=(",", ":"), allow_nan=False)
    return b85encode(zlib.compress(text.encode(), level=9)).decode()


def _unpacked(packed: str) -> list[Any]:
    numbers: list[Any] = json.loads(zlib.decompress(b85decode(packed)))
    return numbers


def _transition_from_json(stored: list[Any]) -> Transition:
    step, left, entered = stored
    return Transition(int(step), float(left), float(entered))


def _metric_to_json(metric: MetricState) -> list[Any]:
    """In the order of the fields: names would take as much room as the numbers."""
    return [
        metric.dispersion,
        metric.ratio,
        metric.bound_ms,
        metric.past,
        _counts_to_json(metric.step),
        _counts_to_json(metric.pending),
        _mixture_to_json(metric.concurrent),
        _logs_to_json(metric.gate),
        None if metric.ceiling is None else _mixture_to_json(metric.ceiling),
        None if metric.bake is None else _mixture_to_json(metric.bake),
        metric.bake_limit,
    ]


def _metric_from_json(stored: list[Any]) -> MetricState:
    phi, ratio, bound_ms, (bad, requests), step, pending, concurrent, gate, ceiling, bake, bake_limit = stored
    return MetricState(
        dispersion=float(phi),
        ratio=float(ratio),
        bound_ms=_float_or_none(bound_ms),
        past=(int(bad), int(requests)),
        step=_counts_from_json(step),
        pending=_counts_from_json(pending),
        concurrent=_mixture_from_json(concurrent),
        gate=_logs_from_json(gate),
        ceiling=None if ceiling is None else _mixture_from_json(ceiling),
        bake=None if bake is None else _mixture_from_json(bake),
        bake_limit=_float_or_none(bake_limit),
    )


def _float_or_none(stored: float | None) -> float | None:
    return None if stored is None else float(stored)


def _counts_to_json(counts: Counts) -> list[int]:
    return [counts.canary_bad, counts.canary, counts.stable_bad, counts.stable]


def _counts_from_json(stored: Iterable[int]) -> Counts:
    return Counts(*(int(count) for count in stored))


def _mixture_to_json(mixture: Mixture) -> list[list[int]]:
    """[logarithms, restarts]."""
    return [_logs_to_json(mixture.logs), list(mixture.restarts)]


def _mixture_from_json(stored: list[list[int]]) -> Mixture:
    logs, restarts = stored
    return Mixture(_logs_from_json(logs), tuple(int(count) for count in restarts))


def _logs_to_json(logs: tuple[float, ...]) -> list[int]:
    return [round(log * _MILLIONTHS) for log in logs]


def _logs_from_json(stored: list[int]) -> tuple[float, ...]:
    return tuple(int(log) / _MILLIONTHS for log in stored)


def _histogram_to_json(histogram: Histogram) -> list[list[float]]:
    """[bounds, requests per bucket and in none]; per bucket and not cumulative, because most of these are 0 or small.

    JSON has no infinity: it is written as -1.
    """
    bounds = [-1 if math.isinf(bound_ms) else _short(bound_ms) for bound_ms in histogram.bounds_ms]
    return [bounds, [high - low for low, high in pairwise((0, *histogram.at_most, histogram.total))]]


def _short(number: float) -> float:
    return int(number) if number == int(number) else number


def _histogram_from_json(stored: list[list[float]]) -> Histogram:
    bounds, counts = stored
    *at_most, total = accumulate(int(count) for count in counts)
    return Histogram(tuple(math.inf if bound == -1 else float(bound) for bound in bounds), tuple(at_most), total)
