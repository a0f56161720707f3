"""What a test run starts must end with it, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localcluster import warden
from localcluster.part import wait_until
from localcluster.processes import started_at

OWNER = """
import json, subprocess, sys, time
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
process = subprocess.Popen([sys.executable, sys.argv[1], sys.argv[2]], **pipes)
process.stdin.write(json.dumps({"argv": ["sleep", "60"], "log": sys.argv[2] + "/sleep.log"}) + "\\n")
process.stdin.flush()
print(json.dumps({"warden": process.pid, "child": int(process.stdout.readline())}), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("victim", ["owner", "warden"])
def test_a_kill_of_owner_or_warden_ends_the_child(tmp_path: Path, victim: str) -> None:
    folder = tmp_path / "plane"
    folder.mkdir()
    words = [sys.executable, "-c", OWNER, str(warden.__file__), str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pids = json.loads(owner.stdout.readline())
        assert started_at(pids["child"]) is not None

        os.kill(owner.pid if victim == "owner" else pids["warden"], signal.SIGKILL)

        assert wait_until(lambda: started_at(pids["child"]) is None, 10)
        if victim == "owner":
            assert wait_until(lambda: not folder.exists(), 10)
        owner.kill()
