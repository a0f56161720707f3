"""What the API server's answers, and their absence, become."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from kubernetes.aio import client
from prometheus_client import REGISTRY

from modelrelease.adapters.cluster import ApiServer, KubernetesCluster
from modelrelease.adapters.cluster.server import Call
from modelrelease.adapters.cluster.server import _resource as counted_resource
from modelrelease.errors import Conflict, Forbidden, ReleaseError, Retryable, Terminal, Throttled, Unauthorized
from modelrelease.ports import Kind, Manifest

NOW = 1_800_000_000.0
IN_42_SECONDS = "Fri, 15 Jan 2027 08:00:42 GMT"
SERVICE: Manifest = {"metadata": {"namespace": "vision", "name": "detector"}}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Stub:
    """An API server that answers what a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = self.refuse_all
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.headers: list[dict[str, str]] = []

    async def refuse_all(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "no answer set"}, status=500)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.asked.append((request.method, request.raw_path, dict(request.query), json.loads(body) if body else None))
        self.headers.append(dict(request.headers))
        return await self.answer(request)

    def answers(self, status: int, body: object = None, **headers: str) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            if isinstance(body, str):
                return web.Response(text=body, status=status, headers=named)
            return web.json_response(body or {}, status=status, headers=named)

        self.answer = answer


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest_asyncio.fixture
async def cluster(stub: Stub) -> AsyncIterator[KubernetesCluster]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", stub.handle)
    async with TestServer(application) as server:
        api = connection(str(server.make_url("")).rstrip("/"))
        yield KubernetesCluster(api)
        await api.close()


def connection(url: str, timeout_seconds: float = 5.0) -> ApiServer:
    settings = client.Configuration(host=url, api_key={"BearerToken": "bearer secret"})
    return ApiServer(client.ApiClient(settings), timeout_seconds=timeout_seconds, wall=lambda: NOW)


def status(code: int, message: str, **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "details": details}


@pytest.mark.parametrize(
    ("code", "expected", "sentence"),
    [
        (409, Conflict, "replace services vision/detector: the object has been modified"),
        (403, Forbidden, "The operator may not replace services vision/detector: the object has been modified"),
        (422, Terminal, "the object has been modified"),
        (400, Terminal, "the object has been modified"),
        (405, Terminal, "the object has been modified"),
        (413, Terminal, "the object has been modified"),
        (401, Unauthorized, "(HTTP 401)"),
        (408, Retryable, "(HTTP 408)"),
        (410, Retryable, "(HTTP 410)"),
        (500, Retryable, "(HTTP 500)"),
        (503, Retryable, "(HTTP 503)"),
        (504, Retryable, "(HTTP 504)"),
    ],
)
async def test_each_refusal_has_its_error(
    stub: Stub, cluster: KubernetesCluster, code: int, expected: type[ReleaseError], sentence: str
) -> None:
    stub.answers(code, status(code, "the object has been modified"))
    with pytest.raises(ReleaseError) as refused:
        await cluster.replace(Kind.SERVICE, SERVICE)
    assert type(refused.value) is expected
    assert sentence in str(refused.value)


async def test_invalid_and_forbidden_have_their_reasons(stub: Stub, cluster: KubernetesCluster) -> None:
    for code, reason in ((422, "Invalid"), (403, "Forbidden")):
        stub.answers(code, status(code, "no"))
        with pytest.raises(Terminal) as refused:
            await cluster.create(Kind.SERVICE, SERVICE)
        assert reason == refused.value.reason


async def test_a_patch_for_another_uid_is_a_conflict(stub: Stub, cluster: KubernetesCluster) -> None:
    stub.answers(422, status(422, "field is immutable", causes=[{"field": "metadata.uid"}]))
    with pytest.raises(Conflict):
        await cluster.patch(Kind.SERVICE, "vision", "detector", {})
    stub.answers(422, status(422, "field is immutable", causes=[{"field": "spec.clusterIP"}]))
    with pytest.raises(Terminal):
        await cluster.patch(Kind.SERVICE, "vision", "detector", {})


