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
from modelrelease.rollout.labels import REVISION
from modelrelease.telemetry import EVENTS

_TIMEOUT_SECONDS = 2.0
_REMEMBERED = 4096
_MESSAGE_CHARACTERS = 1024
"""Longest note that the API server accepts (events.k8s.io/v1 validation); kubectl shows the same."""
_NAME_CHARACTERS = 253
_COMPONENT = "modelrelease-operator"
_OWN_EVENTS = 20
"""Of one sentence in one release; more come from something that flaps, and are counted in the last of them."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Posted:
    """name: of the last Event with this sentence. count: in it. events: with this sentence, in all."""

    name: str
    count: int
    events: int


class EventAnnouncer:
    """Implements `ports.Announcer`.

    Each decision is an Event of its own, labelled with its revision, so that a release can be told in order. Only a
    sentence that follows itself counts up. What was said is remembered in memory only: after a restart the worst case
    is one more Event.
    """

    def __init__(self, cluster: Cluster, clock: Clock, *, instance: str = _COMPONENT) -> None:
        self._cluster = cluster
        self._clock = clock
        self._instance = instance
        self._posted: OrderedDict[tuple[str, ...], _Posted] = OrderedDict()
        self._last: OrderedDict[str, tuple[str, ...]] = OrderedDict()
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
        status = release.get("status") or {}
        which = (str(status.get("revision", "")), str(status.get("startedAt", "")))
        said = (metadata["uid"], *which, announcement.reason, announcement.message)
        known = self._posted.get(said)
        is_counted = known is not None and (self._last.get(metadata["uid"]) == said or known.events >= _OWN_EVENTS)
        if known is None or not is_counted or not await self._repeat(metadata["namespace"], known):
            event = self._event(release, announcement)
            await self._cluster.create(Kind.EVENT, cast(Manifest, event))
            known = _Posted(event["metadata"]["name"], 1, known.events + 1 if known else 1)
        self._posted[said], self._last[metadata["uid"]] = known, said
        self._posted.move_to_end(said)
        self._last.move_to_end(metadata["uid"])
        _limit(self._posted)
        _limit(self._last)

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
        revision = (release.get("status") or {}).get("revision")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "namespace": metadata["namespace"],
                "name": metadata["name"][: _NAME_CHARACTERS - len(suffix)] + suffix,
                "labels": {REVISION: revision} if revision else {},
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


def _limit(remembered: OrderedDict[Any, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        remembered.popitem(last=False)


def _type(announcement: Announcement) -> str:
    return "Warning" if announcement.warning else "Normal"


def _shortened(message: str) -> str:
    return message if len(message) <= _MESSAGE_CHARACTERS else message[: _MESSAGE_CHARACTERS - 1] + "…"
