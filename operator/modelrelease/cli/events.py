"""The operator's Events about one release, oldest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from pydantic import Field

from modelrelease.api.model import Model
from modelrelease.api.status import Time
from modelrelease.cli.releases import Release
from modelrelease.ports import Cluster, Kind, Manifest
from modelrelease.rollout.labels import REVISION


class Told(Model):
    """One sentence that the operator said."""

    at: Time = Field(description="When it was said, the last time.")
    first_at: Time = Field(description="When it was said for the first time.")
    reason: str = Field(description="What about, in one CamelCase word.")
    message: str = Field(description="The sentence.")
    warning: bool = Field(description="Whether it needs attention.")
    count: int = Field(description="How often it was said, one time after the other.")
    revision: str = Field(description="Which release it is about; empty where it is about none, or is not told.")


async def events_of(cluster: Cluster, release: Release) -> list[Told]:
    """All that the API server still has; it forgets Events after an hour unless told otherwise."""
    found = await cluster.list(Kind.EVENT, release.namespace)
    told = [_told(event) for event in found if _is_about(event, release)]
    return sorted(told, key=lambda event: (event.at, event.first_at))


def _is_about(event: Manifest, release: Release) -> bool:
    involved = cast(dict[str, Any], event).get("involvedObject") or {}
    return bool(involved.get("kind") == "ModelRelease" and involved.get("uid") == release.uid)


def _told(event: Manifest) -> Told:
    body = cast(dict[str, Any], event)
    created = body["metadata"].get("creationTimestamp")
    last = body.get("lastTimestamp") or body.get("eventTime") or created
    first = body.get("firstTimestamp") or body.get("eventTime") or created
    return Told(
        at=_seconds(last),
        first_at=_seconds(first),
        reason=body.get("reason", ""),
        message=body.get("message", ""),
        warning=body.get("type") == "Warning",
        count=body.get("count") or 1,
        revision=(body["metadata"].get("labels") or {}).get(REVISION, ""),
    )


def _seconds(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
