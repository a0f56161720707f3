"""Workers: delays after errors, standbys, and a broken release that breaks no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fakes import FakeClock, FakeLease
from modelrelease.controller.queue import Queue
from modelrelease.controller.work import LONGEST_DELAY_SECONDS, Workers
from modelrelease.errors import Conflict, Retryable, Throttled
from modelrelease.ports import Key

KEY = Key("vision", "a")


class Bench:
    """One worker, a clock, and a reconciliation that does what `outcome` says."""

    def __init__(self, outcome: Callable[[], float | None], *, held: bool = True) -> None:
        self.clock = FakeClock()
        self.queue = Queue(self.clock.monotonic)
        self.lease = FakeLease(held=held)
        self.looks = 0
        self.outcome = outcome
        self.workers = Workers(self.queue, self._reconcile, self.lease)

    async def _reconcile(self, _: Key) -> float | None:
        self.looks += 1
        return self.outcome()

    async def once(self) -> float | None:
        """Have the key worked on once; returns in how many seconds it is due again, None for never."""
        self.queue.add(KEY)
        work: Awaitable[None] = self.workers._work(await self.queue.take())
        await work
        self.queue.done(KEY)
        due = self.queue._due.get(KEY)
        return None if due is None else due - self.clock.monotonic()


def _raising(error: Exception) -> Callable[[], float | None]:
    def outcome() -> float | None:
        raise error

    return outcome


@pytest.mark.parametrize(("again", "expected"), [(10.0, 10.0), (0.0, 0.0), (None, None)])
async def test_a_key_comes_again_when_its_reconciliation_says(again: float | None, expected: float | None) -> None:
    assert expected == await Bench(lambda: again).once()


@pytest.mark.parametrize(
    ("error", "low", "high"),
    [
        (Conflict("somebody was first"), 0.04, 0.06),
        (Retryable("503"), 0.4, 0.6),
        (TimeoutError(), 0.4, 0.6),
        (RuntimeError("a defect"), 0.4, 0.6),
        (Throttled("429", 7.0), 7.0, 7.0),
    ],
    ids=["conflict", "retryable", "timeout", "defect", "throttled"],
)
async def test_the_first_delay_after_an_error(error: Exception, low: float, high: float) -> None:
    delay = await Bench(_raising(error)).once()
    assert delay is not None
    assert low <= delay <= high


async def test_delays_grow_up_to_a_limit_and_survive_hours_of_failures() -> None:
    bench = Bench(_raising(Retryable("503")))
    bench.workers._failures[KEY] = 5000
    delay = await bench.once()
    assert delay is not None
    assert 0.8 * LONGEST_DELAY_SECONDS <= delay <= 1.2 * LONGEST_DELAY_SECONDS


async def test_a_success_forgets_the_failures() -> None:
    bench = Bench(_raising(Retryable("503")))
    for _ in range(5):
        bench.clock.advance(60)
        await bench.once()
    bench.outcome = lambda: 10.0
    bench.clock.advance(60)
    await bench.once()
    bench.outcome = _raising(Retryable("503"))
    bench.clock.advance(60)
    delay = await bench.once()
    assert delay is not None
    assert delay <= 0.6


async def test_events_do_not_shorten_what_the_api_server_asked_for() -> None:
    bench = Bench(_raising(Throttled("429", 30.0)))
    await bench.once()
    bench.queue.add(KEY)
    assert 30.0 == bench.queue._due[KEY] - bench.clock.monotonic()


async def test_a_standby_keeps_its_keys_and_does_nothing() -> None:
    bench = Bench(lambda: 10.0, held=False)
    assert (30.0, 0) == (await bench.once(), bench.looks)


async def test_a_worker_goes_on_after_a_defect_and_ends_when_cancelled() -> None:
    looked = asyncio.Event()

    def outcome() -> float | None:
        looked.set()
        raise RuntimeError("a defect")

    bench = Bench(outcome)
    worker = asyncio.create_task(bench.workers.run())
    for _ in range(3):
        looked.clear()
        bench.clock.advance(60)
        bench.queue.add(KEY)
        async with asyncio.timeout(10):
            await looked.wait()
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    assert 3 == bench.looks
