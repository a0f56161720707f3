"""How long one picture takes a stage that works on several at once."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

_REMEMBERED: Final = 15
_RECENT: Final = 3
_MEMORY_SECONDS: Final = 5.0


class Pace:
    """Seconds per picture: the median of the last measurements, or of the very last three where that is more.

    One measurement that the machine held up decides nothing, and a machine that has become slow is believed at once.
    What is older than five seconds is forgotten with the next measurement; until there is one, `stale` says that it
    takes a trial to learn how things are.
    """

    def __init__(self, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._clock = clock
        self._last: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()
        # 0 until something was measured.
        self.seconds = 0.0

    @property
    def stale(self) -> bool:
        """Whether the last measurement says little about now."""
        return not self._last or self._clock() - self._last[-1][0] > _MEMORY_SECONDS

    def record(self, seconds: float, count: int = 1) -> None:
        """One of the workers took that long for `count` pictures. Any thread."""
        with self._lock:
            now = self._clock()
            while self._last and now - self._last[0][0] > _MEMORY_SECONDS:
                self._last.popleft()
            self._last.append((now, seconds / count / self._workers))
            each = [measured for _, measured in self._last]
            self.seconds = max(statistics.median(each), statistics.median(each[-_RECENT:]))

    def record_other(self, seconds: float) -> None:
        """One of the workers was busy that long with what was no picture in the end. Any thread.

        It may make the pace slower, never faster: who sends rubbish must not have others promised a quick answer.
        """
        if seconds / self._workers >= self.seconds:
            self.record(seconds)
