"""The way to the Prometheus that a release is judged by, from where a person sits."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from aiohttp import web

from modelrelease.adapters.cluster import ApiServer, Call, NotFoundError
from modelrelease.adapters.prometheus import (
    INFERENCE,
    ISTIO,
    Credentials,
    PrometheusMetrics,
    Provider,
    SourceDefinition,
)
from modelrelease.cli.connection import Connection
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.operator_credentials import lent
from modelrelease.cli.problems import Problem
from modelrelease.errors import Forbidden, MetricsUnavailable, ReleaseError
from modelrelease.settings import Provider as ProviderSettings
from modelrelease.settings import Settings, provider_of, read_provider, read_settings

CONFIG_MAP = "modelrelease-config"
CONFIG_FILE = "config.yaml"
TIMEOUT_SECONDS = 20.0
"""A person waits longer than the operator would; an answer through the API server takes its time."""

Url = Annotated[
    str | None,
    typer.Option(
        "--prometheus", metavar="URL", help="Address of Prometheus. Default: the operator's, through the API."
    ),
]
ProviderFile = Annotated[
    Path | None,
    typer.Option(
        "--provider",
        metavar="FILE",
        help="A Prometheus as the operator's configuration describes one: url, scrapeInterval, credentials as files.",
    ),
]
OperatorNamespace = Annotated[
    str, typer.Option("--operator-namespace", help="Namespace that the operator runs in, for its configuration.")
]
SYSTEM = "modelrelease-system"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person said about Prometheus."""

    url: str | None = None
    operator_namespace: str = SYSTEM
    file: Path | None = None

    def __post_init__(self) -> None:
        if self.url and self.file is not None:
            raise Problem("Give --prometheus or --provider, not both: the file has an address.", ExitCode.USAGE)


@asynccontextmanager
async def reached(connection: Connection, provider: str, wanted: Wanted) -> AsyncIterator[PrometheusMetrics]:
    """The provider that a release names. Raises Problem where it cannot be found or asked."""
    found = await operator_settings(connection, wanted.operator_namespace)
    settings = found if isinstance(found, Settings) else None
    async with _ways(connection, _described(found, provider, wanted), wanted) as described:
        metrics = PrometheusMetrics(
            Provider(
                name=provider,
                url=described.url,
                scrape_interval_seconds=described.scrape_interval,
                credentials=Credentials.of(described),
                sources=sources_of(settings),
                cluster_domain=settings.cluster_domain if settings is not None else "cluster.local",
                timeout_seconds=TIMEOUT_SECONDS,
            )
        )
        try:
            yield metrics
        finally:
            metrics.close()


@asynccontextmanager
async def _ways(connection: Connection, described: ProviderSettings, wanted: Wanted) -> AsyncIterator[ProviderSettings]:
    """The same with an address and files of this machine: a person's own, or the operator's by way of the API."""
    if wanted.url or wanted.file is not None:
        yield described
        return
    service = _service_of(described.url)
    if service is None or not await _exists(connection.server, service):
        async with lent(connection.server, described, wanted.operator_namespace) as own:
            yield own
        return
    if described.shows_itself:
        raise Problem(
            f"Prometheus {described.url} asks for credentials, which do not pass the API server. Forward its port "
            f"(kubectl -n {service.namespace} port-forward service/{service.name} {service.port}), and describe it "
            "with yours in a file for --provider.",
            ExitCode.NO_METRICS,
        )
    async with forwarded(connection.server, service) as url:
        yield described.model_copy(update={"url": url, "ca_file": None})


async def operator_settings(connection: Connection, operator_namespace: str) -> Settings | Forbidden | None:
    """The operator's configuration, from its own namespace or from the one of the release; None where there is none,
    Forbidden where this person may not read it."""
    refused: Forbidden | None = None
    for namespace in dict.fromkeys((operator_namespace, connection.namespace)):
        path = f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}"
        try:
            found: dict[str, Any] = await connection.server.send(Call("GET", path, f"read {namespace}/{CONFIG_MAP}"))
        except NotFoundError:
            continue
        except Forbidden as error:
            refused = refused or error
            continue
        text = (found.get("data") or {}).get(CONFIG_FILE)
        if text:
            return read_settings(text, {"POD_NAMESPACE": namespace})
    return refused


