"""A ModelRelease that vanished without its finalizer being honoured: give stable its traffic, remove the canary."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import structlog

from modelrelease.errors import Terminal
from modelrelease.ports import Cluster, Key, Kind, Traffic
from modelrelease.rollout.canary import stamped_reference
from modelrelease.rollout.labels import RELEASE, release_label
from modelrelease.rollout.retreat import GONE
from modelrelease.rollout.seen import RouteReference

DRAIN_SECONDS = 30.0
"""The default drain delay: what the vanished resource asked for is not known any more."""

_log = structlog.get_logger(__name__)


class Orphans:
    """Cleans up by what is stamped on the canary's Deployment."""

    def __init__(self, cluster: Cluster, traffic: Traffic, drain_seconds: float = DRAIN_SECONDS) -> None:
        self._cluster = cluster
        self._traffic = traffic
        self._drain_seconds = drain_seconds

    async def clean_up(self, key: Key) -> None:
        """Traffic first, then the Deployment; can be repeated after a crash at any point."""
        found = await self._cluster.list(Kind.DEPLOYMENT, key.namespace, {RELEASE: release_label(key.name)})
        for manifest in found:
            metadata = cast(dict[str, Any], manifest)["metadata"]
            annotations = metadata.get("annotations") or {}
            if annotations.get(RELEASE) != key.name:
                continue
            _log.warning("canary without a ModelRelease", release=str(key), deployment=metadata["name"])
            reference = stamped_reference(manifest)
            if reference is None:
                _log.error("canary without the stamp of its route is left alone", deployment=metadata["name"])
                continue
            await self._take_traffic(key, reference)
            await self._cluster.delete(Kind.DEPLOYMENT, key.namespace, metadata["name"], uid=metadata["uid"])

    async def _take_traffic(self, key: Key, reference: RouteReference) -> None:
        """Raises Terminal where the route is there but cannot be read: it may still send traffic to the canary."""
        try:
            seen = await self._traffic.read(key.namespace, reference)
        except Terminal as problem:
            if problem.reason not in GONE:
                raise
            _log.warning("route of an orphaned canary is gone", release=str(key), reason=problem.reason)
            return
        if not seen.has_canary:
            return
        if seen.weight_percent > 0:
            seen = await self._traffic.set_weight(key.namespace, reference, seen, 0)
            await asyncio.sleep(self._drain_seconds)
            seen = await self._traffic.read(key.namespace, reference)
        await self._traffic.restore(key.namespace, reference, seen)
