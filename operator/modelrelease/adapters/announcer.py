"""Kubernetes Events about releases."""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import structlog

from modelrelease.errors import ReleaseError
from modelrelease.ports import Announcement, Clock, Cluster, Kind, Manifest
from modelrelease.telemetry import EVENTS

_TIMEOUT_SECONDS = 2.0
_REMEMBERED = 4096
_MESSAGE_CHARACTERS = 1024
"""Longest note that the API server accepts (events.k8s.io/v1 validation); kubectl shows the same."""
_NAME_CHARACTERS = 253
_COMPONENT = "modelrelease-operator"

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Posted:
    name: str
    count: int


class EventAnnouncer:
    """Implements `ports.Announcer`.

    A sentence that was said before is not said again as a new object; its count goes up. What was said is remembered
    in memory only: after a restart the worst case is one more Event.
    """

    def __init__(self, cluster: Cluster, clock: Clock, *, instance: str = _COMPONENT) -> None:
        self._cluster = cluster
        self._clock = clock
        self._instance = instance
        self._posted: OrderedDict[tuple[str, str, str], _Posted] = OrderedDict()
        self._failing = False

    async def announce(self, release: Manifest, announcement: Announcement) -> None:
        EVENTS.labels(type=_type(announcement), reason=announcement.reason).inc()
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._post(cast(dict[str, Any], release), announcement)
        except (ReleaseError, TimeoutError, KeyError) as error:
            if not self._failing:
                _log.warning("events cannot be posted; the release goes on", error=str(error) or type(error).__name__)
            self._failing = True
        else:
            self._failing = False

    async def _post(self, release: dict[str, Any], announcement: Announcement) -> None:
        metadata = release["metadata"]
        said = (metadata["uid"], announcement.reason, announcement.message)
        known = self._posted.get(said)
        if known is not None and await self._repeat(metadata["namespace"], known):
            self._posted.move_to_end(said)
            return
        event = self._event(release, announcement)
        await self._cluster.create(Kind.EVENT, cast(Manifest, event))
        self._posted[said] = _Posted(event["metadata"]["name"], 1)
        if len(self._posted) > _REMEMBERED:
            self._posted.popitem(last=False)

    async def _repeat(self, namespace: str, known: _Posted) -> bool:
        """Count a sentence once more; False where its Event has expired meanwhile (they live for an hour)."""
        patch: Manifest = {"count": known.count + 1, "lastTimestamp": self._now()}
        try:
            await self._cluster.patch(Kind.EVENT, namespace, known.name, patch)
        except ReleaseError:
            return False
        known.count += 1
        return True

    def _event(self, release: dict[str, Any], announcement: Announcement) -> dict[str, Any]:
        metadata = release["metadata"]
        suffix = f".{uuid.uuid4().hex[:16]}"
        involved = {"apiVersion": release["apiVersion"], "kind": release["kind"]}
        involved |= {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion") if key in metadata}
        now = self._now()
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "namespace": metadata["namespace"],
                "name": metadata["name"][: _NAME_CHARACTERS - len(suffix)] + suffix,
            },
            "involvedObject": involved,
            "type": _type(announcement),
            "reason": announcement.reason,
            "message": _shortened(announcement.message),
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _type(announcement: Announcement) -> str:
    return "Warning" if announcement.warning else "Normal"


def _shortened(message: str) -> str:
    return message if len(message) <= _MESSAGE_CHARACTERS else message[: _MESSAGE_CHARACTERS - 1] + "…"
