"""Changes that a test makes up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from modelrelease.ports import Change, Key


class FakeSource:
    def __init__(self) -> None:
        self._queue: asyncio.Queue[Change] = asyncio.Queue()

    def push(self, key: Key, resource_version: str | None = None) -> None:
        self._queue.put_nowait(Change(key, resource_version))

    async def changes(self) -> AsyncIterator[Change]:
        while True:
            yield await self._queue.get()
