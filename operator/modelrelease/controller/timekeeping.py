"""Times in status, moved along when the wall clock jumps.

What has to last, a step's minimum, the bake, the drain, a deadline, is counted from wall-clock times in status, which
survive a restart. A jump of that clock, and Prometheus may well share it, must neither end nor prolong any of these. So
between two looks it is held against the clock that never jumps, and by what it is ahead or behind the times move, too.
A jump that happens while nobody looks, forward, cannot be told from time that passed; one that goes back can where a
time in status lies ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from modelrelease.api.status import ReleaseStatus
from modelrelease.ports import Key

JUMP_SECONDS = 2.0
"""Least difference that is a jump. A clock that is kept right differs by milliseconds, two machines' clocks by less
than this."""

_TIMES = ("step_started_at", "phase_started_at", "scaled_at")
"""Not `started_at`, by which a release is known."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """Times of one release, as they are stored, and by how many seconds the wall clock was ahead of the other one."""

    times: dict[str, float]
    ahead_then: float
    """When they were written."""
    ahead: float
    """At the last look: what is written next is written by that clock."""

    @property
    def jump_seconds(self) -> float:
        """In whole seconds: moved times stay the same from look to look until they are written."""
        jump = self.ahead - self.ahead_then
        return float(round(jump)) if abs(jump) >= JUMP_SECONDS else 0.0


class Timekeeper:
    """Knows, for each release under way, by which clock the times in its status were written."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[Key, _Known] = {}

    def kept(self, key: Key, status: ReleaseStatus, now: float) -> ReleaseStatus:
        """The stored `status` with its times by the wall clock of `now`, unix seconds.

        The same until it is written, also where the reply to that was lost: other times than before are right.
        """
        if status.phase.is_at_rest:
            self.forget(key)  # at rest there are no writes, and nothing lasts
            return status
        times = {name: at for name in _TIMES if (at := getattr(status, name)) is not None}
        ahead, before = now - self._monotonic(), self._known.get(key)
        if before is None:
            then = ahead + _lies_ahead(times, now)
        else:
            then = before.ahead_then if before.times == times else before.ahead
        known = self._known[key] = _Known(times, then, ahead)
        if not known.jump_seconds:
            return status
        _log.warning("the clock jumped", release=str(key), seconds=known.jump_seconds)
        return status.model_copy(update={name: at + known.jump_seconds for name, at in times.items()})

    def has_moved(self, key: Key) -> bool:
        """Whether what is stored is to be replaced by what `kept` returned last."""
        known = self._known.get(key)
        return known is not None and known.jump_seconds != 0

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)


def _lies_ahead(times: dict[str, float], now: float) -> float:
    """By how many seconds the clock has gone back at least since `times` were written."""
    return max([0.0, *(at - now for at in times.values())])
