"""Gathers pictures into batches for one forward pass.

A picture waits for others at most `max_delay_seconds`, and while a batch runs those that arrive gather for the next
one. The number of pictures under way is bounded, and so is the time they would need at the pace of the last batches:
one more is refused at once, because a queue that grows makes everyone late and nobody served.

The queue belongs to threads, not to the event loop: who decodes a picture puts it in, a lane takes it out, and the
loop hears once per batch. Each hop through the loop costs a wake-up and a wait for the interpreter lock.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from yolo_serving.errors import DeadlineExceeded, Overloaded
from yolo_serving.pace import Pace

Item = TypeVar("Item")
Result = TypeVar("Result")
Answer = TypeVar("Answer")

# Share of the deadline that the pictures under way may fill: nobody is late when the machine loses half of its speed.
_DEADLINE_SHARE: Final = 0.5
_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class BatchingPolicy:
    """How many to take at once, how long to wait for them, how many may be under way, and for how long each may be.

    `lanes`: batches that run at the same time.
    """

    max_batch: int
    max_delay_seconds: float
    queue_size: int
    deadline_seconds: float
    lanes: int = 1


@dataclass(slots=True, eq=False)
class Ticket(Generic[Result]):
    """A claim to one result: `done` gives it and the seconds its item waited for a batch.

    Cancelling `done` gives the claim up: the item is not run if it is not running yet. `deadline`: monotonic seconds.
    """

    done: asyncio.Future[tuple[Result, float]]
    deadline: float

    @property
    def lapsed(self) -> bool:
        """Whether nobody waits any more, or not for long enough. Any thread."""
        return self.done.done() or time.monotonic() > self.deadline


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    ticket: Ticket[Result]
    queued_at: float


_Outcome = tuple[Ticket[Result], tuple[Result, float] | Exception]


class Batcher(Generic[Item, Result]):
    """Runs `process` on batches in threads of its own. Belongs to the event loop it is started in."""

    def __init__(
        self,
        policy: BatchingPolicy,
        process: Callable[[Sequence[Item]], Sequence[Result]],
        preparing: Pace | None = None,
    ) -> None:
        self._policy = policy
        self._process = process
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=self._serve_lane, name=f"inference-{lane}", daemon=True)
            for lane in range(policy.lanes)
        ]
        self._under_way = 0
        # Of the lanes. Whoever warms them up records it, so that the first burst is measured by it.
        self.pace = Pace(policy.lanes)
        # Of what happens to an item before it is put in; whoever does that records it.
        self._preparing = preparing or Pace(1)

    @property
    def alive(self) -> bool:
        """Whether batches are being taken from the queue."""
        return not self._stopped and all(thread.is_alive() for thread in self._threads)

    @property
    def depth(self) -> int:
        """Pictures that wait for a forward pass."""
        return len(self._waiting)

    async def start(self) -> None:
        """Begins to take batches."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    async def stop(self) -> None:
        """Ends the taking of batches; who still waits is cancelled."""
        with self._changed:
            self._stopped = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for waiting in left:
            waiting.ticket.done.cancel()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, _STOP_SECONDS)

    @contextmanager
    def admitted(self, count: int = 1, *, prepared: bool = False) -> Iterator[None]:
        """Holds the places of a request's `count` pictures while they are under way.

        `prepared`: what happens before they are put in takes them no time. Raises Overloaded when there is no place.
        """
        self.require_place(count, prepared=prepared)
        self._under_way += count
        try:
            yield
        finally:
            self._under_way -= count

    def require_place(self, count: int = 1, *, prepared: bool = False) -> None:
        """Raises Overloaded unless `admitted` would let these pictures in now."""
        before, deadline = self._under_way, self._policy.deadline_seconds
        if before + count > self._policy.queue_size:
            raise Overloaded(
                f"The server has {before} pictures under way and takes at most {self._policy.queue_size}; try again "
                "later."
            )
        paces = [self.pace] if prepared else [self.pace, self._preparing]
        slowest = max(paces, key=lambda pace: pace.seconds)
        # Who finds nobody before him is the trial by which a pace is learnt anew, however slow the last batches were:
        # one picture always, several when nothing was measured lately.
        if before == 0 and (count == 1 or slowest.stale):
            return
        wait_seconds = before * slowest.seconds
        whole_seconds = wait_seconds + count * slowest.seconds
        if wait_seconds > _DEADLINE_SHARE * deadline or (count > 1 and whole_seconds > deadline):
            raise Overloaded(
                f"The server has {before} pictures under way; with {count} more they take {whole_seconds * 1000:.0f} "
                "ms, which would be late. Try again later.",
                math.ceil(whole_seconds),
            )

    def claim(self, arrived_at: float) -> Ticket[Result]:
        """A ticket for an item that is still being made; its deadline counts from `arrived_at` (monotonic seconds).

        To be called in the event loop.
        """
        return Ticket(asyncio.get_running_loop().create_future(), arrived_at + self._policy.deadline_seconds)

    async def in_time(self, work: Awaitable[Answer], arrived_at: float) -> Answer:
        """What the work of a request gives that arrived then (monotonic seconds): a ticket's `done`, for one.

        Raises DeadlineExceeded at the deadline, wherever the work is then: nobody knows how long it would still take.
        """
        try:
            async with asyncio.timeout(arrived_at + self._policy.deadline_seconds - time.monotonic()):
                return await work
        except TimeoutError:
            deadline_ms = self._policy.deadline_seconds * 1000
            raise DeadlineExceeded(f"There was no answer within {deadline_ms:g} ms.") from None
        finally:
            # A failure knows this frame and the work its failure: what else knows either would stay until the garbage
            # collector comes.
            del work

    def put(self, item: Item, ticket: Ticket[Result]) -> None:
        """Queues the item that belongs to the ticket. Any thread."""
        with self._changed:
            self._waiting.append(_Waiting(item, ticket, time.monotonic()))
            self._changed.notify()

    def fail(self, ticket: Ticket[Result], error: Exception) -> None:
        """There will be no item for this ticket. Any thread."""
        self._deliver([(ticket, error)])

    async def submit(self, item: Item, arrived_at: float) -> tuple[Result, float]:
        """The result for an item that is there, and the seconds it waited for a batch; raises as `in_time` does."""
        ticket = self.claim(arrived_at)
        self.put(item, ticket)
        return await self.in_time(ticket.done, arrived_at)

    def _serve_lane(self) -> None:
        """One lane's thread."""
        while batch := self._next_batch():
            started = time.monotonic()
            try:
                results = self._process([waiting.item for waiting in batch])
            except Exception as error:  # noqa: BLE001
                # The supervisor of this lane: one bad batch must not end the service of all later ones.
                self._deliver([(waiting.ticket, error) for waiting in batch])
                continue
            self.pace.record(time.monotonic() - started, len(batch))
            self._deliver(
                [
                    (waiting.ticket, (result, started - waiting.queued_at))
                    for waiting, result in zip(batch, results, strict=True)
                ]
            )

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        """The next batch, never empty until the batcher is stopped."""
        with self._changed:
            while not self._stopped:
                if not self._waiting:
                    self._changed.wait()
                    continue
                self._wait_for_more(self._waiting[0].queued_at + self._policy.max_delay_seconds)
                if batch := self._take():
                    return batch
        return []

    def _wait_for_more(self, until: float) -> None:
        """Returns when a whole batch waits, at `until` (monotonic seconds), or when another lane took all."""
        while 0 < len(self._waiting) < self._policy.max_batch and not self._stopped:
            if (left := until - time.monotonic()) <= 0:
                return
            self._changed.wait(left)

    def _take(self) -> list[_Waiting[Item, Result]]:
        """Up to a batch from the queue, without those who have left or are too late."""
        batch: list[_Waiting[Item, Result]] = []
        late: list[_Outcome[Result]] = []
        now = time.monotonic()
        done_at = now + self._expected_seconds(min(len(self._waiting), self._policy.max_batch))
        while self._waiting and len(batch) < self._policy.max_batch:
            waiting = self._waiting.popleft()
            if waiting.ticket.done.done():
                continue
            if done_at > waiting.ticket.deadline:
                waited_ms = round((now - waiting.ticket.deadline + self._policy.deadline_seconds) * 1000)
                error = DeadlineExceeded(f"The picture waited {waited_ms} ms and would miss its deadline.")
                late.append((waiting.ticket, error))
                continue
            batch.append(waiting)
        if late:
            self._deliver(late)
        return batch

    def _expected_seconds(self, count: int) -> float:
        """How long a batch of that many will take, by the pace of the last ones.

        At most the share of the deadline that is kept for slow moments: were everyone refused after some slow batches,
        none would run, and the pace would never be learnt anew.
        """
        expected = count * self._policy.lanes * self.pace.seconds
        return min(expected, (1 - _DEADLINE_SHARE) * self._policy.deadline_seconds)

    def _deliver(self, outcomes: Sequence[_Outcome[Result]]) -> None:
        """Any thread. A loop that has closed has nobody left who waits."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, outcomes)


def _settle(outcomes: Sequence[_Outcome[Result]]) -> None:
    """Hands the outcomes to those who still wait. In the event loop: futures are not for other threads."""
    for ticket, outcome in outcomes:
        if ticket.done.done():
            continue
        if isinstance(outcome, Exception):
            ticket.done.set_exception(outcome)
        else:
            ticket.done.set_result(outcome)