@pytest.mark.parametrize(
    ("header", "expected"),
    [("7", 7.0), ("0", 1.0), (IN_42_SECONDS, 42.0), ("86400", 300.0), ("-5", 1.0), ("soon", 1.0), ("nan", 1.0)],
)
async def test_being_asked_to_wait_is_honoured(
    stub: Stub, cluster: KubernetesCluster, header: str, expected: float
) -> None:
    stub.answers(429, status(429, "too many requests"), Retry_After=header)
    with pytest.raises(Throttled) as refused:
        await cluster.get(Kind.SERVICE, "vision", "detector")
    assert refused.value.retry_after_seconds == pytest.approx(expected)


async def test_without_a_header_one_second_is_waited(stub: Stub, cluster: KubernetesCluster) -> None:
    stub.answers(429)
    with pytest.raises(Throttled) as refused:
        await cluster.get(Kind.SERVICE, "vision", "detector")
    assert refused.value.retry_after_seconds == 1.0


async def test_an_overloaded_server_may_ask_to_wait_too(stub: Stub, cluster: KubernetesCluster) -> None:
    stub.answers(503, "upstream gone", Retry_After="9")
    with pytest.raises(Retryable, match="Service Unavailable") as refused:
        await cluster.get(Kind.SERVICE, "vision", "detector")
    assert refused.value.retry_after_seconds == 9.0
    assert not isinstance(refused.value, Throttled)


async def test_a_slow_server_is_left(stub: Stub, cluster: KubernetesCluster) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    stub.answer = hang
    with pytest.raises(Retryable, match=r"read services vision/detector: no answer .* within 5 s"):
        await cluster.get(Kind.SERVICE, "vision", "detector")


