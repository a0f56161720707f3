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
        self._missed: dict[Key, tuple[str, float]] = {}
        self.is_listening = False

    async def run(self) -> None:
        """Raises what ended the first part to end; the others are cancelled and waited for."""
        parts = self._parts
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.lease.run(self._leadership_changed), name="lease")
            group.create_task(self._listen(), name="source")
            group.create_task(self._resync(), name="resync")
            for provider in parts.providers:
                group.create_task(parts.analyst.run(provider), name=f"analyst-{provider}")
            for number in range(WORKERS):
                group.create_task(parts.workers.run(), name=f"worker-{number}")

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
            self.is_listening = True
            if change.resource_version is not None:
                self._versions[change.key] = change.resource_version
            self._parts.queue.add(change.key)
        raise ReleaseError("the source of changes ended")

    async def _resync(self) -> None:
        """LIST now and then: what a watch has missed is looked at all the same."""
        interval = min(self._parts.resync_seconds, MISSED_EVENT_SECONDS)
        while True:
            await asyncio.sleep(interval)
            try:
                listed = await self._parts.cluster.list(Kind.MODEL_RELEASE, None)
            except ReleaseError as error:
                _log.warning("resync failed", error=str(error))
                continue
            self._compare({_key(one): _version(one) for one in listed})

    def _compare(self, listed: dict[Key, str]) -> None:
        now = self._parts.clock.monotonic()
        for key, version in listed.items():
            if self._versions.get(key) == version:
                self._missed.pop(key, None)
                continue
            since = self._missed.setdefault(key, (version, now))
            self._parts.queue.add(key)
            if since[0] == self._missed[key][0] and now - since[1] > MISSED_EVENT_SECONDS and not self._seen_since(key):
                raise WatchIsDeadError(f"{key} changed {now - since[1]:.0f} s ago, and no event came")
        for gone in self._versions.keys() - listed.keys():
            self._parts.queue.add(gone)
            del self._versions[gone]
            self._missed.pop(gone, None)

    def _seen_since(self, key: Key) -> bool:
        """Versions are opaque, but any newer event than the one that LIST showed first means that the watch lives."""
        noted = self._missed[key][0]
        return self._versions.get(key, "") == noted


def _key(manifest: dict[str, Any]) -> Key:
    metadata = cast(dict[str, Any], manifest["metadata"])
    return Key(metadata["namespace"], metadata["name"])


def _version(manifest: dict[str, Any]) -> str:
    return str(cast(dict[str, Any], manifest["metadata"])["resourceVersion"])
