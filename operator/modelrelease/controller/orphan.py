"""A ModelRelease that vanished without its finalizer being honoured: put back what its release has changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import structlog

from modelrelease.api.status import HeldAutoscaler, ReleaseStatus
from modelrelease.errors import Terminal
from modelrelease.ports import Cluster, Key, Kind, Manifest, Traffic
from modelrelease.rollout.canary import stamped_reference
from modelrelease.rollout.labels import RELEASE, canary_name, release_label
from modelrelease.rollout.retreat import GONE
from modelrelease.rollout.seen import RouteReference, RouteSeen
from modelrelease.rollout.stamps import Before, stamped_autoscaler, stamped_before, taken_back

DRAIN_SECONDS = 30.0
"""The default drain delay: what the vanished resource asked for is not known any more."""

ROLL_SECONDS = 2.0
"""How soon it is looked again whether stable runs its old version."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """A release under way as it was last seen."""

    reference: RouteReference
    canary: str
    """Name of its Deployment."""
    held: HeldAutoscaler | None


class Orphans:
    """Cleans up by what is stamped on the canary's Deployment.

    Where that was deleted, too, nothing in the cluster tells what there is to put back. What this process has seen of
    releases under way is a help then, and no more: after a restart such a route is left as it is until the
    ModelRelease is applied again (`rollout.rest`).
    """

    def __init__(self, cluster: Cluster, traffic: Traffic, drain_seconds: float = DRAIN_SECONDS) -> None:
        self._cluster = cluster
        self._traffic = traffic
        self._drain_seconds = drain_seconds
        self._known: dict[Key, _Known] = {}

    def remember(self, key: Key, reference: RouteReference, deployment: str, status: ReleaseStatus) -> None:
        """Note what a release under way would leave behind; one at rest leaves nothing."""
        if status.phase.is_at_rest:
            self._known.pop(key, None)
        else:
            self._known[key] = _Known(reference, canary_name(deployment), status.held_autoscaler)

    async def clean_up(self, key: Key) -> float | None:
        """Stable first where it was being replaced, then traffic, then the Deployment; can be repeated after a crash at
        any point. Returns after how many seconds to go on, None when nothing is left."""
        again: float | None = None
        is_stamped = False
        for manifest in await self._cluster.list(Kind.DEPLOYMENT, key.namespace, {RELEASE: release_label(key.name)}):
            metadata = cast(dict[str, Any], manifest)["metadata"]
            if (metadata.get("annotations") or {}).get(RELEASE) != key.name:
                continue
            is_stamped = True
            _log.warning("canary without a ModelRelease", release=str(key), deployment=metadata["name"])
            reference = stamped_reference(manifest)
            if reference is None:
                _log.error("canary without the stamp of its route is left alone", deployment=metadata["name"])
            elif not await self._take_back(key, manifest, reference):
                again = ROLL_SECONDS
        if not is_stamped and key in self._known:
            await self._put_back(key, self._known[key])
        if again is None:
            self._known.pop(key, None)
        return again

    async def _put_back(self, key: Key, known: _Known) -> None:
        """The canary is gone as well. Where there is one by its name, it is another release's, and so is the route."""
        if await self._cluster.get(Kind.DEPLOYMENT, key.namespace, known.canary) is not None:
            return
        _log.warning("release without a ModelRelease and a canary", release=str(key))
        route = await self._route(key, known.reference)
        if route is not None:
            await self._take_traffic(key, known.reference, route)
        await self._let_autoscaler_go(key, known.held)

    async def _take_back(self, key: Key, canary: Manifest, reference: RouteReference) -> bool:
        """Whether the canary is gone; else stable is not ready to take its traffic yet."""
        route = await self._route(key, reference)
        before = stamped_before(canary)
        has_traffic = route is not None and route.weight_percent > 0
        if before is not None and has_traffic and not await self._stable_is_back(key, canary, before):
            return False
        if route is not None:
            await self._take_traffic(key, reference, route)
        await self._let_autoscaler_go(key, stamped_autoscaler(canary))
        metadata = cast(dict[str, Any], canary)["metadata"]
        await self._cluster.delete(Kind.DEPLOYMENT, key.namespace, metadata["name"], uid=metadata["uid"])
        return True

    async def _route(self, key: Key, reference: RouteReference) -> RouteSeen | None:
        """Raises Terminal where the route is there but cannot be read: it may still send traffic to the canary."""
        try:
            return await self._traffic.read(key.namespace, reference)
        except Terminal as problem:
            if problem.reason not in GONE:
                raise
            _log.warning("route of an orphaned canary is gone", release=str(key), reason=problem.reason)
            return None

    async def _stable_is_back(self, key: Key, canary: Manifest, before: Before) -> bool:
        """Give stable what it had before its promotion, which was cut short; True once it serves, or where there is
        nothing better to wait for. With traffic back on stable the promotion is through and stands."""
        stable = await self._cluster.get(Kind.DEPLOYMENT, key.namespace, before.deployment)
        if stable is None:
            return True
        wanted = taken_back(stable, canary, before)
        if wanted is not None:
            await self._cluster.replace(Kind.DEPLOYMENT, wanted)
            return False
        return _available(stable) > 0 or not _available(canary)

    async def _take_traffic(self, key: Key, reference: RouteReference, seen: RouteSeen) -> None:
        if not seen.has_canary:
            return
        if seen.weight_percent > 0:
            seen = await self._traffic.set_weight(key.namespace, reference, seen, 0)
            await asyncio.sleep(self._drain_seconds)
            seen = await self._traffic.read(key.namespace, reference)
        await self._traffic.restore(key.namespace, reference, seen)

    async def _let_autoscaler_go(self, key: Key, held: HeldAutoscaler | None) -> None:
        """Put the minimum of stable's autoscaler back, unless somebody has set another one since."""
        if held is None or held.min_replicas == held.held_at:
            return
        for manifest in await self._cluster.list(Kind.AUTOSCALER, key.namespace):
            body = cast(dict[str, Any], manifest)
            if body["metadata"]["name"] == held.name and _minimum(body) == held.held_at:
                patch: Manifest = {"spec": {"minReplicas": held.min_replicas}}
                await self._cluster.patch(Kind.AUTOSCALER, key.namespace, held.name, patch)


def _minimum(autoscaler: dict[str, Any]) -> int:
    return int(autoscaler["spec"].get("minReplicas", 1))


def _available(deployment: Manifest) -> int:
    """Available pods of the newest template that its controller has seen; 0 before it has seen the last."""
    body = cast(dict[str, Any], deployment)
    status = body.get("status") or {}
    if status.get("observedGeneration", 0) < body["metadata"].get("generation", 0):
        return 0
    return int(status.get("availableReplicas", 0))
