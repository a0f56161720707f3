"""Probes and metrics over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from modelrelease.telemetry import TASKS


@dataclass(frozen=True, slots=True)
class Listen:
    """TCP ports to serve on."""

    probes: int = 8081
    metrics: int = 8080


Check = Callable[[], str]
"""Empty when all is well, else a sentence."""


@asynccontextmanager
async def serving(live: Check, ready: Check, listen: Listen) -> AsyncIterator[None]:
    """Serve `/livez` and `/readyz` on one port and `/metrics` on another while the block runs. Raises OSError."""
    probes = web.Application()
    probes.router.add_get("/livez", _probe(live))
    probes.router.add_get("/readyz", _probe(ready))
    metrics = web.Application()
    metrics.router.add_get("/metrics", _metrics)
    runners = []
    try:
        for app, port in ((probes, listen.probes), (metrics, listen.metrics)):
            runner = web.AppRunner(app, access_log=None)
            runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, port=port).start()
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        problem = check()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    return answer


async def _metrics(_: web.Request) -> web.Response:
    TASKS.set(len(asyncio.all_tasks()))
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
