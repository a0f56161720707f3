"""Runs the processes of a short-lived control plane and makes sure that they end with whoever asked for them.

Started with a folder as its argument, it reads one JSON object per line (`argv`, `log`) and answers each with the
pid of the process it started. When its input ends, because the owner closed it or died in any way, it ends the
processes and removes the folder. Should the warden itself be killed, the kernel kills its children. So nothing stays
behind, whatever happens to a test run.

It imports nothing of this package: it must start fast and under any interpreter.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 5.0


def main(folder: Path, requests: TextIO, answers: TextIO) -> None:
    """Serve until the requests end, then clean up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the owner decides when we end
    children: list[subprocess.Popen[bytes]] = []
    try:
        for line in requests:
            children.append(_start(json.loads(line)))
            answers.write(f"{children[-1].pid}\n")
            answers.flush()
    finally:
        _end(children)
        shutil.rmtree(folder, ignore_errors=True)


def _start(request: dict[str, object]) -> subprocess.Popen[bytes]:
    argv = request["argv"]
    if not isinstance(argv, list):
        raise TypeError("argv must be a list")
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(str(request["log"])).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the commands of the owner, who runs as the same user
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/")},
            start_new_session=True,
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - this process has one thread
        )


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    """Kill, the last one started first: nothing in the folder is worth an orderly end."""
    for child in reversed(children):
        child.kill()
    for child in children:
        child.wait(timeout=_GRACE_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.stdin, sys.stdout)
