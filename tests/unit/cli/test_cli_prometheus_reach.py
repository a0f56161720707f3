"""The way to Prometheus through the API server's service proxy: the real client and adapters, a stub at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from modelrelease.adapters.cluster import ApiServer, KubernetesCluster
from modelrelease.cli.connection import Connection, require_served
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Problem
from modelrelease.cli.prometheus import Wanted, reached
from modelrelease.errors import MetricsUnavailable
from modelrelease.ports import Key, Watched

KEY = Key("vision", "detector")
WATCHED = Watched("vision", "detector", "detector-canary", "Istio", ("5xx", "0"))
CONFIG = "providers: {default: {url: 'http://prometheus.monitoring:9090/prom', scrapeInterval: 5s}}"
SERIES = {
    "metric": {
        "__name__": "istio_requests_total",
        "reporter": "source",
        "destination_service": "detector.vision.svc.cluster.local",
        "response_code": "200",
        "pod": "gateway-0",
    },
    "values": [[1000.0, "1"], [1005.0, "4"]],
}
PROXY = "/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy/prom/api/v1/query"


class Stub:
    """An API server with a configuration, a Service, and Prometheus behind it."""

    def __init__(self) -> None:
        self.paths: list[tuple[str, str, dict[str, str]]] = []
        self.answers: dict[str, Any] = {
            "/api/v1/namespaces/modelrelease-system/configmaps/modelrelease-config": {"data": {"config.yaml": CONFIG}},
            "/api/v1/namespaces/monitoring/services/prometheus": {"kind": "Service"},
            PROXY: {"status": "success", "data": {"resultType": "matrix", "result": [SERIES]}},
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append((request.method, request.path, dict(request.query)))
        answer = self.answers.get(request.path)
        if answer is None:
            return web.json_response({"kind": "Status", "message": "not found"}, status=404)
        if isinstance(answer, int):
            return web.json_response({"kind": "Status", "message": "no"}, status=answer)
        return web.json_response(answer)


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest_asyncio.fixture
async def opened(stub: Stub) -> AsyncIterator[Connection]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", stub.handle)
    async with TestServer(application) as server:
        api = ApiServer(client.ApiClient(client.Configuration(host=str(server.make_url("")).rstrip("/"))))
        yield Connection(KubernetesCluster(api), api, "vision")
        await api.close()


async def test_prometheus_is_asked_through_the_api_server(stub: Stub, opened: Connection) -> None:
    async with reached(opened, "default", Wanted()) as metrics:
        assert metrics.scrape_interval_seconds == 5
        found = (await metrics.query({KEY: WATCHED}, start_seconds=990, end_seconds=1010))[KEY]
    (series,) = found.series
    assert ((1000.0, 1.0), (1005.0, 4.0)) == series.samples
    method, path, query = stub.paths[-1]
    assert ("GET", PROXY) == (method, path)
    assert 'destination_service=~"' in query["query"]
    assert query["time"] == "1010.000"


async def test_what_the_way_refuses_is_no_evidence(stub: Stub, opened: Connection) -> None:
    for answer, said in ((403, "may not"), (None, "there is none"), (503, "HTTP 503")):
        stub.answers[PROXY] = answer
        async with reached(opened, "default", Wanted()) as metrics:
            with pytest.raises(MetricsUnavailable, match=said):
                await metrics.query({KEY: WATCHED}, start_seconds=990, end_seconds=1010)


async def test_the_address_on_this_machine_cannot_be_guessed(opened: Connection) -> None:
    async with reached(opened, "default", Wanted()) as metrics:
        url = metrics.provider.url
    assert url.startswith("http://127.0.0.1:")
    assert len(url.rpartition("/")[2]) > 20


async def test_an_address_that_is_given_is_asked_directly(opened: Connection) -> None:
    async with reached(opened, "default", Wanted("http://127.0.0.1:9")) as metrics:
        assert metrics.provider.url == "http://127.0.0.1:9"
        assert metrics.scrape_interval_seconds == 5


@pytest.mark.parametrize("namespace", ["modelrelease-system", "elsewhere"])
async def test_without_a_configuration_the_remedy_is_said(stub: Stub, opened: Connection, namespace: str) -> None:
    stub.answers = {}
    with pytest.raises(Problem, match=rf"ConfigMap {namespace}/modelrelease-config.*--prometheus") as missing:
        async with reached(opened, "default", Wanted(None, namespace)):
            pass
    assert missing.value.code is ExitCode.NO_METRICS


async def test_a_provider_that_is_not_configured_is_told_which_there_are(opened: Connection) -> None:
    with pytest.raises(Problem, match="has: default"):
        async with reached(opened, "other", Wanted()):
            pass


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        (None, "does not know ModelReleases"),
        ({"versions": [{"version": "v2"}]}, "in v2, but this plugin knows v1alpha1"),
    ],
)
async def test_another_version_of_the_resource_is_said(
    stub: Stub, opened: Connection, group: Any, sentence: str
) -> None:
    stub.answers["/apis/modelrelease.dev"] = group
    with pytest.raises(Problem, match=sentence) as wrong:
        await require_served(opened.server)
    assert wrong.value.code is ExitCode.WRONG_VERSION
