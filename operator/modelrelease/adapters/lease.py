"""Leadership by a `Lease`: at most one operator writes.

The library's own elector lets two lead when a renewal hangs. Here validity is a question of this machine's monotonic
clock alone, counted from before the request of the last renewal was sent, whatever has become of renewals since:

    0 ........ renew deadline ........ duration - guard .. duration
    | writes may begin | writes that began end | nobody writes | others may take over

Others wait for the full duration, on their own clocks, after they saw the last renewal. So a write that began while the
lease was held is over before anybody else can lead, however slow the API server: its time-out is what is left. Wall
clocks are written for people and never compared.

A process that is frozen and wakes up finds the time passed: nothing begins, and what was under way runs into its
time-out before it gets to send. What it had sent before that is stopped by resourceVersion or uid.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from modelrelease.errors import ReleaseError
from modelrelease.ports import Clock, Cluster, Kind, Manifest

_RELEASED_SECONDS = 1
"""leaseDurationSeconds of a lease that was given up: the next one need not wait (as client-go does)."""


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """How long is what, in seconds.

    duration: how long others wait after the last renewal that they saw.
    margin: by so much the holder stops to begin anything before the others may take over.
    guard: of the margin, what no write of ours may reach into: clocks do not run at quite the same rate, and what was
        sent last needs a moment to arrive.
    retry: between two attempts to renew; a standby looks, and a renewal that failed is tried again, twice as often.
    """

    duration: float = 15.0
    margin: float = 5.0
    guard: float = 1.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not (0 < 2 * self.retry <= self.renew_deadline < self.duration and 0 <= self.guard < self.margin):
            raise ValueError(f"the parts of {self} do not fit into each other")

    @classmethod
    def of(cls, duration: float) -> LeaseTiming:
        """The usual parts of a lease of `duration` seconds."""
        return cls(duration, margin=duration / 3, guard=duration / 15, retry=duration / 7.5)

    @property
    def renew_deadline(self) -> float:
        """After so long without a renewal the holder begins no more writes."""
        return self.duration - self.margin

    @property
    def request_timeout(self) -> float:
        """A third of the renew deadline: a renewal that hangs leaves time for a second one."""
        return self.renew_deadline / 3


@dataclass(frozen=True, slots=True)
class LeaseIdentity:
    """Which object, and who we are: the pod's name and something that a restart changes."""

    namespace: str
    name: str
    holder: str


@dataclass(slots=True)
class _Observed:
    """The last state of the object that we saw, and when, monotonic."""

    version: str
    at: float


