"""Resync, the dead watch, and the end of any part as the end of all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fakes import FakeClock, FakeCluster, FakeLease, FakeSource
from modelrelease.controller.analyst import Analyst
from modelrelease.controller.queue import Queue
from modelrelease.controller.supervisor import Parts, Supervisor, WatchIsDeadError
from modelrelease.controller.work import Workers
from modelrelease.errors import ReleaseError
from modelrelease.ports import Key, Source

A, B = Key("vision", "a"), Key("vision", "b")


async def _nothing(_: Key) -> float | None:
    return None


def _supervisor(**changes: Any) -> tuple[Supervisor, Parts]:
    clock, lease = FakeClock(), FakeLease()
    queue = Queue(clock.monotonic)
    source: Source = FakeSource()
    parts = Parts(
        cluster=FakeCluster(),
        source=source,
        lease=lease,
        clock=clock,
        queue=queue,
        analyst=Analyst({}, frozenset(), clock, queue.add),
        workers=Workers(queue, _nothing, lease),
        providers=(),
        resync_seconds=60.0,
    )
    parts = replace(parts, **changes)
    return Supervisor(parts), parts


@dataclass(frozen=True, slots=True)
class Round:
    """One resync, `after` seconds: what LIST shows, what events brought before LIST and while it ran."""

    listed: dict[Key, str]
    before: dict[Key, str]
    during: dict[Key, str]
    after: float = 60.0


def _play(rounds: list[Round]) -> Supervisor:
    supervisor, parts = _supervisor()
    for one in rounds:
        parts.clock.advance(one.after)  # type: ignore[attr-defined]
        supervisor._versions.update(one.before)
        arrived = dict(supervisor._versions)
        supervisor._versions.update(one.during)
        supervisor._compare(one.listed, arrived)
    return supervisor


ALIVE = {
    "LIST and events agree": [Round({A: "1"}, {A: "1"}, {}), Round({A: "1"}, {}, {})],
    "an event that is late": [Round({A: "2"}, {A: "1"}, {}), Round({A: "2"}, {A: "2"}, {})],
    "LIST is older than the events": [Round({A: "1"}, {A: "1"}, {A: "2"}), Round({A: "2"}, {}, {})],
    "an object that changes all the time": [Round({A: str(2 * n + 1)}, {A: str(2 * n)}, {}) for n in range(1, 6)],
    "an object made while LIST ran": [Round({}, {}, {A: "1"}), *[Round({A: "1"}, {}, {})] * 3],
    "an object that went": [Round({A: "1"}, {A: "1"}, {}), Round({}, {}, {}), Round({}, {}, {})],
}


@pytest.mark.parametrize("rounds", ALIVE.values(), ids=[name.replace(" ", "-") for name in ALIVE])
def test_a_watch_that_lives_is_let_live(rounds: list[Round]) -> None:
    supervisor = _play(rounds)
    assert rounds[-1].listed.keys() == supervisor._versions.keys()


DEAD = {
    "no event for a change": [Round({A: "2"}, {A: "1"}, {}), Round({A: "2"}, {}, {})],
    "no event for many changes": [Round({A: "2"}, {A: "1"}, {}), Round({A: "3"}, {}, {})],
    "no event for a new object": [Round({A: "1", B: "2"}, {A: "1"}, {}), Round({A: "1", B: "2"}, {}, {})],
}


@pytest.mark.parametrize("rounds", DEAD.values(), ids=[name.replace(" ", "-") for name in DEAD])
def test_a_dead_watch_is_noticed_within_two_resyncs(rounds: list[Round]) -> None:
    with pytest.raises(WatchIsDeadError):
        _play(rounds)


def test_what_a_watch_missed_is_looked_at_all_the_same() -> None:
    supervisor, parts = _supervisor()
    supervisor._versions.update({A: "1"})
    supervisor._compare({B: "5"}, {A: "1"})
    assert {A, B} == set(parts.queue._due)


class EndingLease(FakeLease):
    async def run(self, on_change: Callable[[bool], None]) -> None:
        on_change(True)


async def test_the_end_of_a_part_is_the_end_of_all() -> None:
    supervisor, _ = _supervisor(lease=EndingLease())
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup) as ended:
            await supervisor.run()
    assert ended.group_contains(ReleaseError)


async def test_a_new_leader_looks_at_all_that_it_knows() -> None:
    supervisor, parts = _supervisor()
    supervisor._versions.update({A: "1", B: "1"})
    supervisor._leadership_changed(True)
    assert {A, B} == set(parts.queue._due)


async def test_changes_become_looks() -> None:
    source = FakeSource()
    supervisor, _ = _supervisor(source=source)
    looked: asyncio.Queue[Key] = asyncio.Queue()

    async def look(key: Key) -> float | None:
        await looked.put(key)
        return None

    parts = supervisor._parts
    supervisor = Supervisor(replace(parts, workers=Workers(parts.queue, look, parts.lease)))
    running = asyncio.create_task(supervisor.run())
    source.push(A, "1")
    async with asyncio.timeout(5):
        assert A == await looked.get()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
