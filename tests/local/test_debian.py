"""Daemons are kept from starting for one installation, and not for ever."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from localcluster.folders import Cache
from localcluster.provision import debian

INSTALLS = """
import sys, time
from pathlib import Path
from localcluster.provision.debian import no_daemons
with no_daemons(Path(sys.argv[1])):
    print("installing", flush=True)
    time.sleep(60)
"""
OF_ANOTHER = "#!/bin/sh\nexit 101\n"


def test_the_ban_of_a_killed_installation_is_removed(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    words = [sys.executable, "-c", INSTALLS, str(policy)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as installing:
        assert installing.stdout is not None
        assert installing.stdout.readline() == "installing\n"
        forbidden = subprocess.run([policy], check=False, timeout=5).returncode
        installing.send_signal(signal.SIGKILL)
    assert (forbidden, policy.exists()) == (101, True)

    debian.allow_daemons(Cache(tmp_path / "cache"), policy)

    assert policy.exists() is False


def test_the_ban_ends_with_the_installation(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"

    with debian.no_daemons(policy):
        during = policy.exists()

    assert (during, policy.exists()) == (True, False)


def test_a_ban_of_somebody_else_stays(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text(OF_ANOTHER, encoding="ascii")

    with debian.no_daemons(policy):
        during = policy.read_text(encoding="ascii")
    debian.allow_daemons(Cache(tmp_path / "cache"), policy)

    assert [during, policy.read_text(encoding="ascii")] == [OF_ANOTHER, OF_ANOTHER]
