"""What every `Metrics` answers, the fake and a real Prometheus alike."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import pytest
import pytest_asyncio

from contract.prometheus_process import Exporter, prometheus
from fakes import FakeMetrics
from modelrelease.adapters.prometheus import PrometheusMetrics, Provider
from modelrelease.judge import Series, windows
from modelrelease.ports import Key, Metrics, Samples, Senders, Watched, Workload

Arm = Literal["stable", "canary"]
EVERYBODY = Senders()
PODS = ("detector-1", "detector-2")
INGRESS, CAMERA = Workload("istio-system", "istio-ingressgateway"), Workload("vision", "camera")


class Gateway(Protocol):
    """Somewhere requests are counted, and something that samples the counts."""

    namespace: str

    @property
    def metrics(self) -> Metrics: ...

    def count(
        self, arm: Arm, requests: int, *, code: str = "200", latency_ms: float = 20.0, sender: Workload | None = None
    ) -> None: ...
    def count_pod(self, pod: str, requests: int, *, code: str = "200") -> None:
        """Requests that one of stable's pods counts itself."""

    def restart(self) -> None: ...
    async def scraped(self) -> float:
        """Return, once what was counted is sampled, the time."""


class FakeGateway:
    def __init__(self) -> None:
        self.namespace = "vision"
        self.metrics: FakeMetrics = FakeMetrics()
        self._now = 1_800_000_000.0

    def count(
        self, arm: Arm, requests: int, *, code: str = "200", latency_ms: float = 20.0, sender: Workload | None = None
    ) -> None:
        service = "detector" if arm == "stable" else "detector-canary"
        self.metrics.count(service, arm, requests, code=code, latency_ms=latency_ms, sender=sender)

    def count_pod(self, pod: str, requests: int, *, code: str = "200") -> None:
        self.metrics.count_pod("detector", pod, requests, code=code)

    def restart(self) -> None:
        self.metrics.restart("gateway-0")

    async def scraped(self) -> float:
        for _ in range(3):
            self._now += self.metrics.scrape_interval_seconds
            self.metrics.scrape(self._now)
        return self._now


class RealGateway:
    def __init__(self, exporters: Mapping[str, Exporter], url: str) -> None:
        self.namespace = f"vision-{uuid.uuid4().hex[:8]}"
        self.metrics: PrometheusMetrics = PrometheusMetrics(Provider("default", url, scrape_interval_seconds=0.2))
        self._exporters = exporters

    def count(
        self, arm: Arm, requests: int, *, code: str = "200", latency_ms: float = 20.0, sender: Workload | None = None
    ) -> None:
        service = "detector" if arm == "stable" else "detector-canary"
        labels = {"reporter": "source", "destination_service": self._host(service), "response_code": code}
        if sender is not None:
            labels |= {"source_workload": sender.name, "source_workload_namespace": sender.namespace}
        self._exporters["gateway-0"].count(requests, latency_ms, **labels)

    def count_pod(self, pod: str, requests: int, *, code: str = "200") -> None:
        labels = {"reporter": "destination", "destination_service": self._host("detector"), "response_code": code}
        self._exporters[pod].count(requests, 20.0, **labels)

    def observe_natively(self, arm: Arm, latencies_ms: Sequence[float]) -> None:
        service = "detector" if arm == "stable" else "detector-canary"
        labels = {"reporter": "source", "destination_service": self._host(service), "response_code": "200"}
        self._exporters["native"].observe(latencies_ms, **labels)

    def _host(self, service: str) -> str:
        return f"{service}.{self.namespace}.svc.cluster.local"

    def restart(self) -> None:
        self._exporters["gateway-0"].restart()

    async def scraped(self) -> float:
        for exporter in self._exporters.values():
            await exporter.scraped()
        return time.time()


@pytest.fixture(scope="module")
def exporters() -> Iterator[dict[str, Exporter]]:
    made = {pod: Exporter(pod) for pod in ("gateway-0", *PODS, "native")}
    yield made
    for exporter in made.values():
        exporter.close()


