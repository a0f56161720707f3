"""How long one picture takes a stage that works on several at once."""

from __future__ import annotations

import statistics
import threading
from collections import deque
from typing import Final

_REMEMBERED: Final = 15
_RECENT: Final = 3


class Pace:
    """Seconds per picture: the median of the last measurements, or of the very last three where that is more.

    One measurement that the machine held up decides nothing, and a machine that has become slow is believed at once.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._last: deque[float] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()
        # 0 until something was measured.
        self.seconds = 0.0

    def record(self, seconds: float, count: int = 1) -> None:
        """One of the workers took that long for `count` pictures. Any thread."""
        with self._lock:
            self._last.append(seconds / count / self._workers)
            recent = list(self._last)[-_RECENT:]
            self.seconds = max(statistics.median(self._last), statistics.median(recent))
