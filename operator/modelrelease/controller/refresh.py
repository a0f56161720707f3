"""Which status writes are worth making now. Pure but for the counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelrelease.api.status import ReleaseStatus, dump_status
from modelrelease.ports import Key

WRITES_PER_SECOND = 5.0
"""Refreshes of figures, over all releases: at 10,000 releases more would drown the API server."""

_FIGURES = ("analysis", "judge", "message", "confirmedWeight", "departures", "stable", "canary")


def is_significant(before: ReleaseStatus, after: ReleaseStatus) -> bool:
    """Whether more than figures changed, or a pod went that nothing else remembers: such a write is never put off."""
    return _essence(before) != _essence(after) or not set(after.departures) <= set(before.departures)


def is_intent(before: ReleaseStatus, after: ReleaseStatus) -> bool:
    """Whether an effect that follows has to be recorded first: more changed than figures and conditions."""
    return {**_essence(before), "conditions": None} != {**_essence(after), "conditions": None}


def _essence(status: ReleaseStatus) -> dict[str, Any]:
    dumped: dict[str, Any] = {key: value for key, value in dump_status(status).items() if key not in _FIGURES}
    dumped["conditions"] = [
        (one["type"], one["status"], one["reason"], one["observedGeneration"]) for one in dumped["conditions"]
    ]
    # What is released is a decision; what stable runs, and both arms' counts of replicas, are figures.
    dumped["released"] = (status.canary.image, status.canary.digest)
    return dumped


class Refreshes:
    """Lets figures through once per interval and release, and all together at most WRITES_PER_SECOND."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._last: dict[Key, float] = {}
        self._tokens = WRITES_PER_SECOND
        self._refilled = monotonic()

    def allow(self, key: Key, interval_seconds: float, *, confirms: bool = False) -> bool:
        """Whether figures of `key` may be written now; says yes at most once per interval.

        A refresh that confirms a weight does not wait for the others: until it is written, a weight that somebody else
        sets looks like a write of our own that has not arrived. There is one per change of weight.
        """
        now = self._monotonic()
        self._tokens = min(WRITES_PER_SECOND, self._tokens + (now - self._refilled) * WRITES_PER_SECOND)
        self._refilled = now
        if (self._tokens < 1 and not confirms) or now - self._last.get(key, -interval_seconds) < interval_seconds * 0.9:
            return False
        self._tokens = max(0.0, self._tokens - 1)
        self._last[key] = now
        return True

    def forget(self, key: Key) -> None:
        self._last.pop(key, None)
