"""Workers: take a key, reconcile it, put it back for later."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from modelrelease.controller.queue import Queue
from modelrelease.errors import Conflict, ReleaseError, Retryable
from modelrelease.ports import Key, Lease
from modelrelease.telemetry import RECONCILE_ERRORS, RECONCILE_SECONDS

CONFLICT_SECONDS = 0.05
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 15.0
MOST_DOUBLINGS = 16
"""After hours of failures the power of two would be too large for a float."""
STANDBY_SECONDS = 30.0
RECONCILE_TIMEOUT_SECONDS = 90.0
"""No single look may hang for longer: each request within it has its own, shorter limit."""

_log = structlog.get_logger(__name__)


class Workers:
    """Reconciles keys side by side, each key by one worker at a time, with a growing delay after errors."""

    def __init__(self, queue: Queue, reconcile: Callable[[Key], Awaitable[float | None]], lease: Lease) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._lease = lease
        self._failures: dict[Key, int] = {}

    async def run(self) -> None:
        """Work for ever."""
        while True:
            key = await self._queue.take()
            try:
                await self._work(key)
            finally:
                self._queue.done(key)

    async def _work(self, key: Key) -> None:
        if not self._lease.is_held():
            # A standby keeps its keys, so that it can take over warm.
            self._queue.add(key, STANDBY_SECONDS)
            return
        try:
            with RECONCILE_SECONDS.time():
                async with asyncio.timeout(RECONCILE_TIMEOUT_SECONDS):
                    again_seconds = await self._reconcile(key)
        except Conflict as conflict:
            _log.debug("conflict", release=str(key), error=str(conflict))
            self._retry(key, conflict, CONFLICT_SECONDS)
        except (ReleaseError, TimeoutError) as error:
            _log.warning("reconcile failed", release=str(key), error=str(error) or type(error).__name__)
            self._retry(key, error, FIRST_DELAY_SECONDS)
        except Exception as error:  # noqa: BLE001 - see below
            # A defect in one release's handling must not stop all others; it is logged whole and tried again.
            _log.exception("reconcile broke", release=str(key))
            self._retry(key, error, FIRST_DELAY_SECONDS)
        else:
            self._failures.pop(key, None)
            if again_seconds is not None:
                self._queue.add(key, again_seconds)

    def _retry(self, key: Key, error: Exception, first_seconds: float) -> None:
        RECONCILE_ERRORS.labels(kind=type(error).__name__).inc()
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(LONGEST_DELAY_SECONDS, first_seconds * 2 ** min(failures, MOST_DOUBLINGS))
        delay *= random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        asked = error.retry_after_seconds if isinstance(error, Retryable) else None
        if asked is None:
            self._queue.add(key, delay)
        else:
            self._queue.hold_back(key, max(asked, delay))  # no event is a reason to ask the API server earlier
