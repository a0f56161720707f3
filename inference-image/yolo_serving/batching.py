"""Gathers pictures into batches for one forward pass.

A picture waits for others at most `max_delay_seconds`, and while a batch runs those that arrive gather for the next
one. The number of requests under way is bounded: one more is refused at once, because a queue that grows makes
everyone late and nobody served.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from yolo_serving.errors import DeadlineExceeded, Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchingPolicy:
    """How many to take at once, how long to wait for them, how many may be under way, and for how long each may be."""

    max_batch: int
    max_delay_seconds: float
    queue_size: int
    deadline_seconds: float


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    done: asyncio.Future[tuple[Result, float]]
    queued_at: float
    deadline: float


class Batcher(Generic[Item, Result]):
    """Runs `process` on batches in one thread of its own. Belongs to the event loop it is started in."""

    def __init__(self, policy: BatchingPolicy, process: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._policy = policy
        self._process = process
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._task: asyncio.Task[None] | None = None
        self._under_way = 0

    @property
    def alive(self) -> bool:
        """Whether batches are being taken from the queue."""
        return self._task is not None and not self._task.done()

    @property
    def depth(self) -> int:
        """Pictures that wait for a forward pass."""
        return len(self._waiting)

    async def start(self) -> None:
        """Begins to take batches."""
        self._task = asyncio.create_task(self._take_batches(), name="batcher")

    async def stop(self) -> None:
        """Ends the taking of batches; who still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=5)
        while self._waiting:
            self._waiting.popleft().done.cancel()
        self._thread.shutdown(wait=False)

    @contextmanager
    def admitted(self, count: int = 1) -> Iterator[None]:
        """Holds the place of `count` pictures while a request is under way; raises Overloaded when there is none."""
        if self._under_way + count > self._policy.queue_size:
            raise Overloaded(
                f"The server has {self._under_way} pictures under way and takes at most {self._policy.queue_size}; "
                "try again later."
            )
        self._under_way += count
        try:
            yield
        finally:
            self._under_way -= count

    async def submit(self, item: Item, arrived_at: float) -> tuple[Result, float]:
        """The result for one item and the seconds it waited for its batch.

        `arrived_at` (monotonic seconds) is when its request came: the deadline counts from there. Raises
        DeadlineExceeded when its turn comes too late. When the awaiting task is cancelled the item is not run.
        """
        done: asyncio.Future[tuple[Result, float]] = asyncio.get_running_loop().create_future()
        deadline = arrived_at + self._policy.deadline_seconds
        self._waiting.append(_Waiting(item, done, time.monotonic(), deadline))
        self._arrived.set()
        return await done

    async def _take_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            if not batch:
                continue
            started = time.monotonic()
            try:
                results = await loop.run_in_executor(self._thread, self._process, [waiting.item for waiting in batch])
            except Exception as error:  # noqa: BLE001
                # The supervisor of this loop: one bad batch must not end the service of all later ones.
                for waiting in batch:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)
                continue
            for waiting, result in zip(batch, results, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result((result, started - waiting.queued_at))

    async def _gather(self) -> list[_Waiting[Item, Result]]:
        """The next batch; empty when all who waited had left or were too late."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        await self._wait_for_more(self._waiting[0].queued_at + self._policy.max_delay_seconds)
        batch: list[_Waiting[Item, Result]] = []
        now = time.monotonic()
        while self._waiting and len(batch) < self._policy.max_batch:
            waiting = self._waiting.popleft()
            if waiting.done.done():
                continue
            if now > waiting.deadline:
                late = round((now - waiting.deadline + self._policy.deadline_seconds) * 1000)
                waiting.done.set_exception(DeadlineExceeded(f"The picture waited {late} ms, longer than its deadline."))
                continue
            batch.append(waiting)
        return batch

    async def _wait_for_more(self, until: float) -> None:
        while len(self._waiting) < self._policy.max_batch and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                return
