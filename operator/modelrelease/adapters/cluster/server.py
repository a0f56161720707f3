"""One method that sends JSON to the API server, always with a timeout, and one way to log in."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from pydantic import JsonValue

from modelrelease.adapters.cluster.contexts import UNREADABLE, impersonation, is_in_cluster, no_cluster
from modelrelease.adapters.cluster.refusals import translated
from modelrelease.errors import Retryable, Unauthorized
from modelrelease.telemetry import API_REQUESTS, API_SECONDS

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `doing` names it in error messages; it takes at most `seconds`, and the connection's own limit."""

    method: str
    path: str
    doing: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, JsonValue] | None = None
    content_type: str = "application/json"
    seconds: float = math.inf


class NotFoundError(Exception):
    """404, for the caller to interpret: no such object, or no such kind."""


Login = Callable[[], Awaitable[client.ApiClient]]


class ApiServer:
    """A connection to one API server.

    The library reloads the service account's token when it is due. What a kubeconfig gives, such as a token of an exec
    plugin, is asked for again when the API server does not know it any more.
    """

    def __init__(
        self,
        api: client.ApiClient,
        *,
        timeout_seconds: float = 10.0,
        wall: Callable[[], float] = time.time,
        who: str = "The operator",
        login: Login | None = None,
    ) -> None:
        """who: begins sentences about a missing permission. login: gives another client once `api` is not known."""
        self._api = api
        self._login = login
        self._renewing = asyncio.Lock()
        self._who = who
        self._timeout_seconds = timeout_seconds
        self._wall = wall

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: Path | None = None,
        context: str | None = None,
        timeout_seconds: float = 10.0,
        who: str = "The operator",
    ) -> ApiServer:
        """Log in with `kubeconfig`, else with the pod's service account, else with the user's own kubeconfig.

        Who the kubeconfig says to act `as` is who acts, as with kubectl.

        Raises Terminal("NoCluster") when none of them can be read.
        """
        if is_in_cluster(kubeconfig, context):
            return cls(_in_pod(), timeout_seconds=timeout_seconds, who=who)

        async def login() -> client.ApiClient:
            return await _by_kubeconfig(kubeconfig, context, timeout_seconds)

        return cls(await login(), timeout_seconds=timeout_seconds, who=who, login=login)

    @property
    def address(self) -> str:
        return str(self._api.configuration.host)

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def send(self, call: Call) -> dict[str, JsonValue]:
        """The JSON object that the API server answers.

        Raises NotFoundError for 404, else what `translated` makes of a refusal; Retryable when no answer came, in which
        case nobody knows whether a write was applied: read again. Terminal("NoCluster") where a login that has run out
        cannot be renewed.
        """
        known_as = self._api
        try:
            return await self._send(call)
        except Unauthorized:
            if self._login is None:
                raise
            await self._renew(known_as, self._login)
        return await self._send(call)

    async def _renew(self, known_as: client.ApiClient, login: Login) -> None:
        """Log in anew, once for all requests that were refused with the same login."""
        async with self._renewing:
            if self._api is known_as:
                self._api = await login()
                await known_as.close()  # type: ignore[no-untyped-call]

    async def _send(self, call: Call) -> dict[str, JsonValue]:
        seconds = min(self._timeout_seconds, call.seconds)
        try:
            async with asyncio.timeout(seconds):
                status, text = await self._exchange(call, seconds)
        except ApiException as error:
            if error.status == 404:
                raise NotFoundError(str(error.body or error.reason)) from error
            raise translated(error, call.doing, self._wall(), self._who) from error
        except TimeoutError as error:
            raise Retryable(f"Could not {call.doing}: no answer from the API server within {seconds:.3g} s.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Retryable(f"Could not {call.doing}: {type(error).__name__}: {error}") from error
        return _json_object(text, call, status)

    async def _exchange(self, call: Call, seconds: float) -> tuple[int, str]:
        """Of a write the API server is told when to give up, too (`timeout` of its request handling), so that it does
        not apply later what nobody waits for any more."""
        limit = [] if call.method == "GET" else [("timeout", f"{seconds:.3f}s")]
        prepared = await self._api.param_serialize(
            call.method,
            call.path,
            query_params=[*call.query.items(), *limit],
            header_params={"Accept": "application/json", "Content-Type": call.content_type},
            body=call.body,
            auth_settings=["BearerToken"],
        )
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS)
        started, code = time.monotonic(), "none"
        try:
            response = await self._api.call_api(*prepared, _request_timeout=limits)
            raw: bytes = await response.read()  # type: ignore[no-untyped-call]
            code = str(response.status)
        finally:
            API_SECONDS.labels(verb=call.method).observe(time.monotonic() - started)
            API_REQUESTS.labels(verb=call.method, resource=_resource(call.path), code=code).inc()
        if not 200 <= response.status <= 299:
            raise ApiException(http_resp=response)
        return int(response.status), raw.decode("utf-8")


def _session(**more: object) -> dict[str, object]:
    """Keyword arguments of aiohttp's session."""
    return {"trust_env": False, **more}


def _settings() -> client.Configuration:
    settings = client.Configuration()
    settings.client_session_kwargs = _session()
    return settings


def _in_pod() -> client.ApiClient:
    """As the pod's service account."""
    settings = _settings()
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except UNREADABLE as error:
        raise no_cluster(error) from error
    return client.ApiClient(configuration=settings)


async def _by_kubeconfig(kubeconfig: Path | None, context: str | None, timeout_seconds: float) -> client.ApiClient:
    """As the user of a kubeconfig."""
    settings = _settings()
    try:
        loading = config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=None if kubeconfig is None else str(kubeconfig),
            context=context,
            client_configuration=settings,
            persist_config=False,
        )
        loader = await asyncio.wait_for(loading, timeout_seconds)
        settings.client_session_kwargs = _session(headers=impersonation(loader))
    except (TimeoutError, *UNREADABLE) as error:
        raise no_cluster(error) from error
    return client.ApiClient(configuration=settings)


def _resource(path: str) -> str:
    """The plural that a path is about, as `modelreleases` or `modelreleases/status`: never a name."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    return "/".join(parts[:1] + parts[2:]) or "other"


def _json_object(text: str, call: Call, status: int) -> dict[str, JsonValue]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Retryable(f"Could not {call.doing}: HTTP {status} without a JSON object; is this an API server?")
    return answer
