"""Watching by kopf: the only module that knows it.

kopf lists and watches, survives expired and dropped watches, and calls `on.event` for each object; it does nothing
else here. All that makes it write is off: no handlers with state, no finalizers, no peering, no posted Events. It runs
in a thread with a loop of its own, because it takes whatever tasks its loop has for its own and cancels them in the
end. That end, for whatever reason, ends `changes`: an operator that no longer sees changes must be restarted.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kopf
from kopf._core.engines.peering import Identity
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from modelrelease.api.model import GROUP, PLURAL, VERSION
from modelrelease.errors import ReleaseError
from modelrelease.ports import Change, Key
from modelrelease.rollout.labels import RELEASE

_REQUEST_SECONDS = 60.0
_CONNECT_SECONDS = 10.0
_SERVED_PAUSE_SECONDS = 2.0
_LOGIN_PAUSES_SECONDS = (1.0, 4.0)
_STOP_SECONDS = 15.0
_FOREIGN_FINALIZER = f"{GROUP}/never-on-any-object"
"""kopf takes the finalizer it is configured with off any object that it sees without needing it. Its default is the one
of every other kopf operator, whose Deployments must keep theirs."""


class SourceEndedError(ReleaseError):
    """kopf ended, which it never does by itself while all is well."""


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What is watched, and with which login.

    namespaces: only these; empty: all.
    kubeconfig, context: None: the pod's service account, or the user's own kubeconfig outside of a cluster.
    watch_seconds: how long the API server keeps one watch open; whole seconds, or it would refuse the request.
    login_lifetime: older credentials are read anew when a watch is opened; much shorter than a mounted token lives.
    """

    namespaces: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    context: str | None = None
    watch_seconds: int = 300
    login_lifetime: timedelta = timedelta(minutes=10)


class _Arrivals:
    """What kopf's thread has seen and the main loop has not taken yet: each key once, so that however busy the main
    loop is, and however many events come, memory is bounded by the number of releases."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._changes: dict[Key, Change] = {}
        self._end: SourceEndedError | None = None
        self._news = asyncio.Event()

    def put(self, arrival: Change | SourceEndedError) -> None:
        """From kopf's thread."""
        with self._lock:
            is_first = not self._changes and self._end is None
            if isinstance(arrival, SourceEndedError):
                self._end = arrival
            else:
                earlier = self._changes.get(arrival.key)
                known = earlier.resource_version if earlier is not None else None
                self._changes[arrival.key] = Change(arrival.key, arrival.resource_version or known)
        if is_first:
            with contextlib.suppress(RuntimeError):  # the main loop is closed: the process is about to end
                self._loop.call_soon_threadsafe(self._news.set)

    async def take(self) -> list[Change]:
        """All that came; raises what ended the source once the rest was taken."""
        await self._news.wait()
        with self._lock:
            changes, self._changes = list(self._changes.values()), {}
            if not changes and self._end is not None:
                raise self._end
            if self._end is None:
                self._news.clear()
        return changes


class KopfSource:
    """Implements `ports.Source`. Start by iterating over `changes`; it ends by raising SourceEndedError."""

    def __init__(self, settings: SourceSettings | None = None) -> None:
        self._settings = settings or SourceSettings()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._stop_kopf: Callable[[], object] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether kopf has started to watch."""
        return self._ready.is_set()

    async def changes(self) -> AsyncIterator[Change]:
        """Each change of a release, or of a Deployment that belongs to one, in the order of arrival."""
        arrivals = _Arrivals(asyncio.get_running_loop())
        self._thread = threading.Thread(target=self._run, args=(arrivals.put,), name="kopf", daemon=True)
        self._thread.start()
        try:
            while True:
                for change in await arrivals.take():
                    yield change
        finally:
            self.stop()

    def stop(self) -> None:
        """Tell kopf to end; it takes a moment."""
        self._is_stopping = True
        if self._stop_kopf is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended already
                self._stop_kopf()

    async def stopped(self) -> bool:
        """Stop, and wait until the thread has ended, at most 15 s; whether it has."""
        self.stop()
        if self._thread is None:
            return True
        await asyncio.to_thread(self._thread.join, _STOP_SECONDS)
        return not self._thread.is_alive()

    def _run(self, deliver: Callable[[Change | SourceEndedError], None]) -> None:
        """The thread: kopf until it ends. Whatever ended it is delivered, so it catches all there is."""
        try:
            asyncio.run(self._operate(deliver))
        except BaseException as error:  # noqa: BLE001 - a thread has nobody above it
            ended = SourceEndedError(f"kopf has ended with {type(error).__name__}: {error}")
            ended.__cause__ = error
        else:
            ended = SourceEndedError("kopf was told to stop." if self._is_stopping else "kopf stopped watching.")
        deliver(ended)

    async def _operate(self, deliver: Callable[[Change], None]) -> None:
        """kopf with a stop flag of its own loop; for another kind of flag it would keep a thread that never ends."""
        stop_flag = asyncio.Event()
        failures: list[Exception] = []
        self._stop_kopf = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, stop_flag.set)
        if self._is_stopping or not await _until_served(self._settings, stop_flag):
            return

        def give_up(error: Exception) -> None:
            failures.append(error)
            stop_flag.set()

        try:
            await kopf.operator(
                registry=_registry(self._settings, deliver, give_up),
                settings=_quiet_settings(self._settings.watch_seconds),
                standalone=True,
                clusterwide=not self._settings.namespaces,
                namespaces=self._settings.namespaces,
                identity=Identity("modelrelease-operator"),  # else it looks the user's name up; in a pod there is none
                stop_flag=stop_flag,
                ready_flag=self._ready,
            )
        finally:
            if failures:
                raise failures[0]


async def _until_served(settings: SourceSettings, stop_flag: asyncio.Event) -> bool:
    """Wait until the API server knows ModelReleases; False where `stop_flag` came first.

    kopf looks once, at its start, which kinds there are. Where the definition is applied together with the operator it
    would look too early and never watch.
    """
    while not await asyncio.to_thread(_is_served, settings):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop_flag.wait(), _SERVED_PAUSE_SECONDS)
        if stop_flag.is_set():
            return False
    return True


def _is_served(settings: SourceSettings) -> bool:
    with client.ApiClient(_configuration(settings)) as api:
        try:
            found = client.CustomObjectsApi(api).get_api_resources(GROUP, VERSION, _request_timeout=_CONNECT_SECONDS)
        except (ApiException, HTTPError):
            return False
    return any(resource.name == PLURAL for resource in found.resources)


class _Pauses:
    """Between attempts of a request, in seconds, without an end. kopf's own grow to ten minutes, after which it gives
    up and leaves the operator blind: a watcher that ended is not started again."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1.0, 2.0, 4.0), itertools.repeat(8.0))


