"""Between one operator and the API server: passes all on, counts the writes, and breaks what a test says.

The operator talks plain HTTP to it, the proxy the API server's TLS. A fault is a coroutine that is given the exchange
and may pass it on, or not, or only in part.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from time import monotonic, time
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from faults.kube import Json, Kube
from faults.writes import Asked, read_request

_HOP = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "accept-encoding", "te"}
_LIMIT = aiohttp.ClientTimeout(total=None, sock_connect=10)

Fault = Callable[["Exchange"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def response(self) -> web.Response:
        return web.Response(status=self.status, headers=self.headers, body=self.body)


@dataclass
class Exchange:
    """One request on its way."""

    proxy: ApiProxy
    request: web.Request
    asked: Asked
    raw: bytes

    async def forward(self) -> Reply:
        """Let the API server do it."""
        kube = self.proxy.kube
        headers = {key: value for key, value in self.request.headers.items() if key.lower() not in _HOP}
        async with kube.session.request(
            self.request.method,
            kube.server + self.request.raw_path,
            data=self.raw or None,
            headers=headers,
            timeout=_LIMIT,
        ) as answer:
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP}
            return Reply(answer.status, kept, await answer.read())

    def hang_up(self) -> web.StreamResponse:
        """Close the connection without an answer."""
        if self.request.transport is not None:
            self.request.transport.abort()
        return web.Response(status=500)


@dataclass
class Rule:
    """A fault for what matches, so many times."""

    matches: Callable[[Asked], bool]
    fault: Fault
    times: float = 1
    struck: int = 0


@dataclass
class ApiProxy:
    """Start it with `start`; give the operator `kubeconfig`."""

    kube: Kube
    rules: list[Rule] = field(default_factory=list)
    writes: list[tuple[float, Asked]] = field(default_factory=list)
    """Of the operator, without those of the Lease; when they came, monotonic."""
    requests: int = 0
    is_cut: bool = False
    alter_event: Callable[[Asked, Json], list[Json]] | None = None
    """What becomes of an event of a watch: nothing, itself, or several."""
    port: int = 0
    _watches: set[web.StreamResponse] = field(default_factory=set)
    _open: set[asyncio.Transport] = field(default_factory=set)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxied",
            "clusters": [{"name": "proxied", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "operator", "user": {}}],
            "contexts": [{"name": "proxied", "context": {"cluster": "proxied", "user": "operator"}}],
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def on(self, matches: Callable[[Asked], bool], fault: Fault, times: float = 1) -> Rule:
        rule = Rule(matches, fault, times)
        self.rules.append(rule)
        return rule

    def cut(self) -> None:
        """From now on nothing passes, and what is open is closed."""
        self.is_cut = True
        for transport in list(self._open):
            transport.abort()

    def mend(self) -> None:
        self.is_cut = False

    def cut_watches(self) -> None:
        """Close the watches that are open, as an API server that is rolled does."""
        for response in list(self._watches):
            response.force_close()
            transport = getattr(response, "_req", None) and response._req.transport  # type: ignore[union-attr]
            if transport:
                transport.abort()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            self._open = {one for one in self._open if not one.is_closing()} | {request.transport}
        raw = await request.read()
        exchange = Exchange(self, request, read_request(request, raw), raw)
        self.requests += 1
        if self.is_cut:
            return exchange.hang_up()
        if exchange.asked.is_write and not exchange.asked.is_lease:
            self.writes.append((monotonic(), exchange.asked))
        for rule in self.rules:
            if rule.struck < rule.times and rule.matches(exchange.asked):
                rule.struck += 1
                return await rule.fault(exchange)
        if exchange.asked.is_watch:
            return await self._stream(exchange)
        try:
            reply = await exchange.forward()
        except (aiohttp.ClientError, TimeoutError):
            return exchange.hang_up()
        return exchange.hang_up() if self.is_cut else reply.response()

    async def _stream(self, exchange: Exchange) -> web.StreamResponse:
        """Pass a watch on line by line."""
        request, kube = exchange.request, self.kube
        response = web.StreamResponse()
        async with kube.session.get(kube.server + request.raw_path, timeout=_LIMIT) as answer:
            response.set_status(answer.status)
            response.content_type = "application/json"
            await response.prepare(request)
            self._watches.add(response)
            try:
                buffered = b""
                async for chunk in answer.content.iter_any():
                    *lines, buffered = (buffered + chunk).split(b"\n")
                    for line in lines:
                        await self._pass_on(exchange.asked, line, response)
            except (aiohttp.ClientError, ConnectionError):
                pass
            finally:
                self._watches.discard(response)
        return response

    async def _pass_on(self, asked: Asked, line: bytes, response: web.StreamResponse) -> None:
        if self.alter_event is None:
            await response.write(line + b"\n")
            return
        for event in self.alter_event(asked, json.loads(line)):
            await response.write(json.dumps(event).encode() + b"\n")


def refuse(status: int, message: str = "a fault", headers: dict[str, str] | None = None) -> Fault:
    """An error as the API server words it."""

    async def fault(_: Exchange) -> web.StreamResponse:
        body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
        return web.json_response({**body, "code": status}, status=status, headers=headers or {})

    return fault


def throttle(seconds: int, *, as_date: bool = False) -> Fault:
    """429 with Retry-After, as seconds or as an HTTP date."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        after = formatdate(time() + seconds, usegmt=True) if as_date else str(seconds)
        return await refuse(429, "too many requests", {"Retry-After": after})(exchange)

    return fault


async def drop(exchange: Exchange) -> web.StreamResponse:
    """It never arrives."""
    return exchange.hang_up()


async def lose_reply(exchange: Exchange) -> web.StreamResponse:
    """It is done, and nobody learns of it."""
    await exchange.forward()
    return exchange.hang_up()


def delay(seconds: float) -> Fault:
    async def fault(exchange: Exchange) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return exchange.hang_up() if exchange.proxy.is_cut else (await exchange.forward()).response()

    return fault


def strike(act: Callable[[], object], *, before: bool) -> Fault:
    """Do something, a SIGKILL for instance, before the effect, or after it and before the answer."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        if before:
            act()
            return exchange.hang_up()
        await exchange.forward()
        act()
        return exchange.hang_up()

    return fault


def stale(reply: Reply) -> Fault:
    """An answer from long ago."""

    async def fault(_: Exchange) -> web.StreamResponse:
        return reply.response()

    return fault
