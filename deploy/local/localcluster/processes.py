"""Start processes that outlive us, know them again, and end only those.

A process is known by its pid *and* the time the kernel started it *and* the boot it belongs to, so that a pid that was
given to somebody else in the meantime is never signalled. The record is written by the process itself, before it
becomes the program: a kill of `up` at any moment leaves no process without a record.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster.commands import run_into

_RECORD_THEN_EXEC = (
    'printf \'{"pid": %s, "started": %s, %s}\\n\' "$$" "$(cut -d" " -f22 "/proc/$$/stat")" "$1" > "$0.new" '
    '&& mv "$0.new" "$0" && shift && exec "$@" >> "$LOCALCLUSTER_LOG" 2>&1'
)


@dataclass(frozen=True, slots=True)
class Record:
    """What identifies a process we started; `digest` tells whether it still runs today's configuration."""

    pid: int
    started: int
    boot: str
    program: str
    digest: str


def boot_id() -> str:
    """Changes with each boot of the machine; pids and start times of another boot mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def started_at(pid: int) -> int | None:
    """Kernel start time of a living process in clock ticks; None where it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _program_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return words[0].decode("utf-8", "replace")


def is_ours(record: Record) -> bool:
    """True while the recorded process lives and is the very one that was started."""
    if record.boot != boot_id() or started_at(record.pid) != record.started:
        return False
    return _program_of(record.pid) in {record.program, "sh", ""}  # the last two: just before and during its exec


def read_record(path: Path) -> Record | None:
    """The record at `path`; None where there is none, or one that cannot be read."""
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def running(path: Path) -> Record | None:
    """The record at `path` if its process is alive."""
    record = read_record(path)
    return record if record is not None and is_ours(record) else None


def digest_of(argv: Sequence[str], environment: Mapping[str, str], files: Mapping[Path, str]) -> str:
    """Changes when anything changes that the process was started with."""
    rows = [list(argv), sorted(environment.items()), sorted((str(path), text) for path, text in files.items())]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def start(record_path: Path, argv: Sequence[str], environment: Mapping[str, str], log: Path, digest: str) -> Record:
    """Start `argv` in a session of its own, with only `environment` and the basics, and wait for its record.

    The environment is not inherited: a proxy setting of the shell must not send cluster traffic out of the machine.
    """
    record_path.unlink(missing_ok=True)
    log.touch()
    rest = json.dumps({"boot": boot_id(), "program": argv[0], "digest": digest})[1:-1]
    basics = {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOME": str(Path.home()),
        "LANG": "C.UTF-8",
    }
    run_into(
        log.with_suffix(".start"),
        ["setsid", "--fork", "sh", "-c", _RECORD_THEN_EXEC, record_path, rest, *argv],
        environment={**basics, **environment, "LOCALCLUSTER_LOG": str(log)},
        timeout_seconds=10,
    )
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if record := read_record(record_path):
            return record
        time.sleep(0.01)
    raise TimeoutError(f"{argv[0]} left no record at {record_path} within 5 s")


def send(record: Record, number: signal.Signals) -> bool:
    """Signal the recorded process and nobody else; False where it is gone."""
    handle = _open_if_ours(record)
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def stop(record: Record, grace_seconds: float) -> bool:
    """Ask the process to end, then make it. True where it was running; returns after it is gone."""
    handle = _open_if_ours(record)
    if handle is None:
        return False
    try:
        signal.pidfd_send_signal(handle, signal.SIGCONT)  # one that a test has frozen could not hear the next
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not _ended(handle, grace_seconds):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            if not _ended(handle, 10):
                raise TimeoutError(f"process {record.pid} ({record.program}) does not die")
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    return True


def _open_if_ours(record: Record) -> int | None:
    """A descriptor that stays with the process; taken before the check, so that the pid cannot change hands between."""
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return None
    if is_ours(record):
        return handle
    os.close(handle)
    return None


def _ended(handle: int, seconds: float) -> bool:
    return bool(select.select([handle], [], [], seconds)[0])
