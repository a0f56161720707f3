"""A Prometheus that misbehaves: each answer that is not plain success is refused with a sentence."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from modelrelease.adapters.prometheus import ISTIO, Credentials, PrometheusMetrics, Provider
from modelrelease.errors import MetricsUnavailable
from modelrelease.ports import Key, Samples, Watched

DETECTOR = Key("vision", "detector")
WATCHED = {DETECTOR: Watched("vision", "detector", "detector-canary", "Istio", ("5xx", "0"))}
EMPTY = {"status": "success", "data": {"resultType": "matrix", "result": []}}
LIMIT = 1024 * 1024

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Stub:
    """Answers as a test says, and remembers the forms that it was sent."""

    def __init__(self) -> None:
        self.answer: Answer = self.empty
        self.forms: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.url = ""

    async def empty(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(EMPTY)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.raw_path)
        self.headers.append(dict(request.headers))
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        return await self.answer(request)

    def answers(self, body: object, *, status: int = 200) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            text = body if isinstance(body, str) else json.dumps(body)
            return web.Response(text=text, status=status)

        self.answer = answer


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[Stub]:
    made = Stub()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.handle)
    async with TestServer(application) as server:
        made.url = str(server.make_url("/prometheus/"))
        yield made


async def ask(
    url: str, watched: Mapping[Key, Watched] = WATCHED, *, end: float = 100.0, **options: Any
) -> Mapping[Key, Samples]:
    settings: dict[str, Any] = {"timeout_seconds": 5.0, "limit_bytes": LIMIT, **options}
    metrics = PrometheusMetrics(Provider("default", url, **settings))
    try:
        return await metrics.query(watched, start_seconds=end - 60, end_seconds=end)
    finally:
        metrics.close()


async def test_one_question_is_asked_in_the_body(stub: Stub) -> None:
    assert {DETECTOR: Samples((), None)} == await ask(stub.url, end=1_800_000_000.25)
    assert ["/prometheus/api/v1/query"] == stub.paths
    (form,) = stub.forms
    assert ("1800000000.250", "5s") == (form["time"], form["timeout"])
    assert form["query"].endswith("[60001ms]")
    assert "Authorization" not in stub.headers[0]


async def test_many_releases_are_asked_in_parts_and_put_together(stub: Stub) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        number = stub.forms[-1]["query"].count("svc") // 2
        metric = {"__name__": "istio_requests_total", "destination_service": f"m{number}.vision.svc.cluster.local"}
        result = [{"metric": metric, "values": [[99, "7"]]}]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})

    stub.answer = answer
    watched = {
        Key("vision", f"model-{number:03}"): Watched("vision", f"m{number}", f"m{number}-canary", "Istio", ())
        for number in range(250)
    }
    found = await ask(stub.url, watched)
    assert len(stub.forms) == 3
    assert set(watched) == set(found)


async def test_nothing_to_watch_asks_nothing(stub: Stub) -> None:
    assert {} == await ask(stub.url, {})
    assert stub.forms == []


async def test_an_unknown_source_has_no_samples_and_harms_nobody(stub: Stub) -> None:
    other = Key("vision", "other")
    watched = {**WATCHED, other: Watched("vision", "other", "other-canary", "Mesh", ())}
    assert {DETECTOR: Samples((), None), other: Samples((), None)} == await ask(stub.url, watched)
    assert len(stub.forms) == 1


async def test_a_redirect_is_not_followed(stub: Stub) -> None:
    async def redirect(_: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("/elsewhere")

    stub.answer = redirect
    with pytest.raises(MetricsUnavailable, match="redirects to '/elsewhere'; redirects are not followed"):
        await ask(stub.url)
    assert ["/prometheus/api/v1/query"] == stub.paths


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ("<html><body>Please log in</body></html>", 200, "no JSON object: '<html><body>Please log in"),
        ("", 200, "Is this address a Prometheus"),
        ("[]", 200, "no JSON object"),
        ("[" * 200_000, 200, "no JSON object"),
        ("Bad Gateway", 502, "HTTP status 502 and no JSON object: 'Bad Gateway'"),
        ({"status": "error", "errorType": "timeout", "error": "query timed out"}, 200, "query timed out"),
        ({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400, "refused the query: parse error"),
        ({"status": "error"}, 503, "HTTP status 503"),
        ({**EMPTY, "status": "partial"}, 200, "refused the query"),
        ({**EMPTY, "warnings": ["a store is away"]}, 200, "may be partial: ['a store is away']"),
        ({"status": "success"}, 200, "something else than a matrix"),
        ({"status": "success", "data": []}, 200, "something else than a matrix"),
        ({"status": "success", "data": {"resultType": "matrix"}}, 200, "something else than a matrix"),
        ({"status": "success", "data": {"resultType": "vector", "result": []}}, 200, "something else than a matrix"),
        ({"status": "success", "data": {"resultType": "matrix", "result": [1]}}, 200, "without labels or samples"),
    ],
)
async def test_each_wrong_answer_is_refused(stub: Stub, body: object, status: int, sentence: str) -> None:
    stub.answers(body, status=status)
    with pytest.raises(MetricsUnavailable) as refused:
        await ask(stub.url)
    assert sentence in str(refused.value)


async def test_hints_of_prometheus_are_no_warnings(stub: Stub) -> None:
    stub.answers({**EMPTY, "infos": ["metric might not be a counter"], "warnings": []})
    assert {DETECTOR: Samples((), None)} == await ask(stub.url)


async def test_a_body_without_end_is_cut_off(stub: Stub) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 100 * LIMIT:
            await response.write(b" " * 65536)
            sent += 65536
        return response

    stub.answer = endless
    with pytest.raises(MetricsUnavailable, match=f"larger than {LIMIT} bytes"):
        await ask(stub.url)
    assert sent < 50 * LIMIT


async def test_a_small_body_that_unpacks_to_a_large_one_is_cut_off(stub: Stub) -> None:
    packed = gzip.compress(b" " * 64 * LIMIT)

    async def bomb(_: web.Request) -> web.StreamResponse:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    stub.answer = bomb
    with pytest.raises(MetricsUnavailable, match=f"larger than {LIMIT} bytes"):
        await ask(stub.url)


async def test_silence_ends_in_time_and_holds_nobody_up(stub: Stub) -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    stub.answer = hang
    turns = 0
    task = asyncio.create_task(ask(stub.url, timeout_seconds=0.5))
    while not task.done():
        await asyncio.sleep(0.01)
        turns += 1
    with pytest.raises(MetricsUnavailable, match=r"Timeout|in time"):
        await task
    assert turns > 3, "the loop goes on while the query hangs"


async def test_a_body_that_trickles_ends_in_time(stub: Stub) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    stub.answer = trickle
    with pytest.raises(MetricsUnavailable, match="took longer than"):
        await ask(stub.url, timeout_seconds=1.0)


async def test_an_answer_that_breaks_off_is_refused(stub: Stub) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"status": "success"')
        assert request.transport is not None
        request.transport.abort()
        return response

    stub.answer = break_off
    with pytest.raises(MetricsUnavailable, match="could not be asked"):
        await ask(stub.url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://prometheus.invalid:9090"])
async def test_nobody_there_is_asked_once(url: str) -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(MetricsUnavailable, match=r"Prometheus [\w.:]+ could not be asked: \w+: [^<>()]+\.$"):
        await ask(url.format(port=unused_port()))
    assert asyncio.get_running_loop().time() - started < 4, "no retries: the next tick comes soon enough"


async def test_one_failed_part_fails_the_question(stub: Stub) -> None:
    async def every_second(_: web.Request) -> web.StreamResponse:
        if len(stub.forms) % 2:
            return web.json_response(EMPTY)
        return web.json_response({"status": "error", "error": "overloaded"}, status=503)

    stub.answer = every_second
    watched = {
        Key("vision", f"m{number}"): Watched("vision", f"m{number}", f"m{number}-c", "Istio", ())
        for number in range(150)
    }
    with pytest.raises(MetricsUnavailable, match="overloaded"):
        await ask(stub.url, watched)


async def test_the_token_is_read_each_time(stub: Stub, tmp_path: Path) -> None:
    token = tmp_path / "token"
    for secret in ("first", "second"):
        token.write_text(f"{secret}\n", encoding="utf-8")
        await ask(stub.url, credentials=Credentials(bearer_token_file=token))
    assert ["Bearer first", "Bearer second"] == [headers["Authorization"] for headers in stub.headers]


async def test_a_token_that_is_missing_is_said(stub: Stub, tmp_path: Path) -> None:
    with pytest.raises(MetricsUnavailable, match="token for Prometheus could not be read"):
        await ask(stub.url, credentials=Credentials(bearer_token_file=tmp_path / "absent"))
    assert stub.forms == []


async def test_proxies_of_the_environment_are_not_used(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    assert {DETECTOR: Samples((), None)} == await ask(stub.url)


async def test_a_source_may_be_renamed(stub: Stub) -> None:
    await ask(stub.url, sources={"Istio": ISTIO}, cluster_domain="corp.example")
    assert "svc\\\\.corp\\\\.example" in stub.forms[0]["query"]
