"""Whether this process wants traffic, and until when it serves what still comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum


class Phase(StrEnum):
    """A process' life. It only goes forward."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Readiness:
    """The phase, and the time at which a draining process may end.

    On SIGTERM readiness goes first and the service last: proxies learn of the end only some seconds after the pod
    began to terminate, and what they send until then must be answered.
    """

    def __init__(
        self, drain_seconds: float, *, never: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._drain_seconds = drain_seconds
        self._never = never
        self._clock = clock
        self._drain_ends_at: float | None = None
        self.phase = Phase.STARTING

    @property
    def ready(self) -> bool:
        """Whether traffic is welcome."""
        return self.phase is Phase.READY

    @property
    def drained(self) -> bool:
        """Whether the time to serve latecomers is over."""
        return self._drain_ends_at is not None and self._clock() >= self._drain_ends_at

    def serve(self) -> None:
        """Everything is loaded and warm."""
        if self.phase is Phase.STARTING and not self._never:
            self.phase = Phase.READY

    def drain(self) -> None:
        """The end was asked for. Asking again changes nothing."""
        if self._drain_ends_at is None:
            self.phase = Phase.DRAINING
            self._drain_ends_at = self._clock() + self._drain_seconds
