"""Everything that the judge remembers of a release: a few dozen numbers, checkpointed in the resource's status."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from typing import Any, Literal, cast

from modelrelease.judge.evidence import EFFECT_WEIGHTS, GATE_STAKES, Counts
from modelrelease.judge.latency import Histogram
from modelrelease.judge.mixture import Mixture

Blame = Literal["errors", "latency", "errors-ceiling", "latency-ceiling", "errors-bake", "latency-bake"]

_VERSION = 3

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
        """Only dicts, lists, strings and numbers; ``from_json`` gives back exactly this state."""
        stored: dict[str, Any] = {
            "v": _VERSION,
            "at": self.cursor_seconds,
            "step": self.step,
            "blame": self.blame,
            "share": self.latency_share,
            "errors": _metric_to_json(self.errors),
            "latency": _metric_to_json(self.latency),
            "buckets": _histograms_to_json((self.stable_before, self.stable_step, self.canary_step)),
        }
        if self.transition is not None:
            stored["next"] = [self.transition.step, self.transition.left_seconds, self.transition.entered_seconds]
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
            before, stable, canary = _histograms_from_json(stored["buckets"])
            return State(
                cursor_seconds=float(stored["at"]),
                step=int(stored["step"]),
                blame=cast("Blame | None", stored["blame"]),
                latency_share=float(stored["share"]),
                errors=_metric_from_json(stored["errors"]),
                latency=_metric_from_json(stored["latency"]),
                stable_before=before,
                stable_step=stable,
                canary_step=canary,
                transition=_transition_from_json(stored["next"]) if "next" in stored else None,
            )
        except (KeyError, TypeError, IndexError, AttributeError) as damaged:
            raise ValueError(f"a damaged judge state: {damaged!r}") from damaged


def _transition_from_json(stored: list[Any]) -> Transition:
    step, left, entered = stored
    return Transition(int(step), float(left), float(entered))


def _metric_to_json(metric: MetricState) -> dict[str, Any]:
    stored: dict[str, Any] = {
        "phi": metric.dispersion,
        "r": metric.ratio,
        "past": list(metric.past),
        "n": _counts_to_json(metric.step),
        "m": _mixture_to_json(metric.concurrent),
    }
    if metric.bound_ms is not None:
        stored["tau"] = metric.bound_ms
    if metric.pending != Counts():
        stored["wait"] = _counts_to_json(metric.pending)
    if any(metric.gate):
        stored["gate"] = _logs_to_json(metric.gate)
    for name, mixture in (("ceil", metric.ceiling), ("bake", metric.bake)):
        if mixture is not None:
            stored[name] = _mixture_to_json(mixture)
    if metric.bake_limit is not None:
        stored["limit"] = metric.bake_limit
    return stored


def _metric_from_json(stored: Mapping[str, Any]) -> MetricState:
    bad, requests = stored["past"]
    return MetricState(
        dispersion=float(stored["phi"]),
        ratio=float(stored["r"]),
        bound_ms=_float_or_none(stored.get("tau")),
        past=(int(bad), int(requests)),
        step=_counts_from_json(stored["n"]),
        pending=_counts_from_json(stored["wait"]) if "wait" in stored else Counts(),
        concurrent=_mixture_from_json(stored["m"]),
        gate=_logs_from_json(stored.get("gate", 0), len(GATE_STAKES)),
        ceiling=_mixture_from_json(stored["ceil"]) if "ceil" in stored else None,
        bake=_mixture_from_json(stored["bake"]) if "bake" in stored else None,
        bake_limit=_float_or_none(stored.get("limit")),
    )


def _float_or_none(stored: float | None) -> float | None:
    return None if stored is None else float(stored)


def _counts_to_json(counts: Counts) -> list[int]:
    return [counts.canary_bad, counts.canary, counts.stable_bad, counts.stable]


def _counts_from_json(stored: Iterable[int]) -> Counts:
    return Counts(*(int(count) for count in stored))


def _mixture_to_json(mixture: Mixture) -> list[Any]:
    """[logarithms, restarts]; one number where all effects have the same."""
    restarts = mixture.restarts
    return [_logs_to_json(mixture.logs), restarts[0] if len(set(restarts)) == 1 else list(restarts)]


def _mixture_from_json(stored: list[Any]) -> Mixture:
    logs = _logs_from_json(stored[0], len(EFFECT_WEIGHTS))
    restarts = stored[1] if isinstance(stored[1], list) else [stored[1]] * len(logs)
    return Mixture(logs, tuple(int(count) for count in restarts))


def _logs_to_json(logs: tuple[float, ...]) -> int | list[int]:
    whole = [round(log * _MILLIONTHS) for log in logs]
    return whole[0] if len(set(whole)) == 1 else whole


def _logs_from_json(stored: int | list[int], count: int) -> tuple[float, ...]:
    whole = stored if isinstance(stored, list) else [stored] * count
    return tuple(int(log) / _MILLIONTHS for log in whole)


def _short(number: float) -> float:
    if number == math.inf:
        return -1
    return int(number) if number == int(number) else number


def _histograms_to_json(histograms: tuple[Histogram, ...]) -> list[list[list[Any]] | None]:
    """[bounds, requests per bucket and in none] each, None for an empty one; bounds already given are left out.

    Per bucket and not cumulative, because most of these are 0: [k] stands for k of them. JSON has no infinity: it is
    written as -1.
    """
    stored: list[list[list[Any]] | None] = []
    given: tuple[float, ...] = ()
    for histogram in histograms:
        if not histogram.bounds_ms:
            stored.append(None)
            continue
        bounds = [] if histogram.bounds_ms == given else [_short(bound_ms) for bound_ms in histogram.bounds_ms]
        cumulative = (0, *histogram.at_most, histogram.total)
        stored.append([bounds, list(_packed(high - low for low, high in pairwise(cumulative)))])
        given = histogram.bounds_ms
    return stored


def _packed(counts: Iterable[int]) -> Iterator[int | list[int]]:
    for count, run in groupby(counts):
        times = len(list(run))
        yield from [[times]] if count == 0 and times > 1 else [count] * times


def _unpacked(stored: Iterable[int | list[int]]) -> Iterator[int]:
    for count in stored:
        yield from [0] * int(count[0]) if isinstance(count, list) else [int(count)]


def _histograms_from_json(stored: list[list[list[Any]] | None]) -> tuple[Histogram, ...]:
    histograms: list[Histogram] = []
    bounds: tuple[float, ...] = ()
    for one in stored:
        if one is None:
            histograms.append(Histogram())
            continue
        given, counts = one
        if given:
            bounds = tuple(math.inf if bound == -1 else float(bound) for bound in given)
        *at_most, total = accumulate(_unpacked(counts))
        histograms.append(Histogram(bounds, tuple(at_most), total))
    return tuple(histograms)