def _described(found: Settings | Forbidden | None, name: str, wanted: Wanted) -> ProviderSettings:
    """What a person gave, else what the operator has. Raises Problem, InvalidSettings."""
    settings = found if isinstance(found, Settings) else None
    if wanted.file is not None:
        return read_provider(wanted.file)
    configured = settings.providers.get(name) if settings is not None else None
    if wanted.url:  # the operator's credentials are for the operator's address only
        described = provider_of({"url": wanted.url}, "--prometheus")
        scraped = {"scrape_interval": configured.scrape_interval} if configured is not None else {}
        return described.model_copy(update=scraped)
    if configured is None:
        where = f"ConfigMap {wanted.operator_namespace}/{CONFIG_MAP}"
        unread = "you may not read it" if isinstance(found, Forbidden) else "is not there"
        known = f"has: {', '.join(sorted(settings.providers))}" if settings is not None else unread
        raise Problem(
            f"It is not known where Prometheus {name!r} is: the operator's configuration ({where}) {known}. Give its "
            "address with --prometheus, or the operator's namespace with --operator-namespace.",
            ExitCode.FORBIDDEN if isinstance(found, Forbidden) else ExitCode.NO_METRICS,
        )
    return configured


def sources_of(settings: Settings | None) -> dict[str, SourceDefinition]:
    """What `analysis.source` may say."""
    own = settings.sources if settings is not None else {}
    return {
        "Istio": ISTIO,
        "Inference": INFERENCE,
        **{name: SourceDefinition(**one.model_dump()) for name, one in own.items()},
    }


@dataclass(frozen=True, slots=True)
class Service:
    """A Service that an address names."""

    scheme: str
    namespace: str
    name: str
    port: int
    base: str


def _service_of(url: str) -> Service | None:
    """The Service behind `http://name.namespace[.svc[.domain]]:port`; None for any other address."""
    parts = urlsplit(url)
    labels = (parts.hostname or "").split(".")
    if len(labels) < 2 or (len(labels) > 2 and labels[2] != "svc"):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Service(parts.scheme, labels[1], labels[0], port, parts.path.rstrip("/"))


async def _exists(server: ApiServer, service: Service) -> bool:
    path = f"/api/v1/namespaces/{service.namespace}/services/{service.name}"
    try:
        await server.send(Call("GET", path, f"read service {service.namespace}/{service.name}"))
    except NotFoundError:
        return False
    except Forbidden:
        return True  # whether it may be asked through the API server is another permission
    return True


@asynccontextmanager
async def forwarded(server: ApiServer, service: Service) -> AsyncIterator[str]:
    """An address on this machine that leads through the API server to a Service, for as long as the block lasts.

    As `kubectl port-forward` does it, but by the API server's service proxy, so that one login does for both. A word
    that nobody can guess is part of the address, since other users of this machine can reach its ports.
    """
    secret = secrets.token_urlsafe(16)
    prefix = f"/api/v1/namespaces/{service.namespace}/services/{service.scheme}:{service.name}:{service.port}/proxy"
    refused: list[ReleaseError] = []

    async def ask(request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        doing = f"ask Prometheus through service {service.namespace}/{service.name}"
        path = f"{prefix}{service.base}/{request.match_info['path']}"
        try:
            return web.json_response(await server.send(Call("GET", path, doing, form)))
        except NotFoundError:
            return _refusal(f"{doing}: there is none")
        except ReleaseError as error:
            if isinstance(error, Forbidden):
                refused.append(error)
            return _refusal(str(error))

    application = web.Application()
    application.router.add_post(f"/{secret}/{{path:.*}}", ask)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/{secret}"
    except MetricsUnavailable as error:
        raise (refused or [error])[0] from error  # it was the API server that said no, not Prometheus
    finally:
        await runner.cleanup()


def _refusal(sentence: str) -> web.Response:
    return web.json_response({"status": "error", "error": sentence}, status=503)
