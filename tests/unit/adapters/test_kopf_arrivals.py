"""What waits between kopf's thread and the main loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from modelrelease.adapters.kopf_source import SourceEndedError, _Arrivals
from modelrelease.ports import Change, Key

A, B = Key("vision", "a"), Key("vision", "b")


async def test_however_many_events_come_each_key_waits_once() -> None:
    arrivals = _Arrivals(asyncio.get_running_loop())

    def flood() -> None:
        for number in range(10_000):
            arrivals.put(Change(A if number % 2 else B, str(number)))

    thread = threading.Thread(target=flood)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert {Change(A, "9999"), Change(B, "9998")} == set(await arrivals.take())


async def test_the_version_of_a_release_outlives_an_event_of_its_deployment() -> None:
    arrivals = _Arrivals(asyncio.get_running_loop())
    arrivals.put(Change(A, "7"))
    arrivals.put(Change(A, None))
    assert [Change(A, "7")] == await arrivals.take()


async def test_the_end_comes_after_what_came_before_it() -> None:
    arrivals = _Arrivals(asyncio.get_running_loop())
    arrivals.put(Change(A, "1"))
    arrivals.put(SourceEndedError("kopf ended"))
    assert [Change(A, "1")] == await arrivals.take()
    for _ in range(2):
        with pytest.raises(SourceEndedError, match="kopf ended"):
            await arrivals.take()


async def test_what_comes_later_wakes_up_whoever_waits() -> None:
    arrivals = _Arrivals(asyncio.get_running_loop())
    for version in ("1", "2"):
        waiting = asyncio.create_task(arrivals.take())
        await asyncio.sleep(0)
        threading.Thread(target=arrivals.put, args=(Change(B, version),)).start()
        async with asyncio.timeout(5):
            while not (found := await waiting):
                waiting = asyncio.create_task(arrivals.take())
        assert [Change(B, version)] == found