def _quiet_settings(watch_seconds: int) -> kopf.OperatorSettings:
    """kopf as a mere watcher. `inactivity_timeout` (70 s) stays: it ends streams that died silently."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.error_backoffs = _Pauses()
    settings.networking.request_timeout = _REQUEST_SECONDS
    settings.networking.connect_timeout = _CONNECT_SECONDS
    settings.watching.server_timeout = watch_seconds
    settings.watching.label_selectors["apps", "v1", "deployments"] = RELEASE
    settings.persistence.finalizer = _FOREIGN_FINALIZER
    settings.process.ultimate_exiting_timeout = None
    return settings


def _registry(
    settings: SourceSettings, deliver: Callable[[Change], None], give_up: Callable[[Exception], None]
) -> kopf.OperatorRegistry:
    """Handlers of our own registry; kopf's default one is global to the process.

    A login that fails for good ends no part of kopf, which waits for another for ever; so it is handed to `give_up`.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        for pause in _LOGIN_PAUSES_SECONDS:
            with contextlib.suppress(ConfigException, OSError):
                return await asyncio.to_thread(_login, settings)
            await asyncio.sleep(pause)
        try:
            return await asyncio.to_thread(_login, settings)
        except (ConfigException, OSError) as error:
            give_up(error)
            raise kopf.PermanentError(str(error)) from error

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def release_changed(meta: Mapping[str, Any], **_: Any) -> None:
        deliver(Change(Key(meta["namespace"], meta["name"]), meta.get("resourceVersion")))

    @kopf.on.event("apps", "v1", "deployments", labels={RELEASE: kopf.PRESENT}, registry=registry)
    async def workload_changed(meta: Mapping[str, Any], **_: Any) -> None:
        name = _release_name(meta)
        if name:
            deliver(Change(Key(meta["namespace"], name), None))

    return registry


def _release_name(meta: Mapping[str, Any]) -> str:
    """The annotation holds the whole name; the label only what fits into 63 characters."""
    for holder in ("annotations", "labels"):
        name = (meta.get(holder) or {}).get(RELEASE)
        if isinstance(name, str) and name:
            return name
    return ""


def _login(settings: SourceSettings) -> kopf.ConnectionInfo:
    """Credentials in kopf's form. They expire early, so that a rotated token is read long before the old one ends;
    kopf ends its watches for that and takes them up where they were."""
    found = _configuration(settings)
    header = found.get_api_key_with_prefix("BearerToken") or found.get_api_key_with_prefix("authorization") or ""
    scheme, _, token = header.rpartition(" ")
    return kopf.ConnectionInfo(
        server=str(found.host),
        ca_path=found.ssl_ca_cert,
        insecure=not found.verify_ssl,
        username=found.username or None,
        password=found.password or None,
        scheme=scheme or None,
        token=token.strip() or None,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
        proxy_url=found.proxy,
        expiration=datetime.now(UTC) + settings.login_lifetime,
    )


def _configuration(settings: SourceSettings) -> client.Configuration:
    found = client.Configuration()
    if settings.kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
    else:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=None if settings.kubeconfig is None else str(settings.kubeconfig),
            context=settings.context,
            client_configuration=found,
            persist_config=False,
        )
    return found
