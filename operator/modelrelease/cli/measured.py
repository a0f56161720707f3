"""What stable's traffic was like, from raw samples, through the same code that a release is judged by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile

from modelrelease.adapters.istio import IstioTraffic
from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Problem
from modelrelease.errors import Terminal
from modelrelease.judge import LOOKBACK_SCRAPES, Window, windows
from modelrelease.ports import Cluster, Key, Metrics, Senders, Watched
from modelrelease.rollout.analysis import grid_after
from modelrelease.rollout.canary import route_reference

CHUNK_SECONDS = 600.0
"""What one query asks for; more would be slow, and large, where there are many proxies."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Stable's requests in one stretch of time, window by window.

    requests_per_second: over the time that the windows cover.
    error_rate: share of failed requests; None without requests.
    pods: the same for each pod by itself, where at least two report; for the burst factor.
    """

    windows: tuple[Window, ...]
    pods: Mapping[str, Sequence[Window]] | None = None

    @property
    def seconds(self) -> float:
        return sum(window.end_seconds - window.start_seconds for window in self.windows)

    @property
    def requests(self) -> int:
        return sum(window.stable.requests for window in self.windows)

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def error_rate(self) -> float | None:
        errors = sum(window.stable.errors for window in self.windows)
        return errors / self.requests if self.requests else None


async def watched_of(cluster: Cluster, namespace: str, spec: ModelReleaseSpec) -> Watched:
    """What to ask Prometheus about a release, as the operator does: only requests that the route splits, where the
    route and its gateways can be read."""
    traffic, reference = IstioTraffic(cluster), route_reference(spec)
    try:
        senders = await traffic.senders(namespace, reference, await traffic.read(namespace, reference))
    except Terminal:
        senders = Senders()
    return Watched(
        namespace=namespace,
        senders=senders,
        stable_service=spec.service_name,
        canary_service=route_reference(spec).canary_host,
        source=spec.analysis.source,
        error_codes=tuple(spec.analysis.error_rate.codes),
    )


def lag_seconds(spec: ModelReleaseSpec, scrape_interval_seconds: float) -> float:
    """How far behind now samples must be to count, as the operator has it."""
    asked = spec.analysis.lag if spec.analysis.lag is not None else 2 * scrape_interval_seconds
    return max(scrape_interval_seconds, asked)


async def measured_windows(
    metrics: Metrics, watched: Watched, span: tuple[float, float], interval_seconds: float
) -> tuple[Window, ...]:
    """Windows of both arms in `span` (unix seconds), on the judge's grid. Raises MetricsUnavailable."""
    start, end = grid_after(span[0], interval_seconds), span[1]
    scrape = metrics.scrape_interval_seconds
    key = Key(watched.namespace, watched.stable_service)
    found: list[Window] = []
    until = start
    while until < end:
        until = min(end, until + CHUNK_SECONDS)
        reach = start - LOOKBACK_SCRAPES * scrape
        answer = await metrics.query({key: watched}, start_seconds=reach, end_seconds=until)
        found += windows(
            answer[key].series,
            after=start,
            until=until,
            interval_seconds=interval_seconds,
            scrape_interval_seconds=scrape,
        )
        # A window that was still open at the end of the piece is asked for again with the next one.
        start = found[-1].end_seconds if found else grid_after(until - CHUNK_SECONDS, interval_seconds)
    return tuple(found)


async def measured_pods(
    metrics: Metrics, watched: Watched, span: tuple[float, float], interval_seconds: float
) -> Mapping[str, Sequence[Window]] | None:
    """Windows of each of stable's pods in the last ten minutes of `span`, as a release has them when it begins; None
    where there are not two that report. Pods are scraped at different moments, hence the longer windows."""
    scrape = metrics.scrape_interval_seconds
    interval = interval_seconds * math.ceil(2 * scrape / interval_seconds)
    after = grid_after(max(span[0], span[1] - CHUNK_SECONDS), interval)
    reach = after - LOOKBACK_SCRAPES * scrape
    pods = await metrics.query_pods(watched, start_seconds=reach, end_seconds=span[1])
    if len(pods) < 2:
        return None
    return {
        pod: windows(series, after=after, until=span[1], interval_seconds=interval, scrape_interval_seconds=scrape)
        for pod, series in pods.items()
    }


def require_traffic(found: Sequence[Window], watched: Watched) -> Traffic:
    """From the first request on: before it, stable or Prometheus was not there. Raises Problem where there was none."""
    traffic = Traffic(tuple(dropwhile(lambda window: window.stable.requests == 0, found)))
    if traffic.requests == 0:
        raise Problem(
            f"Prometheus knows of no requests to {watched.stable_service}.{watched.namespace} in that time (source "
            f"{watched.source}); see with check what is missing.",
            ExitCode.NO_METRICS,
        )
    return traffic
