"""Whether Prometheus has what releases are judged by."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from modelrelease.cli.findings import Finding, good, problem, remark
from modelrelease.cli.printing import lasting
from modelrelease.errors import MetricsUnavailable
from modelrelease.ports import Key, Metrics, Samples, Watched

CLOCK_SECONDS = 5.0
"""Clocks that differ by more make fresh samples look stale."""
HISTORY_SECONDS = 300.0


async def prometheus_findings(metrics: Metrics, watched: Watched, now: float) -> list[Finding]:
    """Whether Prometheus has what stable is compared by: series, labels, buckets, scrape interval and clock."""
    key = Key(watched.namespace, watched.stable_service)
    try:
        answer = (await metrics.query({key: watched}, start_seconds=now - HISTORY_SECONDS, end_seconds=now + 60))[key]
    except MetricsUnavailable as error:
        return [problem("prometheus", str(error))]
    stable = [one for one in answer.series if one.arm == "stable"]
    if not stable or answer.newest_seconds is None:
        return [
            problem(
                "prometheus",
                f"It has no series of {watched.stable_service}.{watched.namespace} (source {watched.source}) in the "
                f"last {lasting(HISTORY_SECONDS)}; send a request, and see that gateways or sidecars are scraped.",
            )
        ]
    found = [good("prometheus", f"{len(stable)} series of {len({one.target for one in stable})} targets were found.")]
    if not any(one.kind == "bucket" for one in stable):
        found.append(remark("buckets", "There are no latency buckets, so that errors alone decide."))
    found += _scrapes(metrics, answer)
    age = now - answer.newest_seconds
    if age < -CLOCK_SECONDS:
        found.append(problem("clocks", f"The newest sample is {-age:.0f} s in the future; synchronise the clocks."))
    elif age > 4 * metrics.scrape_interval_seconds + CLOCK_SECONDS:
        found.append(
            problem("clocks", f"The newest sample is {lasting(age)} old; see whether it is scraped and clocks agree.")
        )
    else:
        found.append(good("clocks", f"The newest sample is {max(0.0, age):.0f} s old."))
    return found


def _scrapes(metrics: Metrics, answer: Samples) -> list[Finding]:
    """Whether the configured scrape interval is the true one."""
    gaps = [later[0] - earlier[0] for one in answer.series for earlier, later in pairwise(one.samples)]
    if not gaps:
        return []
    true, configured = median(gaps), metrics.scrape_interval_seconds
    if not 0.8 < true / configured < 1.25:
        return [
            problem(
                "scrapes",
                f"Targets are scraped each {true:.3g} s, but the operator's configuration says {configured:g} s; set "
                "scrapeInterval of the provider to what is true.",
            )
        ]
    return [good("scrapes", f"Targets are scraped each {true:.3g} s, as configured.")]
