from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Sequence

import pytest

from yolo_serving.batching import Batcher, BatchingPolicy
from yolo_serving.errors import DeadlineExceeded, Overloaded
from yolo_serving.pace import Pace


class Gate:
    """Doubles numbers; each batch waits until it is let through."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self._let = threading.Semaphore(1_000_000 if is_open else 0)

    def open(self, batches: int) -> None:
        for _ in range(batches):
            self._let.release()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.release()
        assert self._let.acquire(timeout=10)
        if -1 in items:
            raise ValueError("minus one")
        return [2 * item for item in items]


def policy(
    max_batch: int = 4, delay: float = 0.0, queue: int = 100, deadline: float = 10.0, lanes: int = 1
) -> BatchingPolicy:
    return BatchingPolicy(max_batch, delay, queue, deadline, lanes)


async def submitted(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[tuple[int, float]]]:
    tasks = [asyncio.create_task(batcher.submit(item, time.monotonic())) for item in items]
    await asyncio.sleep(0.02)
    return tasks


async def results(tasks: Sequence[asyncio.Task[tuple[int, float]]]) -> list[object]:
    done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    return [outcome if isinstance(outcome, BaseException) else outcome[0] for outcome in done]


async def test_what_arrives_while_a_batch_runs_makes_the_next_ones() -> None:
    gate = Gate(is_open=False)
    batcher = Batcher(policy(max_batch=3), gate)
    await batcher.start()
    first = await submitted(batcher, 1)
    rest = await submitted(batcher, 2, 3, 4, 5)
    assert batcher.depth == 4
    gate.open(3)
    assert await results([*first, *rest]) == [2, 4, 6, 8, 10]
    assert gate.batches == [[1], [2, 3, 4], [5]]
    await batcher.stop()


async def test_a_batch_waits_for_company_no_longer_than_its_delay() -> None:
    gate = Gate()
    batcher = Batcher(policy(max_batch=3, delay=0.2), gate)
    await batcher.start()
    started = time.monotonic()
    tasks = await submitted(batcher, 1)
    tasks += await submitted(batcher, 2)
    await results(tasks)
    assert gate.batches == [[1, 2]]
    assert time.monotonic() - started >= 0.2
    await batcher.stop()


async def test_a_full_batch_waits_for_nobody() -> None:
    gate = Gate()
    batcher = Batcher(policy(max_batch=3, delay=3600.0, deadline=7200.0), gate)
    await batcher.start()
    await results(await submitted(batcher, 3, 4, 5))
    assert gate.batches == [[3, 4, 5]]
    await batcher.stop()


async def test_who_waited_too_long_is_told_and_not_run() -> None:
    gate = Gate(is_open=False)
    batcher = Batcher(policy(deadline=0.1), gate)
    await batcher.start()
    late = [*await submitted(batcher, 1), *await submitted(batcher, 2)]
    # Told at the deadline: also whose batch runs and does not come to its end.
    assert [type(outcome) for outcome in await results(late)] == [DeadlineExceeded, DeadlineExceeded]
    gate.open(2)
    assert await results(await submitted(batcher, 3)) == [6]
    assert gate.batches == [[1], [3]]
    await batcher.stop()


async def test_who_would_be_answered_too_late_is_told_and_not_run() -> None:
    gate = Gate()
    batcher = Batcher(policy(max_batch=1, deadline=10.0), gate)
    batcher.pace.record(3.0)
    await batcher.start()
    waited_long = asyncio.create_task(batcher.submit(1, time.monotonic() - 8.0))
    waited_less = asyncio.create_task(batcher.submit(2, time.monotonic() - 6.0))
    outcomes = await results([waited_long, waited_less])
    assert isinstance(outcomes[0], DeadlineExceeded)
    assert re.search(r"waited 8\d{3} ms and would miss its deadline", str(outcomes[0]))
    assert outcomes[1] == 4
    assert gate.batches == [[2]]
    await batcher.stop()


async def test_after_batches_that_took_longer_than_any_deadline_the_pace_is_learnt_anew() -> None:
    gate = Gate()
    batcher = Batcher(policy(deadline=1.0), gate)
    batcher.pace.record(60.0)
    await batcher.start()
    assert await results(await submitted(batcher, 1)) == [2]
    await batcher.stop()


async def test_who_left_is_not_run() -> None:
    gate = Gate(is_open=False)
    batcher = Batcher(policy(), gate)
    await batcher.start()
    first = await submitted(batcher, 1)
    left, stays = await submitted(batcher, 2, 3)
    left.cancel()
    await asyncio.sleep(0.01)
    gate.open(2)
    assert await results([*first, stays]) == [2, 6]
    assert gate.batches == [[1], [3]]
    await batcher.stop()


async def test_a_batch_that_fails_ends_nobody_else() -> None:
    gate = Gate()
    batcher = Batcher(policy(max_batch=1), gate)
    await batcher.start()
    outcomes = await results(await submitted(batcher, -1, 4))
    assert isinstance(outcomes[0], ValueError)
    assert outcomes[1] == 8
    assert batcher.alive
    await batcher.stop()
    assert not batcher.alive


async def test_places_are_bounded_and_come_back() -> None:
    batcher = Batcher(policy(queue=3), Gate())
    with batcher.admitted(2):
        with pytest.raises(Overloaded, match="2 pictures under way and takes at most 3"), batcher.admitted(2):
            pass
        with batcher.admitted(1), pytest.raises(Overloaded), batcher.admitted():
            pass
    with batcher.admitted(3):
        pass


async def test_lanes_run_batches_beside_one_another() -> None:
    gate = Gate(is_open=False)
    batcher = Batcher(policy(max_batch=2, lanes=2), gate)
    await batcher.start()
    tasks = [*await submitted(batcher, 1), *await submitted(batcher, 2), *await submitted(batcher, 3)]
    assert gate.batches == [[1], [2]]
    assert batcher.depth == 1
    gate.open(3)
    assert await results(tasks) == [2, 4, 6]
    await batcher.stop()


async def test_preparation_that_fails_is_told_to_who_waits() -> None:
    batcher = Batcher(policy(), Gate())
    await batcher.start()
    ticket = batcher.claim(time.monotonic())
    await asyncio.to_thread(batcher.fail, ticket, ValueError("no picture"))
    with pytest.raises(ValueError, match="no picture"):
        await asyncio.wait_for(ticket.done, 5)
    await batcher.stop()


async def test_stop_lets_the_running_batch_end_and_gives_up_who_waits() -> None:
    gate = Gate(is_open=False)
    batcher = Batcher(policy(max_batch=1), gate)
    await batcher.start()
    running, waiting = await submitted(batcher, 1, 2)
    stopping = asyncio.create_task(batcher.stop())
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 5)
    gate.open(1)
    await asyncio.wait_for(stopping, 10)
    assert await results([running]) == [2]
    assert gate.batches == [[1]]
    assert not batcher.alive


async def test_more_than_the_deadline_allows_is_refused_at_once_and_nobody_is_late() -> None:
    """Bursts of several times the capacity, and places for far more than can be served in time."""
    seconds_each, deadline, bursts, size = 0.05, 2.0, 5, 50

    def slow(items: Sequence[int]) -> list[int]:
        time.sleep(seconds_each * len(items))
        return list(items)

    batcher = Batcher(policy(queue=10_000, deadline=deadline), slow)
    batcher.pace.record(seconds_each)
    await batcher.start()
    waits: list[float] = []
    refusals: list[Overloaded] = []

    async def client(number: int) -> None:
        arrived_at = time.monotonic()
        try:
            with batcher.admitted():
                await batcher.submit(number, arrived_at)
        except Overloaded as refusal:
            refusals.append(refusal)
        else:
            waits.append(time.monotonic() - arrived_at)

    async with asyncio.TaskGroup() as clients:
        for _ in range(bursts):
            for number in range(size):
                clients.create_task(client(number))
            await asyncio.sleep(0.3)
    assert len(waits) + len(refusals) == bursts * size
    assert len(refusals) >= 100
    assert "would be late" in str(refusals[0])
    assert refusals[0].headers["retry-after"] in {"1", "2"}
    # As many at once as half of the deadline has room for.
    assert len(waits) >= deadline / 2 / seconds_each
    assert max(waits) < deadline
    await batcher.stop()


async def test_the_slowest_stage_sets_the_pace() -> None:
    decoding = Pace(2)
    decoding.record(0.8)
    batcher = Batcher(policy(deadline=1.0), Gate(), decoding)
    with batcher.admitted(1), batcher.admitted(1):
        with (
            pytest.raises(Overloaded, match="with 1 more they take 1200 ms") as refusal,
            batcher.admitted(),
        ):
            pass
        assert refusal.value.headers == {"retry-after": "2"}
        with batcher.admitted(prepared=True):
            pass


async def test_several_pictures_that_cannot_be_answered_in_time_are_refused_before_any_work() -> None:
    batcher = Batcher(policy(deadline=1.0), Gate())
    batcher.pace.record(0.3)
    with pytest.raises(Overloaded, match="0 pictures under way; with 4 more they take 1200 ms"), batcher.admitted(4):
        pass
    with batcher.admitted(3):
        pass
    with batcher.admitted(1), pytest.raises(Overloaded), batcher.admitted(3):
        pass


async def test_after_slow_pictures_several_at_once_are_a_trial_too() -> None:
    """On a server that is asked for nothing else the pace would never be learnt anew."""
    now = 100.0
    decoding = Pace(1, lambda: now)
    for _ in range(15):
        decoding.record(5.0)
    batcher = Batcher(policy(deadline=1.0), Gate(), decoding)
    with pytest.raises(Overloaded), batcher.admitted(2):
        pass
    now += 5.1
    with batcher.admitted(2):
        decoding.record(0.01)
    with batcher.admitted(2), batcher.admitted(2):
        pass
