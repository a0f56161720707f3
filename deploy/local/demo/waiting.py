"""Waiting with an end: every wait has a limit and a sentence for the case that it runs out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from demo.errors import OverdueError

T = TypeVar("T")


def wait_for(
    what: str,
    look: Callable[[], T | None],
    timeout_seconds: float,
    *,
    pause_seconds: float = 0.2,
    seen: Callable[[], str] | None = None,
) -> T:
    """The first answer of `look` that is neither None nor False; raises OverdueError with what `seen` says instead."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            instead = f"; seen instead: {seen()}" if seen else ""
            raise OverdueError(f"{what}: not within {timeout_seconds:.0f} s{instead}")
        time.sleep(pause_seconds)
