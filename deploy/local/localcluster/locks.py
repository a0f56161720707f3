"""File locks, so that two builds or two `up` at once wait for each other instead of mixing their output."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster.errors import LocalClusterError


@contextmanager
def exclusive(path: Path, timeout_seconds: float = 1800.0) -> Iterator[None]:
    """Hold `path` as a lock. The kernel drops it when the process dies, so nothing stale can be left.

    The descriptor is close-on-exec: a process of the cluster that outlives this one must not keep the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, path, timeout_seconds)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LocalClusterError(
                    f"another localcluster command has held {path} for {timeout_seconds:.0f} s"
                ) from None
            time.sleep(0.2)
        else:
            return
