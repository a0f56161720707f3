"""Leadership on the fake cluster, with a clock that the tests move."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fakes import FakeClock, FakeCluster, Write
from modelrelease.adapters.lease import ClusterLease, LeaseIdentity, LeaseTiming
from modelrelease.errors import Conflict, Retryable
from modelrelease.ports import Kind, Manifest

TIMING = LeaseTiming(duration=30, margin=10, guard=2, retry=4)


def candidate(cluster: FakeCluster, clock: FakeClock, holder: str) -> ClusterLease:
    return ClusterLease(cluster, clock, LeaseIdentity("operator", "modelrelease", holder), TIMING)


def spec_of(cluster: FakeCluster) -> dict[str, Any]:
    found = cluster.peek(Kind.LEASE, "operator", "modelrelease")
    assert found is not None
    return cast(dict[str, Any], found["spec"])


async def leading(lease: ClusterLease, told: list[bool]) -> asyncio.Task[None]:
    """The lease's `run` as a task that leads already."""
    changed = asyncio.Event()

    def tell(held: bool) -> None:
        told.append(held)
        changed.set()

    task = asyncio.create_task(lease.run(tell))
    await asyncio.wait_for(changed.wait(), 5)
    return task


async def test_the_first_one_leads_and_the_second_does_not() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first, second = candidate(cluster, clock, "first"), candidate(cluster, clock, "second")
    assert not first.is_held()
    assert await first.attempt()
    assert first.is_held()
    assert not await second.attempt()
    assert not second.is_held()
    expected = {"holderIdentity": "first", "leaseDurationSeconds": 30, "leaseTransitions": 0}
    assert expected == {key: spec_of(cluster)[key] for key in expected}


async def test_a_lease_ends_before_anybody_else_may_take_it() -> None:
    """At no time do both believe that they lead, whenever the second one comes to look."""
    for first_look in range(0, 35, 5):
        cluster, clock = FakeCluster(), FakeClock()
        first, second = candidate(cluster, clock, "first"), candidate(cluster, clock, "second")
        await first.attempt()
        clock.advance(first_look)
        taken_at = None
        for _ in range(80):
            await second.attempt()
            assert not (first.is_held() and second.is_held())
            if second.is_held():
                taken_at = clock.monotonic() - 1_000
                break
            clock.advance(1)
        assert taken_at == first_look + 30, "the full duration after the first look"


async def test_a_deleted_lease_is_still_its_holders() -> None:
    """A standby that saw who held it waits as for one that is no longer renewed; the holder creates it again."""
    cluster, clock = FakeCluster(), FakeClock()
    first, second = candidate(cluster, clock, "first"), candidate(cluster, clock, "second")
    await first.attempt()
    await second.attempt()
    cluster.remove(Kind.LEASE, "operator", "modelrelease")
    assert not await second.attempt()
    assert await first.attempt()
    assert not await second.attempt()
    clock.advance(5)
    cluster.remove(Kind.LEASE, "operator", "modelrelease")
    clock.advance(24)
    assert not await second.attempt()
    assert not first.is_held()
    clock.advance(1)
    assert await second.attempt(), "the full duration after its last look"


async def test_who_finds_a_lapsed_lease_deleted_waits_for_those_who_may_have_taken_it() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first, second = candidate(cluster, clock, "first"), candidate(cluster, clock, "second")
    await first.attempt()
    await second.attempt()
    clock.advance(30)
    assert await second.attempt(), "the first is frozen meanwhile"
    cluster.remove(Kind.LEASE, "operator", "modelrelease")
    assert not await first.attempt()
    assert second.is_held()
    clock.advance(29)
    assert not await first.attempt()
    clock.advance(1)
    assert await first.attempt()


async def test_renewals_keep_it() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first, second = candidate(cluster, clock, "first"), candidate(cluster, clock, "second")
    for _ in range(30):
        assert await first.attempt()
        assert not await second.attempt()
        clock.advance(4)
        assert first.is_held()
    assert spec_of(cluster)["leaseTransitions"] == 0


async def test_a_frozen_process_wakes_without_the_lease() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first = candidate(cluster, clock, "first")
    await first.attempt()
    clock.advance(19.9)
    assert first.is_held()
    clock.advance(0.2)
    assert not first.is_held()


async def test_jumps_of_the_wall_clock_mean_nothing() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first, second = candidate(cluster, clock, "first"), candidate(cluster, clock, "second")
    await first.attempt()
    await second.attempt()
    for jump in (3600, -7200):
        clock.jump(jump)
        assert first.is_held()
        assert not await second.attempt()


async def test_validity_counts_from_before_the_request() -> None:
    """A renewal that takes 15 s is valid for 5 s more, not for 20: others saw it when it was applied, not later."""
    cluster, clock = FakeCluster(), FakeClock()

    def slow(_: Write) -> None:
        clock.advance(15)

    cluster.after_write = slow
    first = candidate(cluster, clock, "first")
    assert await first.attempt()
    assert first.is_held()
    clock.advance(5)
    assert not first.is_held()


async def test_a_failed_renewal_takes_nothing_away_before_its_time() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first = candidate(cluster, clock, "first")
    await first.attempt()

    def refuse(_: Write) -> None:
        raise Retryable("the API server is away")

    cluster.before_write = refuse
    for _ in range(4):
        assert first.is_held()
        clock.advance(5)
        assert not await first.attempt()
    assert not first.is_held()


async def test_a_renewal_whose_reply_was_lost_does_not_prolong() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first = candidate(cluster, clock, "first")
    await first.attempt()
    clock.advance(10)

    def lose(_: Write) -> None:
        raise Retryable("the reply was lost")

    cluster.after_write = lose
    assert not await first.attempt()
    clock.advance(10)
    assert not first.is_held()
    cluster.after_write = None
    assert await first.attempt(), "it is still the holder and takes up again"
    assert first.is_held()


