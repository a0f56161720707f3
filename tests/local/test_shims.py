"""Shims that outlived their containerd."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localcluster import processes, shims
from localcluster.part import wait_until

WITH_A_CHILD = "sleep 60 & echo $!; wait"


@contextmanager
def shim(socket: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that is called like one, and the process that it started."""
    argv = ["containerd-shim-runc-v2", "-c", WITH_A_CHILD, "-namespace", "k8s.io", "-address", str(socket)]
    with subprocess.Popen(argv, executable="/bin/sh", stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()
            if (started := processes.started_at(child)) is not None:
                processes.stop(processes.Record(child, started, processes.boot_id(), "sleep", ""), 1)


def test_shims_of_this_containerd_end_with_what_they_started_and_others_stay(tmp_path: Path) -> None:
    with shim(tmp_path / "ours.sock") as (ours, child), shim(tmp_path / "other.sock") as (other, others_child):
        assert shims.end(tmp_path / "ours.sock") == 1

        assert ours.wait(5) in (-signal.SIGTERM, -signal.SIGKILL)
        assert wait_until(lambda: processes.started_at(child) is None, 5)
        assert other.poll() is None
        assert processes.started_at(others_child) is not None
        assert shims.end(tmp_path / "ours.sock") == 0