class ClusterLease:
    """Implements `ports.Lease` over a `ports.Cluster` that does not ask this lease before it writes."""

    def __init__(
        self, cluster: Cluster, clock: Clock, identity: LeaseIdentity, timing: LeaseTiming | None = None
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._identity = identity
        self._timing = timing or LeaseTiming()
        self._renewed_at = -math.inf
        self._observed: _Observed | None = None
        self._wakes_at = math.inf
        self._told = False

    def is_held(self) -> bool:
        return self._clock.monotonic() < self._renewed_at + self._timing.renew_deadline

    def write_seconds(self) -> float:
        if not self.is_held():
            return 0.0
        return self._renewed_at + self._timing.duration - self._timing.guard - self._clock.monotonic()

    async def run(self, on_change: Callable[[bool], None]) -> None:
        try:
            while True:
                renewed = await self.attempt()
                self._tell(on_change)
                await self._pause(on_change, self._timing.retry if renewed else self._timing.retry / 2)
        finally:
            was_ours = self.is_held()
            self._renewed_at = -math.inf
            self._tell(on_change)
            if was_ours:
                await asyncio.shield(self._release())

    async def attempt(self) -> bool:
        """Acquire or renew once; whether that was seen to succeed. Failures leave the validity as it was."""
        started = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timing.request_timeout):
                succeeded = await self._acquire_or_renew()
        except (ReleaseError, TimeoutError):
            return False
        if succeeded:
            self._renewed_at = started
        return succeeded

    async def _pause(self, on_change: Callable[[bool], None], seconds: float) -> None:
        """Wait for the next attempt, standbys not all at once; a lease that ends meanwhile, ours or the one that is
        waited for, is noticed at its end."""
        now = self._clock.monotonic()
        until = now + seconds * (1.0 if self._told else random.uniform(1.0, 1.2))  # noqa: S311
        if self._wakes_at > now:
            until = min(until, self._wakes_at)
        while (left := until - self._clock.monotonic()) > 0:
            ends_in = self._renewed_at + self._timing.renew_deadline - self._clock.monotonic()
            await asyncio.sleep(min(left, ends_in) if ends_in > 0 else left)
            self._tell(on_change)

    def _tell(self, on_change: Callable[[bool], None]) -> None:
        held = self.is_held()
        if held is not self._told:
            self._told = held
            on_change(held)

    async def _acquire_or_renew(self) -> bool:
        where = self._identity
        found = await self._cluster.get(Kind.LEASE, where.namespace, where.name)
        if found is None:
            if not self._may_create():
                return False
            await self._cluster.create(Kind.LEASE, self._written(None))
            return True
        if not self._may_take(cast(dict[str, Any], found)):
            self._renewed_at = -math.inf
            return False
        await self._cluster.replace(Kind.LEASE, self._written(cast(dict[str, Any], found)))
        return True

    def _may_create(self) -> bool:
        """Nothing is there: ours and deleted, or nobody whom we know of can still hold it.

        Deleting the object takes no lease from its holder, who goes on writing until it has to renew. Only who never
        saw a holder cannot know of one, and takes it at once: so it is when the operator was just installed.
        """
        if self.is_held():
            return True
        now = self._clock.monotonic()
        if self._renewed_at > -math.inf:
            # Ours ran out: somebody may have taken over, and renewed, since we looked last.
            self._renewed_at = -math.inf
            self._wakes_at = now + self._timing.duration
        return not now < self._wakes_at < math.inf

    def _may_take(self, found: dict[str, Any]) -> bool:
        """Ours, given up, or unchanged for as long as its holder asked for since we first saw it like this."""
        spec = found.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        self._wakes_at = math.inf
        if holder in ("", self._identity.holder):
            return True
        now = self._clock.monotonic()
        version = str(found["metadata"]["resourceVersion"])
        if self._observed is None or self._observed.version != version:
            self._observed = _Observed(version, now)
        self._wakes_at = self._observed.at + (spec.get("leaseDurationSeconds") or self._timing.duration)
        return bool(now >= self._wakes_at)

    def _written(self, found: dict[str, Any] | None) -> Manifest:
        """The object with us as its holder, under the resourceVersion that was read."""
        spec = dict((found or {}).get("spec") or {})
        now = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        is_ours = spec.get("holderIdentity") == self._identity.holder
        spec |= {
            "holderIdentity": self._identity.holder,
            "leaseDurationSeconds": math.ceil(self._timing.duration),
            "acquireTime": spec.get("acquireTime", now) if is_ours else now,
            "renewTime": now,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if is_ours or found is None else 1),
        }
        metadata = {"namespace": self._identity.namespace, "name": self._identity.name}
        written = {**(found or {"metadata": metadata}), "spec": spec}
        return cast(Manifest, written)

    async def _release(self) -> None:
        """Let the next one in at once. Should this fail, it waits for the duration: slow, and still correct."""
        where = self._identity
        try:
            async with asyncio.timeout(self._timing.request_timeout):
                found = cast(dict[str, Any] | None, await self._cluster.get(Kind.LEASE, where.namespace, where.name))
                if found is None or (found.get("spec") or {}).get("holderIdentity") != where.holder:
                    return
                spec = {**found["spec"], "holderIdentity": "", "leaseDurationSeconds": _RELEASED_SECONDS}
                await self._cluster.replace(Kind.LEASE, cast(Manifest, {**found, "spec": spec}))
        except (ReleaseError, TimeoutError):
            return
