"""The way to Prometheus through the API server's service proxy: the real client and adapters, a stub at the end."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from modelrelease.adapters.cluster import ApiServer, KubernetesCluster
from modelrelease.adapters.prometheus import PrometheusMetrics
from modelrelease.cli.connection import Connection, require_served
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Problem
from modelrelease.cli.prometheus import Wanted, reached
from modelrelease.errors import Forbidden, MetricsUnavailable
from modelrelease.ports import Key, Watched
from modelrelease.settings import InvalidSettings

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


AWAY = """\
providers:
  default:
    url: {url}
    basicAuth: {{username: operator, passwordFile: /etc/secrets/password}}
"""
DEPLOYMENT = "/apis/apps/v1/namespaces/modelrelease-system/deployments/modelrelease-operator"
SECRET = "/api/v1/namespaces/modelrelease-system/secrets/for-prometheus"  # noqa: S105 - a path
POD = {
    "volumes": [{"name": "own", "secret": {"secretName": "for-prometheus"}}, {"name": "config", "configMap": {}}],
    "containers": [{"volumeMounts": [{"name": "own", "mountPath": "/etc/secrets"}, {"name": "config"}]}],
}
BASIC = f"Basic {base64.b64encode(b'operator:open sesame').decode()}"


class Stub:
    """An API server with a configuration, a Service, and Prometheus behind it."""

    def __init__(self) -> None:
        self.paths: list[tuple[str, str, dict[str, str]]] = []
        self.authorization = ""
        self.answers: dict[str, Any] = {
            "/api/v1/namespaces/modelrelease-system/configmaps/modelrelease-config": {"data": {"config.yaml": CONFIG}},
            "/api/v1/namespaces/monitoring/services/prometheus": {"kind": "Service"},
            PROXY: {"status": "success", "data": {"resultType": "matrix", "result": [SERIES]}},
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append((request.method, request.path, dict(request.query)))
        self.authorization = request.headers.get("Authorization", "")
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
    for answer, error, said in (
        (403, Forbidden, "may not ask Prometheus through service"),
        (None, MetricsUnavailable, "there is none"),
        (503, MetricsUnavailable, "HTTP 503"),
    ):
        stub.answers[PROXY] = answer
        with pytest.raises(error, match=said):
            async with reached(opened, "default", Wanted()) as metrics:
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


@pytest.fixture
def away(stub: Stub, opened: Connection) -> Stub:
    """Prometheus is outside of the cluster and asks for the operator's password, which a Secret holds."""
    url = f"{opened.server.address}/outside"
    config = {"data": {"config.yaml": AWAY.format(url=url)}}
    stub.answers["/api/v1/namespaces/modelrelease-system/configmaps/modelrelease-config"] = config
    stub.answers["/outside/api/v1/query"] = stub.answers[PROXY]
    stub.answers[DEPLOYMENT] = {"spec": {"template": {"spec": POD}}}
    stub.answers[SECRET] = {"data": {"password": base64.b64encode(b"open sesame\n").decode()}}
    return stub


async def ask(opened: Connection, wanted: Wanted) -> PrometheusMetrics:
    async with reached(opened, "default", wanted) as metrics:
        await metrics.query({KEY: WATCHED}, start_seconds=990, end_seconds=1010)
        return metrics


async def test_the_operators_credentials_come_from_its_secret(away: Stub, opened: Connection) -> None:
    asked = await ask(opened, Wanted())
    assert BASIC == away.authorization
    file = asked.provider.credentials.password_file
    assert file is not None
    assert not file.exists(), "nothing stays on this machine"


@pytest.mark.parametrize(
    ("path", "answer", "expected"),
    [
        (SECRET, 403, ("you may not read secret modelrelease-system/for-prometheus", ExitCode.FORBIDDEN)),
        (SECRET, {"data": {}}, ("has no key password", ExitCode.NO_METRICS)),
        (DEPLOYMENT, None, ("are not there", ExitCode.NO_METRICS)),
        (DEPLOYMENT, {"spec": {"template": {"spec": {"containers": [{}]}}}}, ("from no Secret", ExitCode.NO_METRICS)),
    ],
)
async def test_credentials_that_cannot_be_had_are_one_sentence_with_the_remedy(
    away: Stub, opened: Connection, path: str, answer: Any, expected: tuple[str, ExitCode]
) -> None:
    said, code = expected
    away.answers[path] = answer
    with pytest.raises(Problem, match=said) as problem:
        await ask(opened, Wanted())
    assert "--provider" in str(problem.value)
    assert problem.value.code is code


async def test_a_person_gives_credentials_in_a_file_as_the_operator_has_them(
    away: Stub, opened: Connection, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("mine\n", encoding="utf-8")
    described = tmp_path / "provider.yaml"
    described.write_text(
        f"{{url: '{opened.server.address}/outside', scrapeInterval: 7s, bearerTokenFile: token}}", encoding="utf-8"
    )
    asked = await ask(opened, Wanted(file=described))
    assert away.authorization == "Bearer mine"
    assert asked.scrape_interval_seconds == 7
    for text, said in (("url: x", "url: write an address"), ("{url: 'http://x', token: y}", "token: unknown field")):
        described.write_text(text, encoding="utf-8")
        with pytest.raises(InvalidSettings, match=rf"provider.yaml: {said}"):
            await ask(opened, Wanted(file=described))
    with pytest.raises(InvalidSettings, match=r"absent.yaml cannot be read"):
        await ask(opened, Wanted(file=tmp_path / "absent.yaml"))
    with pytest.raises(Problem, match="not both"):
        Wanted("http://127.0.0.1:9", file=described)


async def test_an_address_of_ones_own_gets_no_credentials_of_the_operator(away: Stub, opened: Connection) -> None:
    await ask(opened, Wanted(f"{opened.server.address}/outside"))
    assert away.authorization == ""
    with pytest.raises(InvalidSettings, match=r"--prometheus: url: write an address such as"):
        await ask(opened, Wanted("prometheus:9090"))


async def test_credentials_do_not_pass_the_api_server_which_is_said(away: Stub, opened: Connection) -> None:
    """It takes the Authorization header for itself."""
    config = {"data": {"config.yaml": AWAY.format(url="http://prometheus.monitoring:9090")}}
    away.answers["/api/v1/namespaces/modelrelease-system/configmaps/modelrelease-config"] = config
    with pytest.raises(Problem, match=r"kubectl -n monitoring port-forward service/prometheus 9090.*--provider"):
        await ask(opened, Wanted())


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
