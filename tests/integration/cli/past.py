"""A Prometheus that remembers traffic which a test makes up: blocks written by promtool, as a backfill is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract.prometheus_process import prometheus

SCRAPE_SECONDS = 15
BOUNDS_MS = ("10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000", "+Inf")
GATEWAYS = ("gateway-0", "gateway-1")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests to one Service between two moments (unix seconds)."""

    service: str
    start: float
    end: float
    rps: float
    error_rate: float = 0.0
    latency_ms: float = 20.0


def openmetrics(namespace: str, traffics: Sequence[Traffic], span: tuple[int, int]) -> str:
    """Counters as two gateways had them at each scrape in `span`, in Istio's words."""
    random = np.random.default_rng(5)
    times = range(span[0], span[1], SCRAPE_SECONDS)
    requests: dict[str, list[str]] = {"requests": [], "buckets": []}
    for service in dict.fromkeys(one.service for one in traffics):
        for pod in GATEWAYS:
            for code in ("200", "503"):
                counts = np.zeros(len(BOUNDS_MS), dtype=np.int64)
                labels = (
                    f'job="gateway",instance="{pod}",pod="{pod}",reporter="source",response_flags="-",'
                    f'destination_service="{service}.{namespace}.svc.cluster.local",response_code="{code}"'
                )
                rows: list[list[str]] = [[] for _ in range(len(BOUNDS_MS) + 1)]
                for at in times:
                    for one in traffics:
                        if one.service == service and one.start <= at < one.end:
                            share = one.error_rate if code == "503" else 1 - one.error_rate
                            number = random.poisson(one.rps * SCRAPE_SECONDS * share / len(GATEWAYS))
                            latencies = one.latency_ms * random.lognormal(0, 0.5, number)
                            counts += [int((latencies <= float(bound)).sum()) for bound in BOUNDS_MS]
                    rows[0].append(f"istio_requests_total{{{labels}}} {counts[-1]} {at}")
                    for index, bound in enumerate(BOUNDS_MS):
                        name = "istio_request_duration_milliseconds_bucket"
                        rows[index + 1].append(f'{name}{{{labels},le="{bound}"}} {counts[index]} {at}')
                requests["requests"] += rows[0]
                requests["buckets"] += [line for row in rows[1:] for line in row]
    return (
        "# TYPE istio_requests counter\n"
        + "\n".join(requests["requests"])
        + "\n# TYPE istio_request_duration_milliseconds histogram\n"
        + "\n".join(requests["buckets"])
        + "\n# EOF\n"
    )


@contextmanager
def remembering(folder: Path, text: str) -> Iterator[str]:
    """The address of a Prometheus with that past."""
    (folder / "past.txt").write_text(text, encoding="utf-8")
    words = ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "past.txt", folder / "data"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with prometheus(folder, []) as url:
        yield url
