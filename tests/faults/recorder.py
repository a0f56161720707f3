"""Every revision of every object, in the order in which the API server stored them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import time

import aiohttp

from faults.kube import Json, Kube, path_of
from modelrelease.ports import Kind

KINDS = (Kind.DEPLOYMENT, Kind.SERVICE, Kind.VIRTUAL_SERVICE, Kind.DESTINATION_RULE, Kind.MODEL_RELEASE, Kind.LEASE)


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of one object.

    number: etcd's revision, the same count for all kinds.
    is_foreign: made by the world, not by the operator.
    at: unix seconds at which the recorder saw it.
    """

    number: int
    kind: Kind
    manifest: Json
    is_deletion: bool
    is_foreign: bool
    at: float

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


@dataclass
class Recorder:
    """Watches from outside of the proxies."""

    kube: Kube
    _revisions: dict[str, list[Revision]] = field(default_factory=lambda: defaultdict(list))
    _latest: dict[tuple[str, Kind, str], Json] = field(default_factory=dict)
    _listeners: dict[str, Callable[[Revision], None]] = field(default_factory=dict)

    def revisions(self, namespace: str) -> list[Revision]:
        """Those of one namespace; who made them is known only once the maker's answer has come, hence now."""
        found = (replace(one, is_foreign=self._is_foreign(one)) for one in self._revisions[namespace])
        return sorted(found, key=lambda one: one.number)

    def _is_foreign(self, one: Revision) -> bool:
        if one.is_deletion:
            return one.manifest["metadata"]["uid"] in self.kube.own_deletions
        return one.number in self.kube.own_versions

    def latest(self, namespace: str, kind: Kind, name: str) -> Json | None:
        return self._latest.get((namespace, kind, name))

    def all(self, namespace: str, kind: Kind) -> list[Json]:
        return [found for (where, one, _), found in self._latest.items() if where == namespace and one is kind]

    def listen(self, namespace: str, listener: Callable[[Revision], None]) -> None:
        self._listeners[namespace] = listener

    def trim(self, namespace: str) -> None:
        """Keep the last revision of each object only; what came before was checked."""
        last = {(one.kind, one.name): one for one in self._revisions[namespace]}
        self._revisions[namespace] = sorted(last.values(), key=lambda one: one.number)

    def forget(self, namespace: str) -> None:
        """The namespace's story is over."""
        self._listeners.pop(namespace, None)
        self._revisions.pop(namespace, None)
        self._latest = {place: found for place, found in self._latest.items() if place[0] != namespace}

    async def follow(self, kind: Kind) -> None:
        """For ever; a watch that ends goes on where it was."""
        version = str((await self.kube.send("GET", path_of(kind)))["metadata"]["resourceVersion"])
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async for how, manifest in self.kube.watch(kind, version):
                    version = manifest["metadata"]["resourceVersion"]
                    self._note(kind, how, manifest)
            await asyncio.sleep(0.2)

    def _note(self, kind: Kind, how: str, manifest: Json) -> None:
        metadata = manifest["metadata"]
        namespace, place = metadata["namespace"], (metadata["namespace"], kind, metadata["name"])
        revision = Revision(int(metadata["resourceVersion"]), kind, manifest, how == "DELETED", False, time())
        if how == "DELETED":
            self._latest.pop(place, None)
        else:
            self._latest[place] = manifest
        self._revisions[namespace].append(revision)
        listener = self._listeners.get(namespace)
        if listener is not None:
            listener(revision)


@asynccontextmanager
async def recording(kube: Kube) -> AsyncIterator[Recorder]:
    """A recorder that watches all KINDS while the block runs."""
    recorder = Recorder(kube)
    tasks = [asyncio.create_task(recorder.follow(kind)) for kind in KINDS]
    try:
        await asyncio.sleep(0.5)
        yield recorder
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
