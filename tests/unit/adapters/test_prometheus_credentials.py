"""Tokens, passwords and certificates for Prometheus: what is in the files counts, also when they are replaced."""

from __future__ import annotations

import base64
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import REGISTRY

from localcluster.pki import Authority, Identity, KeyPair
from modelrelease.adapters.prometheus import Credentials, PrometheusMetrics, Provider
from modelrelease.errors import MetricsUnavailable
from modelrelease.ports import Key, Watched

WATCHED = {Key("vision", "detector"): Watched("vision", "detector", "detector-canary", "Istio", ("5xx",))}
EMPTY = {"status": "success", "data": {"resultType": "matrix", "result": []}}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked: the authorization header, and the name in the client's certificate."""

    authorization: str
    certificate: str


@asynccontextmanager
async def server(context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[tuple[str, list[Caller]]]:
    callers: list[Caller] = []

    async def answer(request: web.Request) -> web.Response:
        pair: Any = request.transport.get_extra_info("peercert") if request.transport is not None else None
        name = dict(part[0] for part in pair["subject"])["commonName"] if pair else ""
        callers.append(Caller(request.headers.get("Authorization", ""), name))
        return web.json_response(EMPTY)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    started = TestServer(application, port=port or None, scheme="https" if context else "http")
    await started.start_server(ssl=context)
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{started.port}", callers
    finally:
        await started.close()


@contextmanager
def metrics(url: str, credentials: Credentials) -> Iterator[PrometheusMetrics]:
    made = PrometheusMetrics(Provider("tested", url, timeout_seconds=5, credentials=credentials))
    try:
        yield made
    finally:
        made.close()


async def ask(made: PrometheusMetrics) -> None:
    await made.query(WATCHED, start_seconds=40, end_seconds=100)


def demanding(authority: Authority, pair: KeyPair) -> ssl.SSLContext:
    """A server that shows `pair` and wants a certificate of `authority`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.pair.certificate))
    context.load_cert_chain(pair.certificate, pair.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def mount(folder: Path, authority: Authority, pair: KeyPair) -> Credentials:
    """As the kubelet does it: other files in the same place."""
    folder.mkdir(exist_ok=True)
    for source, name in ((authority.pair.certificate, "ca.crt"), (pair.certificate, "tls.crt"), (pair.key, "tls.key")):
        fresh = folder / f".{name}"
        shutil.copyfile(source, fresh)
        fresh.replace(folder / name)
    return Credentials(ca_file=folder / "ca.crt", cert_file=folder / "tls.crt", key_file=folder / "tls.key")


async def test_a_password_is_read_each_time(tmp_path: Path) -> None:
    password = tmp_path / "password"
    async with server() as (url, callers):
        with metrics(url, Credentials(username="operator", password_file=password)) as made:
            for secret in ("first", "sécond:with a colon"):
                password.write_text(f"{secret}\n", encoding="utf-8")
                await ask(made)
    said = [base64.b64decode(caller.authorization.removeprefix("Basic ")).decode() for caller in callers]
    assert ["operator:first", "operator:sécond:with a colon"] == said


async def test_a_password_that_is_missing_is_said(tmp_path: Path) -> None:
    async with server() as (url, callers):
        credentials = Credentials(username="operator", password_file=tmp_path / "absent")
        missing = pytest.raises(MetricsUnavailable, match="password for Prometheus could not be read")
        with metrics(url, credentials) as made, missing:
            await ask(made)
    assert callers == []


async def test_a_client_certificate_is_shown_and_its_successor_after_a_rotation(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    pair = authority.issue("server", Identity("prometheus", hosts=("127.0.0.1",)))
    async with server(demanding(authority, pair)) as (url, callers):
        credentials = mount(tmp_path / "secret", authority, authority.issue("first", Identity("first")))
        with metrics(url, credentials) as made:
            await ask(made)
            await ask(made)
            mount(tmp_path / "secret", authority, authority.issue("second", Identity("second")))
            await ask(made)
    assert ["first", "first", "second"] == [caller.certificate for caller in callers]


async def test_another_authority_is_trusted_once_it_is_mounted(tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    pair = new.issue("server", Identity("prometheus", hosts=("127.0.0.1",)))
    async with server(demanding(new, pair)) as (url, callers):
        credentials = mount(tmp_path / "secret", old, old.issue("client", Identity("client")))
        with metrics(url, credentials) as made:
            with pytest.raises(MetricsUnavailable, match="SSLCertVerificationError"):
                await ask(made)
            mount(tmp_path / "secret", new, new.issue("client", Identity("client")))
            await ask(made)
    assert ["client"] == [caller.certificate for caller in callers]


@pytest.mark.parametrize("broken", ["ca.crt", "tls.crt", "tls.key"])
@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_certificate_that_cannot_be_used_is_said_and_passes(
    tmp_path: Path, broken: str, content: str | None
) -> None:
    authority = Authority(tmp_path / "pki")
    pair = authority.issue("server", Identity("prometheus", hosts=("127.0.0.1",)))
    client = authority.issue("client", Identity("client"))
    async with server(demanding(authority, pair)) as (url, callers):
        credentials = mount(tmp_path / "secret", authority, client)
        if content is None:
            (tmp_path / "secret" / broken).unlink()
        else:
            (tmp_path / "secret" / broken).write_text(content, encoding="utf-8")
        with metrics(url, credentials) as made:
            with pytest.raises(MetricsUnavailable):
                await ask(made)
            mount(tmp_path / "secret", authority, client)
            await ask(made)
    assert ["client"] == [caller.certificate for caller in callers]


async def test_queries_are_counted_by_whether_they_were_answered(tmp_path: Path) -> None:
    def count(outcome: str) -> float:
        labels = {"provider": "tested", "outcome": outcome}
        return REGISTRY.get_sample_value("modelrelease_prometheus_requests_total", labels) or 0.0

    before = count("success"), count("error")
    token = tmp_path / "token"
    async with server() as (url, _):
        with metrics(url, Credentials(bearer_token_file=token)) as made:
            with pytest.raises(MetricsUnavailable):
                await ask(made)
            token.write_text("secret", encoding="utf-8")
            await ask(made)
            await ask(made)
    assert (before[0] + 2, before[1] + 1) == (count("success"), count("error"))
