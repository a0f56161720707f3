"""In front of a real Prometheus: refuses, stalls and lies as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import time
from typing import Any

import aiohttp
from aiohttp import web

Lie = Callable[["MetricsProxy", web.Request, bytes], Awaitable[web.StreamResponse]]
_LIMIT = aiohttp.ClientTimeout(total=20)
_MEBIBYTE = b" " * 2**20


@dataclass
class MetricsProxy:
    """`lie` is what happens to each query; None: the truth. Lies are also noted as times without evidence."""

    upstream: str
    session: aiohttp.ClientSession
    port: int = 0
    queries: int = 0
    sent_bytes: int = 0
    lies: list[tuple[float, float]] = field(default_factory=list)
    """Unix seconds from and to which something else than the truth was told; the last end may be open (inf)."""
    _lie: Lie | None = None
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tell(self, lie: Lie | None) -> None:
        """From now on."""
        if self._lie is None and lie is not None:
            self.lies.append((time(), float("inf")))
        elif self._lie is not None and lie is None:
            self.lies[-1] = (self.lies[-1][0], time())
        self._lie = lie

    async def start(self) -> None:
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.queries += 1
        if self._lie is not None:
            return await self._lie(self, request, raw)
        answer = await self.truth(request, raw)
        return web.json_response(answer)

    async def truth(self, request: web.Request, raw: bytes) -> Any:
        """What Prometheus says."""
        headers = {"Content-Type": request.headers.get("Content-Type", "application/x-www-form-urlencoded")}
        async with self.session.request(
            request.method, self.upstream + request.raw_path, data=raw, headers=headers, timeout=_LIMIT
        ) as answer:
            return await answer.json()


async def refuse(_: MetricsProxy, request: web.Request, __: bytes) -> web.StreamResponse:
    """As nobody listening."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def stall(_: MetricsProxy, __: web.Request, ___: bytes) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response(status=500)


async def empty(_: MetricsProxy, __: web.Request, ___: bytes) -> web.StreamResponse:
    return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": []}})


async def failed(_: MetricsProxy, __: web.Request, ___: bytes) -> web.StreamResponse:
    return web.json_response({"status": "error", "errorType": "execution", "error": "too many samples"})


async def html(_: MetricsProxy, __: web.Request, ___: bytes) -> web.StreamResponse:
    return web.Response(text="<html><body>Please log in</body></html>", content_type="text/html")


async def redirect(_: MetricsProxy, request: web.Request, __: bytes) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": f"{request.path}?elsewhere"})


async def warned(proxy: MetricsProxy, request: web.Request, raw: bytes) -> web.StreamResponse:
    """Only a part of the truth, and said so."""
    return web.json_response({**await proxy.truth(request, raw), "warnings": ["a store did not answer"]})


async def enormous(proxy: MetricsProxy, request: web.Request, _: bytes) -> web.StreamResponse:
    """A gibibyte, if it is read."""
    response = web.StreamResponse()
    response.content_type = "application/json"
    await response.prepare(request)
    for _ in range(1024):
        try:
            await response.write(_MEBIBYTE)
        except ConnectionError:
            break
        proxy.sent_bytes += len(_MEBIBYTE)
    return response


def altered(change: Callable[[list[list[Any]]], list[list[Any]]]) -> Lie:
    """The truth with other samples: `change` gets [time, value] pairs."""

    async def lie(proxy: MetricsProxy, request: web.Request, raw: bytes) -> web.StreamResponse:
        answer = await proxy.truth(request, raw)
        for series in answer.get("data", {}).get("result", []):
            series["values"] = change(series.get("values", []))
        return web.json_response(answer)

    return lie


nan = altered(lambda values: [[at, "NaN"] for at, _ in values])
infinite = altered(lambda values: [[at, "+Inf"] for at, _ in values])
old = altered(lambda values: [[at - 3600, value] for at, value in values])
future = altered(lambda values: [[at + 3600, value] for at, value in values])

LIES: dict[str, Lie] = {
    "refused": refuse,
    "stalled": stall,
    "empty": empty,
    "status-error": failed,
    "html": html,
    "redirect": redirect,
    "warnings": warned,
    "enormous": enormous,
    "nan": nan,
    "infinite": infinite,
    "old": old,
    "future": future,
}
