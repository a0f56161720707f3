"""A Prometheus in memory: counters that a test feeds and that are sampled at each scrape."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from modelrelease.errors import MetricsUnavailable
from modelrelease.judge import Series
from modelrelease.ports import Key, Samples, Watched

ArmName = Literal["stable", "canary"]
_Counter = tuple[str, ArmName, str, Literal["requests", "bucket"], str, float | None]

BOUNDS_MS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, math.inf)
"""Bounds of some of Istio's buckets, in milliseconds."""


@dataclass
class FakeMetrics:
    """Implements `ports.Metrics`.

    Feed it with `count`, then `scrape` at a time: each counter gets a sample, as one scrape of one target has it.
    """

    scrape_interval_seconds: float = 1.0
    problem: str = ""
    """When set, every query fails with it."""
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
    ) -> None:
        """Add requests of one code and latency to one Service."""
        self.count_each(service, arm, [latency_ms] * requests, code=code, target=target, namespace=namespace)

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
        where = f"{namespace}/{service}"
        ascending = sorted(latencies_ms)
        self._add((where, arm, target, "requests", code, None), len(ascending))
        for bound in BOUNDS_MS:
            self._add((where, arm, target, "bucket", code, bound), bisect.bisect_right(ascending, bound))

    def scrape(self, at_seconds: float, *, target: str | None = None) -> None:
        """Sample all counters, or those of one target."""
        for counter, value in self._counters.items():
            if target in (None, counter[2]):
                self._samples.setdefault(counter, []).append((at_seconds, value))

    def restart(self, target: str) -> None:
        """The target's counters begin again at 0, as after a crash of the proxy."""
        for counter in self._counters:
            if counter[2] == target:
                self._counters[counter] = 0.0

    def vanish(self, service: str, namespace: str = "vision") -> None:
        """The service's series are scraped no more, as after the last of its reporters went away."""
        self._counters = {key: value for key, value in self._counters.items() if key[0] != f"{namespace}/{service}"}

    async def query(
        self, watched: Mapping[Key, Watched], *, start_seconds: float, end_seconds: float
    ) -> Mapping[Key, Samples]:
        self.queries += 1
        if self.problem:
            raise MetricsUnavailable(self.problem)
        return {key: self._answer(one, start_seconds, end_seconds) for key, one in watched.items()}

    def _answer(self, watched: Watched, start: float, end: float) -> Samples:
        services = {
            f"{watched.namespace}/{watched.stable_service}": "stable",
            f"{watched.namespace}/{watched.canary_service}": "canary",
        }
        found = [
            Series(
                arm=arm,
                target=target,
                kind=kind,
                code=code,
                is_error=_is_error(code, watched.error_codes),
                bound_ms=bound,
                samples=inside,
            )
            for (where, arm, target, kind, code, bound), samples in self._samples.items()
            if services.get(where) == arm
            and (inside := tuple(sample for sample in samples if start < sample[0] <= end))
        ]
        times = [at for series in found for at, _ in series.samples]
        return Samples(tuple(found), max(times, default=None))

    def _add(self, counter: _Counter, amount: int) -> None:
        self._counters[counter] = self._counters.get(counter, 0.0) + amount


def _is_error(code: str, codes: tuple[str, ...]) -> bool:
    return code in codes or (len(code) == 3 and f"{code[0]}xx" in codes)