async def test_a_server_that_stops_in_the_middle_is_left(stub: Stub, cluster: KubernetesCluster) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"metadata": {')
        await asyncio.sleep(30)
        return response

    stub.answer = trickle
    with pytest.raises(Retryable, match="no answer"):
        await cluster.get(Kind.SERVICE, "vision", "detector")


async def test_a_connection_that_breaks_is_retryable(stub: Stub, cluster: KubernetesCluster) -> None:
    async def drop(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    stub.answer = drop
    with pytest.raises(Retryable, match="create services vision/detector"):
        await cluster.create(Kind.SERVICE, SERVICE)
    assert len(stub.asked) == 1, "a creation that may have been done is not repeated by itself"


async def test_a_refused_connection_is_retryable() -> None:
    api = connection(f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(Retryable, match="read services vision/detector"):
        await KubernetesCluster(api).get(Kind.SERVICE, "vision", "detector")
    await api.close()


@pytest.mark.parametrize("body", ["<html>login</html>", "[]", '"text"', ""])
async def test_something_else_than_an_api_server_is_retryable(
    stub: Stub, cluster: KubernetesCluster, body: str
) -> None:
    stub.answers(200, body)
    with pytest.raises(Retryable, match="is this an API server"):
        await cluster.get(Kind.SERVICE, "vision", "detector")


async def test_cancellation_gets_through(stub: Stub, cluster: KubernetesCluster) -> None:
    entered = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        entered.set()
        await asyncio.sleep(30)
        return web.Response()

    stub.answer = hang
    task = asyncio.create_task(cluster.get(Kind.SERVICE, "vision", "detector"))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_reads_ask_for_the_latest_and_writes_say_who_writes(stub: Stub, cluster: KubernetesCluster) -> None:
    stub.answers(200, SERVICE)
    await cluster.get(Kind.SERVICE, "vision", "detector")
    await cluster.create(Kind.MODEL_RELEASE, SERVICE)
    await cluster.replace(Kind.VIRTUAL_SERVICE, SERVICE)
    await cluster.replace_status(Kind.MODEL_RELEASE, SERVICE)
    await cluster.patch(Kind.DEPLOYMENT, "vision", "detector", {"spec": {"replicas": 2}})
    await cluster.delete(Kind.SERVICE, "vision", "detector", uid="u-1")
    mr = "/apis/modelrelease.dev/v1alpha1/namespaces/vision/modelreleases"
    manager = "?fieldManager=modelrelease-operator&timeout=5.000s"
    expected: list[tuple[str, str, object]] = [
        ("GET", "/api/v1/namespaces/vision/services/detector", None),
        ("POST", mr + manager, SERVICE),
        ("PUT", f"/apis/networking.istio.io/v1/namespaces/vision/virtualservices/detector{manager}", SERVICE),
        ("PUT", f"{mr}/detector/status{manager}", SERVICE),
        ("PATCH", f"/apis/apps/v1/namespaces/vision/deployments/detector{manager}", {"spec": {"replicas": 2}}),
        (
            "DELETE",
            "/api/v1/namespaces/vision/services/detector?timeout=5.000s",
            {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "propagationPolicy": "Background",
                "preconditions": {"uid": "u-1"},
            },
        ),
    ]
    assert expected == [(method, path, body) for method, path, _, body in stub.asked]
    assert {"bearer secret"} == {headers["Authorization"] for headers in stub.headers}
    assert stub.headers[4]["Content-Type"] == "application/merge-patch+json"


async def test_list_follows_pages_and_keeps_its_selector(stub: Stub, cluster: KubernetesCluster) -> None:
    async def pages(request: web.Request) -> web.StreamResponse:
        number = int(request.query.get("continue", "0"))
        items = [{"metadata": {"name": f"pod-{number}"}}]
        return web.json_response({"metadata": {"continue": str(number + 1) if number < 2 else ""}, "items": items})

    stub.answer = pages
    found = await cluster.list(Kind.POD, "vision", {"b": "2", "a": "1"})
    assert [f"pod-{number}" for number in range(3)] == [cast(Any, one)["metadata"]["name"] for one in found]
    selector = {"limit": "500", "labelSelector": "a=1,b=2"}
    expected = [selector, {**selector, "continue": "1"}, {**selector, "continue": "2"}]
    assert expected == [query for _, _, query, _ in stub.asked]


@pytest.mark.parametrize(
    ("watched", "namespace", "expected"),
    [
        (None, None, "/api/v1/pods"),
        ("vision", None, "/api/v1/namespaces/vision/pods"),
        ("vision", "speech", "/api/v1/namespaces/speech/pods"),
    ],
)
async def test_list_stays_in_the_namespace_that_is_watched(
    stub: Stub, cluster: KubernetesCluster, watched: str | None, namespace: str | None, expected: str
) -> None:
    stub.answers(200, {"items": []})
    limited = KubernetesCluster(cluster._server, watch_namespace=watched)
    assert await limited.list(Kind.POD, namespace) == []
    assert [expected + "?limit=500"] == [path for _, path, _, _ in stub.asked]


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a%2Fb", "a?watch=true", "a b", "x" * 254, "a\n"])
async def test_names_cannot_lead_elsewhere(stub: Stub, cluster: KubernetesCluster, name: str) -> None:
    for asking in (
        cluster.get(Kind.SERVICE, "vision", name),
        cluster.get(Kind.SERVICE, name, "detector"),
        cluster.delete(Kind.SERVICE, "vision", name),
    ):
        with pytest.raises(Terminal) as refused:
            await asking
        assert refused.value.reason == "Invalid"
    assert stub.asked == []


@pytest.mark.parametrize("manifest", [{}, {"metadata": {"name": "a"}}, {"metadata": {"namespace": "a"}}])
async def test_objects_without_identity_are_refused(cluster: KubernetesCluster, manifest: Manifest) -> None:
    with pytest.raises(Terminal) as refused:
        await cluster.replace(Kind.SERVICE, manifest)
    assert refused.value.reason == "Invalid"


async def test_a_write_takes_no_longer_than_the_lease_allows(stub: Stub, cluster: KubernetesCluster) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    stub.answer = hang
    limited = KubernetesCluster(cluster._server, write_seconds=lambda: 1.0)
    with pytest.raises(Retryable, match="within 1 s"):
        await limited.replace_status(Kind.MODEL_RELEASE, SERVICE)
    assert stub.asked[0][2]["timeout"] == "1.000s"


async def test_without_the_lease_nothing_is_sent(stub: Stub, cluster: KubernetesCluster) -> None:
    limited = KubernetesCluster(cluster._server, write_seconds=lambda: 0.0)
    with pytest.raises(Retryable, match="does not hold the lease"):
        await limited.delete(Kind.SERVICE, "vision", "detector")
    assert [] == stub.asked


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/namespaces/vision/services/detector", "services"),
        ("/api/v1/pods", "pods"),
        ("/apis/modelrelease.dev/v1alpha1/namespaces/vision/modelreleases/detector/status", "modelreleases/status"),
        ("/apis/modelrelease.dev/v1alpha1/modelreleases", "modelreleases"),
        ("/apis/apps/v1/namespaces/vision/deployments", "deployments"),
        ("/apis/apps/v1", "other"),
    ],
)
def test_requests_are_counted_by_kind_and_never_by_name(path: str, resource: str) -> None:
    assert resource == counted_resource(path)


async def test_requests_are_counted_with_their_answer_or_its_absence(stub: Stub, cluster: KubernetesCluster) -> None:
    def count(verb: str, code: str) -> float:
        labels = {"verb": verb, "resource": "services", "code": code}
        return REGISTRY.get_sample_value("modelrelease_api_requests_total", labels) or 0.0

    asked = ("GET", "200"), ("PUT", "409"), ("GET", "none")
    before = [count(*each) for each in asked]
    stub.answers(200, SERVICE)
    await cluster.get(Kind.SERVICE, "vision", "detector")
    stub.answers(409, {"kind": "Status", "message": "changed"})
    with pytest.raises(Conflict):
        await cluster.replace(Kind.SERVICE, SERVICE)

    async def break_off(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    stub.answer = break_off
    with pytest.raises(Retryable):
        await cluster.get(Kind.SERVICE, "vision", "detector")
    assert [1, 1, 1] == [count(*each) - old for each, old in zip(asked, before, strict=True)]


LOGIN = """
import json, pathlib
runs = pathlib.Path({runs!r})
number = int(runs.read_text()) + 1 if runs.exists() else 1
runs.write_text(str(number))
status = {{"token": f"token-{{number}}"}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
"""


class LoggedIn:
    """A connection by a kubeconfig whose logins come from a program, as in most clouds; each run gives a new token."""

    def __init__(self, folder: Path, stub: Stub, url: str) -> None:
        self.runs = folder / "runs"
        self.path = folder / "kubeconfig"
        self._stub = stub
        program = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": ["-c", LOGIN.format(runs=str(self.runs))],
            "interactiveMode": "Never",
        }
        entries = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"exec": program}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }
        head = {"apiVersion": "v1", "kind": "Config", "current-context": "x"}
        self.path.write_text(json.dumps(head | entries), encoding="utf-8")

    def knows(self, *tokens: str) -> None:
        """The API server answers only to these."""

        async def answer(request: web.Request) -> web.StreamResponse:
            is_known = request.headers.get("Authorization") in {f"Bearer {token}" for token in tokens}
            return web.json_response({"kind": "Status"}, status=200 if is_known else 401)

        self._stub.answer = answer


@pytest_asyncio.fixture
async def logged_in(stub: Stub, tmp_path: Path) -> AsyncIterator[LoggedIn]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", stub.handle)
    async with TestServer(application) as server:
        yield LoggedIn(tmp_path, stub, str(server.make_url("")).rstrip("/"))


async def test_a_login_that_has_run_out_is_renewed_once_for_all_that_it_held_up(logged_in: LoggedIn) -> None:
    logged_in.knows("token-1")
    server = await ApiServer.connect(kubeconfig=logged_in.path)
    await server.send(Call("GET", "/api", "ask"))
    logged_in.knows("token-2")
    await asyncio.gather(*(server.send(Call("GET", "/api", "ask")) for _ in range(3)))
    await server.close()
    assert logged_in.runs.read_text() == "2"


async def test_somebody_who_is_not_known_after_a_new_login_is_told_so(logged_in: LoggedIn) -> None:
    logged_in.knows()
    server = await ApiServer.connect(kubeconfig=logged_in.path)
    with pytest.raises(Unauthorized):
        await server.send(Call("GET", "/api", "ask"))
    await server.close()
    assert logged_in.runs.read_text() == "2"
