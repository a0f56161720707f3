"""All that runs, side by side; the end of any part is the end of the process, which Kubernetes starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import structlog

from modelrelease.controller.analyst import Analyst
from modelrelease.controller.queue import Queue
from modelrelease.controller.work import Workers
from modelrelease.errors import ReleaseError
from modelrelease.ports import Clock, Cluster, Key, Kind, Lease, Source
from modelrelease.telemetry import LEADER

WORKERS = 16
MISSED_EVENT_SECONDS = 60.0
"""A version that LIST shows must have come as an event by then, else the watch is dead."""

_log = structlog.get_logger(__name__)


class WatchIsDeadError(ReleaseError):
    """LIST shows changes that never came as events; only a restart helps."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is supervised."""

    cluster: Cluster
    source: Source
    lease: Lease
    clock: Clock
    queue: Queue
    analyst: Analyst
    workers: Workers
    providers: tuple[str, ...]
    resync_seconds: float


class Supervisor:
    """Runs the parts until one of them ends."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._versions: dict[Key, str] = {}
        self._missed: dict[Key, tuple[str | None, float]] = {}

    async def run(self) -> None:
        """Raises what ended the first part to end; the others are cancelled and waited for."""
        parts = self._parts
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lead(), name="lease")
            group.create_task(self._listen(), name="source")
            group.create_task(self._resync(), name="resync")
            for provider in parts.providers:
                group.create_task(parts.analyst.run(provider), name=f"analyst-{provider}")
            for number in range(WORKERS):
                group.create_task(parts.workers.run(), name=f"worker-{number}")

    async def _lead(self) -> None:
        await self._parts.lease.run(self._leadership_changed)
        raise ReleaseError("the lease is not competed for any more")

    def _leadership_changed(self, held: bool) -> None:
        LEADER.set(1 if held else 0)
        _log.info("leadership", held=held)
        if held:
            self._add_all(self._versions)

    def _add_all(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._parts.queue.add(key)

    async def _listen(self) -> None:
        async for change in self._parts.source.changes():
            if change.resource_version is not None:
                self._versions[change.key] = change.resource_version
            self._parts.queue.add(change.key)
        raise ReleaseError("the source of changes ended")

    async def _resync(self) -> None:
        """LIST now and then: what a watch has missed is looked at all the same."""
        interval = min(self._parts.resync_seconds, MISSED_EVENT_SECONDS)
        while True:
            await asyncio.sleep(interval)
            arrived = dict(self._versions)
            try:
                listed = await self._parts.cluster.list(Kind.MODEL_RELEASE, None)
            except ReleaseError as error:
                _log.warning("resync failed", error=str(error))
                continue
            self._compare({_key(one): _version(one) for one in listed}, arrived)

    def _compare(self, listed: dict[Key, str], arrived: dict[Key, str]) -> None:
        """Look again at what LIST and events disagree on; a key for which they disagree all the time, while no event
        comes at all, means that the watch is dead.

        listed: versions by LIST. arrived: versions of the last events before LIST began, so that what appeared while
        it ran does not look as if it had gone.
        """
        now = self._parts.clock.monotonic()
        for key, version in listed.items():
            last = self._versions.get(key)
            if last == version:
                self._missed.pop(key, None)
                continue
            self._parts.queue.add(key)
            noted, since = self._missed.get(key, (last, now))
            if noted != last:
                since = now  # events do come: versions are opaque, but this is another one than before
            self._missed[key] = (last, since)
            if now - since >= MISSED_EVENT_SECONDS:
                raise WatchIsDeadError(f"{key} changed {now - since:.0f} s ago or more, and no event came")
        for gone in arrived.keys() - listed.keys():
            self._parts.queue.add(gone)
            self._missed.pop(gone, None)
            if self._versions.get(gone) == arrived[gone]:
                del self._versions[gone]


def _key(manifest: dict[str, Any]) -> Key:
    metadata = cast(dict[str, Any], manifest["metadata"])
    return Key(metadata["namespace"], metadata["name"])


def _version(manifest: dict[str, Any]) -> str:
    return str(cast(dict[str, Any], manifest["metadata"])["resourceVersion"])
