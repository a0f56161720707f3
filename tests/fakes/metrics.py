"""A Prometheus in memory: counters that a test feeds and that are sampled at each scrape."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from modelrelease.errors import MetricsUnavailable
from modelrelease.judge import Series
from modelrelease.ports import Key, Samples, Watched, Workload

ArmName = Literal["stable", "canary"]

BOUNDS_MS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, math.inf)
"""Bounds of some of Istio's buckets, in milliseconds."""


@dataclass(frozen=True)
class _Counter:
    """One series. `sender` is None where the series does not tell; `is_of_pod` where the answering pod counted."""

    service: str
    arm: ArmName
    target: str
    sender: Workload | None
    is_of_pod: bool
    code: str
    bound_ms: float | None = None


@dataclass
class FakeMetrics:
    """Implements `ports.Metrics`.

    Feed it with `count`, then `scrape` at a time: each counter gets a sample, as one scrape of one target has it.
    """

    scrape_interval_seconds: float = 1.0
    problem: str = ""
    """When set, every query fails with it."""
    problem_of_pods: str = ""
    """When set, every query for pods fails with it."""
    queries: int = 0
    _counters: dict[_Counter, float] = field(default_factory=dict)
    _samples: dict[_Counter, list[tuple[float, float]]] = field(default_factory=dict)

    def count(
        self,
        service: str,
        arm: ArmName,
        requests: int,
        *,
        code: str = "200",
        latency_ms: float = 20.0,
        target: str = "gateway-0",
        namespace: str = "vision",
        sender: Workload | None = None,
    ) -> None:
        """Add requests of one code and latency to one Service."""
        where = _Counter(f"{namespace}/{service}", arm, target, sender, is_of_pod=False, code=code)
        self._add(where, [latency_ms] * requests)

    def count_each(
        self,
        service: str,
        arm: ArmName,
        latencies_ms: Sequence[float],
        *,
        code: str = "200",
        target: str = "gateway-0",
        namespace: str = "vision",
    ) -> None:
        """Add one request of `code` per latency to one Service."""
        self._add(_Counter(f"{namespace}/{service}", arm, target, None, is_of_pod=False, code=code), latencies_ms)

    def count_pod(self, service: str, pod: str, requests: int, *, code: str = "200", namespace: str = "vision") -> None:
        """Add requests that a pod of stable's Service reports itself."""
        self._add(_Counter(f"{namespace}/{service}", "stable", pod, None, is_of_pod=True, code=code), [20.0] * requests)

    def scrape(self, at_seconds: float, *, target: str | None = None) -> None:
        """Sample all counters, or those of one target."""
        for counter, value in self._counters.items():
            if target in (None, counter.target):
                self._samples.setdefault(counter, []).append((at_seconds, value))

    def restart(self, target: str) -> None:
        """The target's counters begin again at 0, as after a crash of the proxy."""
        for counter in self._counters:
            if counter.target == target:
                self._counters[counter] = 0.0

    async def query(
        self, watched: Mapping[Key, Watched], *, start_seconds: float, end_seconds: float
    ) -> Mapping[Key, Samples]:
        self.queries += 1
        if self.problem:
            raise MetricsUnavailable(self.problem)
        return {key: self._answer(one, start_seconds, end_seconds) for key, one in watched.items()}

    async def query_pods(
        self, watched: Watched, *, start_seconds: float, end_seconds: float
    ) -> Mapping[str, tuple[Series, ...]]:
        if self.problem or self.problem_of_pods:
            raise MetricsUnavailable(self.problem or self.problem_of_pods)
        service = f"{watched.namespace}/{watched.stable_service}"
        counters = [one for one in self._samples if one.is_of_pod and one.service == service]
        found: dict[str, list[Series]] = {}
        for series in self._series(counters, watched, start_seconds, end_seconds):
            found.setdefault(series.target, []).append(series)
        return {pod: tuple(series) for pod, series in found.items()}

    def _answer(self, watched: Watched, start: float, end: float) -> Samples:
        services = {
            f"{watched.namespace}/{watched.stable_service}": "stable",
            f"{watched.namespace}/{watched.canary_service}": "canary",
        }
        wanted = watched.senders.workloads
        counters = [
            one
            for one in self._samples
            if not one.is_of_pod
            and services.get(one.service) == one.arm
            and (wanted is None or one.sender is None or one.sender in wanted)
        ]
        found = self._series(counters, watched, start, end)
        times = [at for series in found for at, _ in series.samples]
        return Samples(tuple(found), max(times, default=None))

    def _series(self, counters: Sequence[_Counter], watched: Watched, start: float, end: float) -> list[Series]:
        return [
            Series(
                arm=one.arm,
                target=one.target,
                kind="requests" if one.bound_ms is None else "bucket",
                code=one.code,
                is_error=_is_error(one.code, watched.error_codes),
                bound_ms=one.bound_ms,
                samples=inside,
            )
            for one in counters
            if (inside := tuple(sample for sample in self._samples[one] if start < sample[0] <= end))
        ]

    def _add(self, where: _Counter, latencies_ms: Sequence[float]) -> None:
        ascending = sorted(latencies_ms)
        self._grow(where, len(ascending))
        for bound in BOUNDS_MS:
            self._grow(replace(where, bound_ms=bound), bisect.bisect_right(ascending, bound))

    def _grow(self, counter: _Counter, amount: int) -> None:
        self._counters[counter] = self._counters.get(counter, 0.0) + amount


def _is_error(code: str, codes: tuple[str, ...]) -> bool:
    return code in codes or (len(code) == 3 and f"{code[0]}xx" in codes)
