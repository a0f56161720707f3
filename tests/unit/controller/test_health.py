"""Probes and metrics, asked over HTTP."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from modelrelease.health import Listen, serving
from modelrelease.telemetry import QUEUE_DEPTH


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("path", "expected"), [("/livez", (200, "ok")), ("/readyz", (503, "not watching yet"))], ids=["live", "ready"]
)
async def test_probes_answer_with_the_reason(path: str, expected: tuple[int, str]) -> None:
    listen = Listen(_free_port(), _free_port())
    async with (
        serving(lambda: "", lambda: "not watching yet", listen),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{listen.probes}{path}") as response,
    ):
        assert expected == (response.status, await response.text())


async def test_metrics_are_served_on_their_own_port() -> None:
    QUEUE_DEPTH.set(7)
    listen = Listen(_free_port(), _free_port())
    async with serving(lambda: "", lambda: "", listen), aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{listen.metrics}/metrics") as response:
            assert "modelrelease_queue_depth 7.0" in await response.text()
        async with session.get(f"http://127.0.0.1:{listen.probes}/metrics") as response:
            assert 404 == response.status


async def test_a_port_in_use_ends_the_start() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        listen = Listen(taken.getsockname()[1], _free_port())
        with pytest.raises(OSError, match="address already in use"):
            async with serving(lambda: "", lambda: "", listen):
                pytest.fail("served on a port that is in use")