@pytest.fixture(scope="module")
def prometheus_url(exporters: dict[str, Exporter], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with prometheus(folder, list(exporters.values())) as url:
        yield url


@pytest_asyncio.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    if request.param == "fake":
        yield FakeGateway()
        return
    real = RealGateway(request.getfixturevalue("exporters"), request.getfixturevalue("prometheus_url"))
    yield real
    real.metrics.close()


def watched(gateway: Gateway, senders: Senders = EVERYBODY) -> Watched:
    return Watched(gateway.namespace, "detector", "detector-canary", "Istio", ("5xx", "0"), senders)


async def asked(gateway: Gateway, *, start: float, end: float, senders: Senders = EVERYBODY) -> Samples:
    key = Key(gateway.namespace, "detector")
    return (await gateway.metrics.query({key: watched(gateway, senders)}, start_seconds=start, end_seconds=end))[key]


def counters(samples: Samples, arm: Arm) -> list[Series]:
    return [series for series in samples.series if series.arm == arm and series.kind == "requests"]


async def test_raw_counts_come_with_their_times(gateway: Gateway) -> None:
    gateway.count("stable", 3)
    first = await gateway.scraped()
    gateway.count("stable", 4)
    second = await gateway.scraped()
    samples = await asked(gateway, start=first - 30, end=second)
    (series,) = counters(samples, "stable")
    assert [3.0, 7.0] == sorted({value for _, value in series.samples})
    times = [at for at, _ in series.samples]
    assert times == sorted(times)
    assert all(first - 30 < at <= second for at in times)
    assert samples.newest_seconds == times[-1]
    assert len(times) >= 5, "a sample per scrape, none made up or left out"


async def test_only_the_time_that_was_asked_for_is_answered(gateway: Gateway) -> None:
    gateway.count("stable", 3)
    first = await gateway.scraped()
    gateway.count("stable", 4)
    second = await gateway.scraped()
    (early,) = counters(await asked(gateway, start=first - 30, end=first), "stable")
    (late,) = counters(await asked(gateway, start=first, end=second), "stable")
    assert {3.0} == {value for _, value in early.samples}
    assert early.samples[-1][0] <= first < late.samples[0][0]
    whole = (await asked(gateway, start=first - 30, end=second)).series
    (both,) = [series for series in whole if series.arm == "stable" and series.kind == "requests"]
    assert both.samples == early.samples + late.samples, "the parts are the whole: nothing twice, nothing lost"


async def test_arms_and_errors_are_told_apart(gateway: Gateway) -> None:
    gateway.count("stable", 90)
    gateway.count("stable", 1, code="404")
    gateway.count("canary", 5, code="503")
    gateway.count("canary", 2, code="0")
    end = await gateway.scraped()
    samples = await asked(gateway, start=end - 30, end=end)
    found = {
        (series.arm, series.code, series.is_error): series.samples[-1][1]
        for arm in ("stable", "canary")
        for series in counters(samples, arm)
    }
    expected = {
        ("stable", "200", False): 90,
        ("stable", "404", False): 1,
        ("canary", "503", True): 5,
        ("canary", "0", True): 2,
    }
    assert expected == found


async def test_buckets_have_bounds_in_milliseconds_up_to_infinity(gateway: Gateway) -> None:
    gateway.count("canary", 6, latency_ms=20)
    gateway.count("canary", 2, latency_ms=700)
    end = await gateway.scraped()
    samples = await asked(gateway, start=end - 30, end=end)
    buckets = {series.bound_ms: series.samples[-1][1] for series in samples.series if series.kind == "bucket"}
    assert {10: 0, 25: 6, 500: 6, 1000: 8, math.inf: 8} == {
        bound: buckets[bound] for bound in (10, 25, 500, 1000, math.inf)
    }
    assert len({series.target for series in samples.series}) == 1, "one scraped process"


async def test_a_restarted_counter_is_shown_as_it_is(gateway: Gateway) -> None:
    gateway.count("stable", 50)
    first = await gateway.scraped()
    gateway.restart()
    gateway.count("stable", 2)
    end = await gateway.scraped()
    (series,) = counters(await asked(gateway, start=first - 30, end=end), "stable")
    values = [value for _, value in series.samples]
    assert (50.0, 2.0) == (values[0], values[-1])


async def test_nothing_counted_is_no_series(gateway: Gateway) -> None:
    end = await gateway.scraped()
    assert Samples((), None) == await asked(gateway, start=end - 30, end=end)


async def test_each_release_has_its_own(gateway: Gateway) -> None:
    gateway.count("stable", 8)
    end = await gateway.scraped()
    ours, others = Key(gateway.namespace, "detector"), Key(gateway.namespace, "other")
    both = {ours: watched(gateway), others: Watched(gateway.namespace, "xdetector", ".*", "Istio", ())}
    found = await gateway.metrics.query(both, start_seconds=end - 30, end_seconds=end)
    assert [8.0] == [series.samples[-1][1] for series in counters(found[ours], "stable")]
    assert Samples((), None) == found[others], "names are no patterns"


async def test_only_requests_that_the_route_splits_are_counted(gateway: Gateway) -> None:
    """The camera asks stable's Service past the gateway: its requests would make stable look calmer than it is."""
    gateway.count("stable", 8, sender=INGRESS)
    gateway.count("canary", 2, sender=INGRESS)
    gateway.count("stable", 1000, sender=CAMERA)
    gateway.count("stable", 1, sender=Workload("elsewhere", INGRESS.name))
    end = await gateway.scraped()
    samples = await asked(gateway, start=end - 30, end=end, senders=Senders((INGRESS,)))
    found = [(arm, one.samples[-1][1]) for arm in ("stable", "canary") for one in counters(samples, arm)]
    assert [("stable", 8.0), ("canary", 2.0)] == found
    everybodys = counters(await asked(gateway, start=end - 30, end=end), "stable")
    assert [1.0, 8.0, 1000.0] == sorted(one.samples[-1][1] for one in everybodys)


async def test_stables_pods_are_told_apart_by_what_they_count_themselves(gateway: Gateway) -> None:
    gateway.count("stable", 12, sender=INGRESS)
    gateway.count_pod(PODS[0], 5)
    gateway.count_pod(PODS[1], 6)
    gateway.count_pod(PODS[1], 1, code="503")
    end = await gateway.scraped()
    start, question = end - 30, watched(gateway, Senders((INGRESS,)))
    found = await gateway.metrics.query_pods(question, start_seconds=start, end_seconds=end)
    counted = [
        sorted((one.is_error, one.samples[-1][1]) for one in pod if one.kind == "requests") for pod in found.values()
    ]
    assert [[(False, 5.0)], [(False, 6.0), (True, 1.0)]] == sorted(counted)
    assert {"stable"} == {one.arm for pod in found.values() for one in pod}
    (at_the_gateway,) = counters(await asked(gateway, start=start, end=end), "stable")
    assert 12.0 == at_the_gateway.samples[-1][1], "nothing twice"


async def test_without_reports_of_pods_there_are_none(gateway: Gateway) -> None:
    gateway.count("stable", 12)
    end = await gateway.scraped()
    assert {} == await gateway.metrics.query_pods(watched(gateway), start_seconds=end - 30, end_seconds=end)


@pytest.mark.integration
async def test_native_histograms_are_buckets_too(exporters: dict[str, Exporter], prometheus_url: str) -> None:
    """Only of a real Prometheus: the fake has no such thing."""
    real = RealGateway(exporters, prometheus_url)
    real.observe_natively("canary", [20.0] * 6 + [700.0] * 2)
    end = await real.scraped()
    samples = await asked(real, start=end - 30, end=end)
    real.metrics.close()
    buckets = {series.bound_ms: series.samples[-1][1] for series in samples.series if series.arm == "canary"}
    assert {16: 0, 32: 6, 512: 6, 1024: 8, math.inf: 8} == {
        bound: buckets[bound] for bound in (16, 32, 512, 1024, math.inf)
    }


async def test_the_judge_counts_what_happened(gateway: Gateway) -> None:
    """The whole way: what was counted, and no fraction of a request more or less, is in the judge's windows."""
    gateway.count("stable", 1)
    gateway.count("canary", 1)
    start = math.ceil(await gateway.scraped())
    interval = 1.0
    for _ in range(4):
        gateway.count("stable", 7)
        gateway.count("canary", 3, code="500")
        await gateway.scraped()
    for _ in range(4):
        end = await gateway.scraped()  # so long that the last count is before the last point of the grid
    samples = await asked(gateway, start=start - 10, end=end)
    found = windows(
        samples.series,
        after=start - 5,
        until=end,
        interval_seconds=interval,
        scrape_interval_seconds=gateway.metrics.scrape_interval_seconds,
    )
    assert found[-1].end_seconds <= end
    canary_errors = sum(window.canary.errors for window in found)
    stable_requests = sum(window.stable.requests for window in found)
    assert (12, 28) == (canary_errors, stable_requests)
