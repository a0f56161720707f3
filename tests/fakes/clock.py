"""A clock that moves when a test says so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FakeClock:
    """`advance` moves both clocks, as time does; `jump` only the wall clock, as an administrator or NTP does."""

    wall_seconds: float = 1_800_000_000.0
    monotonic_seconds: float = 1_000.0

    def now(self) -> float:
        return self.wall_seconds

    def monotonic(self) -> float:
        return self.monotonic_seconds

    def advance(self, seconds: float) -> None:
        assert seconds >= 0
        self.wall_seconds += seconds
        self.monotonic_seconds += seconds

    def jump(self, seconds: float) -> None:
        self.wall_seconds += seconds