async def test_of_two_that_try_at_once_one_wins() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first, second = candidate(cluster, clock, "first"), candidate(cluster, clock, "second")

    def overtake(write: Write) -> None:
        cluster.before_write = None
        manifest = cast(dict[str, Any], write.manifest)
        cluster.put(Kind.LEASE, cast(Manifest, {**manifest, "spec": {**manifest["spec"], "holderIdentity": "second"}}))

    cluster.before_write = overtake
    assert not await first.attempt()
    assert not first.is_held()
    assert await second.attempt()


async def test_a_holder_that_finds_another_gives_up_at_once() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first = candidate(cluster, clock, "first")
    await first.attempt()

    def take(lease: dict[str, Any]) -> None:
        lease["spec"]["holderIdentity"] = "intruder"

    cluster.edit(Kind.LEASE, "operator", "modelrelease", take)
    assert not await first.attempt()
    assert not first.is_held()


async def test_a_takeover_is_counted_and_dated() -> None:
    cluster, clock = FakeCluster(), FakeClock(wall_seconds=1_800_000_000.0)
    first, second = candidate(cluster, clock, "first"), candidate(cluster, clock, "second")
    await first.attempt()
    await second.attempt()
    clock.advance(30)
    assert await second.attempt()
    expected = {
        "holderIdentity": "second",
        "leaseTransitions": 1,
        "acquireTime": "2027-01-15T08:00:30.000000Z",
        "renewTime": "2027-01-15T08:00:30.000000Z",
    }
    assert expected == {key: spec_of(cluster)[key] for key in expected}


async def test_fields_that_others_keep_in_the_lease_stay() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first = candidate(cluster, clock, "first")
    await first.attempt()
    cluster.edit(Kind.LEASE, "operator", "modelrelease", lambda lease: lease["metadata"].update(labels={"a": "b"}))
    await first.attempt()
    found = cast(dict[str, Any], cluster.peek(Kind.LEASE, "operator", "modelrelease"))
    assert {"a": "b"} == found["metadata"]["labels"]


class Hung(FakeCluster):
    """An API server that takes requests and never answers."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:  # noqa: ARG002
        await asyncio.Event().wait()
        return None


async def test_a_request_that_hangs_leaves_time_for_a_second_one() -> None:
    timing = LeaseTiming(duration=4.0, margin=1.0, guard=0.2, retry=0.5)
    lease = ClusterLease(Hung(), FakeClock(), LeaseIdentity("operator", "modelrelease", "first"), timing)
    started = asyncio.get_running_loop().time()
    assert not await lease.attempt()
    assert asyncio.get_running_loop().time() - started == pytest.approx(1.0, abs=0.8)


async def test_release_lets_the_next_one_in_at_once() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first, second = candidate(cluster, clock, "first"), candidate(cluster, clock, "second")
    told: list[bool] = []
    task = await leading(first, told)
    await second.attempt()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [True, False] == told
    assert not first.is_held()
    assert await second.attempt()


async def test_release_leaves_a_lease_of_another_alone() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first = candidate(cluster, clock, "first")
    task = await leading(first, [])

    def take(lease: dict[str, Any]) -> None:
        lease["spec"]["holderIdentity"] = "second"

    cluster.edit(Kind.LEASE, "operator", "modelrelease", take)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert spec_of(cluster)["holderIdentity"] == "second"


async def test_a_conflict_is_just_a_lost_attempt() -> None:
    cluster, clock = FakeCluster(), FakeClock()

    def refuse(_: Write) -> None:
        raise Conflict("somebody was faster")

    cluster.before_write = refuse
    assert not await candidate(cluster, clock, "first").attempt()


@pytest.mark.parametrize(
    ("duration", "margin", "guard", "retry"),
    [(10, 10, 1, 1), (10, 0, 0, 1), (10, 2, 1, 5), (10, 2, 1, 0), (-1, 1, 0, 1), (10, 2, 2, 1), (10, 2, -1, 1)],
)
def test_timings_that_do_not_fit_are_refused(duration: float, margin: float, guard: float, retry: float) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        LeaseTiming(duration=duration, margin=margin, guard=guard, retry=retry)


async def test_a_write_may_take_until_shortly_before_anybody_else_leads() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    first = candidate(cluster, clock, "first")
    assert first.write_seconds() == 0
    await first.attempt()
    for passed, seconds in ((0, 28), (10, 18), (9.9, 8.1)):
        clock.advance(passed)
        assert first.write_seconds() == pytest.approx(seconds)
    clock.advance(0.2)
    assert first.write_seconds() == 0, "nothing is begun any more"


def test_by_default_a_write_that_begins_last_still_has_time() -> None:
    timing = LeaseTiming.of(15)
    assert LeaseTiming() == timing
    assert timing.duration - timing.guard - timing.renew_deadline == 4
    assert 2 * timing.request_timeout + timing.retry / 2 + timing.retry <= timing.renew_deadline, "two more attempts"


async def test_a_standby_takes_over_when_the_lease_ends_and_not_at_its_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, clock = FakeCluster(), FakeClock()
    await candidate(cluster, clock, "first").attempt()
    began = clock.monotonic()

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    second = candidate(cluster, clock, "second")

    class LedError(Exception):
        pass

    def led(held: bool) -> None:
        if held:
            raise LedError

    with pytest.raises(LedError):
        await second.run(led)
    assert clock.monotonic() - began == pytest.approx(30, abs=0.01)
