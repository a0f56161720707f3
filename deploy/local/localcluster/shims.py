"""containerd's shims: one for each pod, made to outlive containerd, and so sometimes the cluster."""

from __future__ import annotations

import itertools
from pathlib import Path

from localcluster import processes
from localcluster.processes import Record

_PROGRAM = "containerd-shim-runc-v2"
_GRACE_SECONDS = 2.0


def end(socket: Path) -> int:
    """End the shims of the containerd that listened on this socket, with all that runs under them; how many shims.

    To be called when it has stopped: none of them has anybody to report to then. Shims of other containerds stay.
    """
    shims = [pid for pid in _pids() if _serves(pid, socket)]
    families = [[pid, *_descendants(pid)] for pid in shims]
    for family in families:
        for record in filter(None, map(_record, family)):
            processes.stop(record, _GRACE_SECONDS)
    return len(shims)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _serves(pid: int, socket: Path) -> bool:
    program, *words = _words(pid)
    return Path(program).name == _PROGRAM and ("-address", str(socket)) in itertools.pairwise(words)


def _descendants(ancestor: int) -> list[int]:
    """Children before grandchildren."""
    parents = {pid: _parent(pid) for pid in _pids()}
    found = [ancestor]
    for one in found:
        found += [pid for pid, parent in parents.items() if parent == one]
    return found[1:]


def _record(pid: int) -> Record | None:
    started = processes.started_at(pid)
    return None if started is None else Record(pid, started, processes.boot_id(), _words(pid)[0], digest="")


def _words(pid: int) -> list[str]:
    """The command line; one empty word for a process that is gone, or that the kernel runs."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return [""]


def _parent(pid: int) -> int | None:
    try:
        stat = (Path("/proc") / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
