"""The machine's clocks."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `ports.Clock`."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        """Seconds since boot, those asleep included: a suspended machine must find its lease expired when it wakes,
        and Linux' CLOCK_MONOTONIC stands still meanwhile."""
        return time.clock_gettime(_SINCE_BOOT)


_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
