"""The work queue: keys, each at most once, each at most in one pair of hands."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from modelrelease.ports import Key

_SLACK = 64
"""Superseded entries that are left in the heap before it is made anew."""


class Queue:
    """A delaying, de-duplicating queue of keys.

    A key that is added while somebody works on it is handed out again afterwards; of several delays the shortest
    counts. Memory is bounded by the number of keys, not of events.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._working: set[Key] = set()
        self._not_before: dict[Key, float] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def overdue_seconds(self) -> list[float]:
        """For how long each key has been due that nobody has taken yet."""
        now = self._monotonic()
        return [now - due for key, due in self._due.items() if due <= now and key not in self._working]

    def add(self, key: Key, delay_seconds: float = 0.0) -> None:
        """Have `key` looked at in `delay_seconds` or, if it is due earlier already, then."""
        due = max(self._monotonic() + max(0.0, delay_seconds), self._not_before.get(key, 0.0))
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [(at, waiting) for waiting, at in self._due.items()]
            heapq.heapify(self._heap)
        self._changed.set()

    def hold_back(self, key: Key, delay_seconds: float) -> None:
        """Have `key` looked at in `delay_seconds` and no earlier, whatever is added meanwhile."""
        self._due.pop(key, None)
        self._not_before[key] = self._monotonic() + delay_seconds
        self.add(key, delay_seconds)

    async def take(self) -> Key:
        """The next key that is due; the taker must call `done`."""
        while True:
            self._changed.clear()
            key, wait_seconds = self._next()
            if key is not None:
                self._working.add(key)
                return key
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _next(self) -> tuple[Key | None, float | None]:
        now = self._monotonic()
        busy: list[tuple[float, Key]] = []
        found: Key | None = None
        wait_seconds: float | None = None
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)  # superseded by a shorter delay, or taken
            elif due > now:
                wait_seconds = due - now
                break
            elif key in self._working:
                busy.append(heapq.heappop(self._heap))
            else:
                heapq.heappop(self._heap)
                del self._due[key]
                self._not_before.pop(key, None)
                found = key
                break
        for entry in busy:
            heapq.heappush(self._heap, entry)
        return found, wait_seconds

    def done(self, key: Key) -> None:
        """The taker is through with `key`."""
        self._working.discard(key)
        self._changed.set()
