"""The lease and Events against both clusters: what is written there is valid to an API server."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from contract.world import World
from fakes import FakeClock
from modelrelease.adapters.announcer import EventAnnouncer
from modelrelease.adapters.lease import ClusterLease, LeaseIdentity
from modelrelease.ports import Announcement, Kind, Manifest


def candidate(world: World, clock: FakeClock, holder: str) -> ClusterLease:
    return ClusterLease(world.cluster, clock, LeaseIdentity(world.namespace, "modelrelease", holder))


async def test_a_lease_is_taken_renewed_and_taken_over(world: World) -> None:
    clock = FakeClock()
    first, second = candidate(world, clock, "first"), candidate(world, clock, "second")
    assert await first.attempt()
    assert not await second.attempt()
    clock.advance(15)
    assert await first.attempt()
    assert not await second.attempt()
    clock.advance(30)
    assert not first.is_held()
    assert await second.attempt()
    assert second.is_held()
    assert not await first.attempt()
    found = cast(dict[str, Any], await world.cluster.get(Kind.LEASE, world.namespace, "modelrelease"))
    assert ("second", 1) == (found["spec"]["holderIdentity"], found["spec"]["leaseTransitions"])
    assert found["spec"]["renewTime"] == "2027-01-15T08:00:45.000000Z"


async def test_of_many_at_once_exactly_one_leads(world: World) -> None:
    clock = FakeClock()
    candidates = [candidate(world, clock, f"candidate-{number}") for number in range(8)]
    won = await asyncio.gather(*(one.attempt() for one in candidates))
    assert sum(won) == 1
    assert won == [one.is_held() for one in candidates]


async def test_a_released_lease_is_free_at_once(world: World) -> None:
    clock = FakeClock()
    first, second = candidate(world, clock, "first"), candidate(world, clock, "second")
    leads = asyncio.Event()
    task = asyncio.create_task(first.run(lambda held: leads.set() if held else None))
    await asyncio.wait_for(leads.wait(), 10)
    assert not await second.attempt()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await second.attempt()


async def test_events_are_valid_and_count_up(world: World) -> None:
    metadata = {"namespace": world.namespace, "name": "detector", "uid": "11111111-2222-3333-4444-555555555555"}
    release = cast(Manifest, {"apiVersion": "modelrelease.dev/v1alpha1", "kind": "ModelRelease", "metadata": metadata})
    announcer = EventAnnouncer(world.cluster, FakeClock(), instance="pod-0")
    for _ in range(2):
        await announcer.announce(release, Announcement("RolledBack", "Errors rose from 0.1 % to 4 %.", warning=True))
    await announcer.announce(release, Announcement("ReleaseStarted", "x" * 3000))
    found = cast(list[dict[str, Any]], await world.cluster.list(Kind.EVENT, world.namespace))
    assert {("Warning", "RolledBack", 2), ("Normal", "ReleaseStarted", 1)} == {
        (event["type"], event["reason"], event["count"]) for event in found
    }
