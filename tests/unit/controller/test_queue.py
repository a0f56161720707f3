"""The work queue: each key once, in one pair of hands, as soon as the shortest delay says."""

from __future__ import annotations

import asyncio

from fakes import FakeClock
from modelrelease.controller.queue import Queue
from modelrelease.ports import Key

A, B = Key("vision", "a"), Key("vision", "b")


def _queue() -> tuple[Queue, FakeClock]:
    clock = FakeClock()
    return Queue(clock.monotonic), clock


async def _is_empty(queue: Queue) -> bool:
    try:
        async with asyncio.timeout(0.01):
            await queue.take()
    except TimeoutError:
        return True
    return False


async def test_a_key_added_twice_is_handed_out_once() -> None:
    queue, _ = _queue()
    queue.add(A)
    queue.add(A)
    assert A == await queue.take()
    queue.done(A)
    assert await _is_empty(queue)


async def test_of_several_delays_the_shortest_counts() -> None:
    queue, clock = _queue()
    queue.add(A, 300)
    queue.add(A, 5)
    queue.add(A, 60)
    queue.add(B, 10)
    clock.advance(6)
    assert A == await queue.take()
    assert 1 == len(queue)


async def test_a_key_in_work_is_handed_out_again_only_when_it_is_done() -> None:
    queue, _ = _queue()
    queue.add(A)
    await queue.take()
    queue.add(A)
    assert await _is_empty(queue)
    queue.done(A)
    assert A == await queue.take()


async def test_a_key_in_work_does_not_hold_up_others() -> None:
    queue, _ = _queue()
    queue.add(A)
    await queue.take()
    queue.add(A)
    queue.add(B)
    assert B == await queue.take()


async def test_a_taker_that_waits_is_woken() -> None:
    queue, _ = _queue()
    taker = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(B)
    async with asyncio.timeout(1):
        assert B == await taker


async def test_all_takers_get_work() -> None:
    queue, _ = _queue()
    takers = [asyncio.create_task(queue.take()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add(A)
    queue.add(B)
    async with asyncio.timeout(1):
        assert {A, B} == set(await asyncio.gather(*takers))


async def test_memory_is_bounded_by_keys_not_by_events() -> None:
    queue, clock = _queue()
    for _ in range(5000):
        queue.add(A, 300)
        queue.add(A)
        await queue.take()
        queue.done(A)
        clock.advance(0.01)
    assert len(queue._heap) < 200


async def test_what_is_held_back_is_not_handed_out_earlier_whatever_happens() -> None:
    queue, clock = _queue()
    queue.add(A)
    queue.hold_back(A, 30)
    queue.add(A)
    clock.advance(29)
    assert await _is_empty(queue)
    clock.advance(2)
    assert A == await queue.take()
    queue.done(A)
    queue.add(A)
    assert A == await queue.take()
