"""Two builders take turns, and one that died does not block the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localcluster.errors import LocalClusterError
from localcluster.locks import exclusive

HOLDER = """
import sys, time
from pathlib import Path
from localcluster.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_waits_and_gives_up_in_time(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock"), pytest.raises(LocalClusterError, match="another localcluster command"):  # noqa: SIM117
        with exclusive(tmp_path / "lock", timeout_seconds=0.3):
            pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LocalClusterError), exclusive(tmp_path / "lock", timeout_seconds=0):
            pass

        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=5)

        with exclusive(tmp_path / "lock", timeout_seconds=5):
            assert holder.returncode == -signal.SIGKILL
