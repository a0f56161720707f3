"""Leadership that a test grants and takes away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class FakeLease:
    def __init__(self, *, held: bool = True) -> None:
        self._held = held
        self._on_change: Callable[[bool], None] | None = None

    def is_held(self) -> bool:
        return self._held

    def write_seconds(self) -> float:
        return 10.0 if self._held else 0.0

    def set(self, held: bool) -> None:
        changed, self._held = held is not self._held, held
        if changed and self._on_change is not None:
            self._on_change(held)

    async def run(self, on_change: Callable[[bool], None]) -> None:
        self._on_change = on_change
        if self._held:
            on_change(True)
        try:
            await asyncio.Event().wait()
        finally:
            self.set(False)
