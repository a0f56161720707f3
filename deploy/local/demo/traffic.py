"""The load generator as its parent sees it: started, read while it runs, stopped, and accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from demo.errors import DemoError, OverdueError
from demo.load import LONGEST_SECONDS, REQUEST_TIMEOUT_SECONDS
from demo.records import Record, parse_record

_PACKAGES = Path(__file__).resolve().parent.parent
_READ_SECONDS = 0.1
_KILLED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where the traffic goes: the gateway's address on this machine, the host that its route knows, real pictures."""

    gateway: str
    host: str
    pictures: Path

    @property
    def url(self) -> str:
        return f"{self.gateway.rstrip('/')}/predict"


@dataclass(frozen=True, slots=True)
class Account:
    """What the load generator says about itself."""

    sent: int
    cpu_microseconds_per_request: float
    worst_late_milliseconds: float


class Traffic:
    """Steady traffic while the `with` block runs; `records` grows as answers come in."""

    def __init__(self, target: Target, rate: float, output: Path, *, seconds: float = LONGEST_SECONDS) -> None:
        self.target, self.rate, self.output = target, rate, output
        self.records: list[Record] = []
        """All finished requests so far, in the order in which they finished. Only ever appended to."""
        self.account: Account | None = None
        self._seconds = seconds
        self._done = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"traffic of {target.host}", daemon=True)

    def __enter__(self) -> Traffic:
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text("", encoding="utf-8")
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            _command(self.target, self.rate, self._seconds, self.output),
            env={**os.environ, "PYTHONPATH": str(_PACKAGES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> Account:
        """Send nothing more, wait for what is under way, and read the rest."""
        if self.account is not None:
            return self.account
        if self._process.poll() is None:
            self._process.terminate()
        try:
            said, complaints = self._process.communicate(timeout=REQUEST_TIMEOUT_SECONDS + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate(timeout=_KILLED_SECONDS)
            raise OverdueError(f"the load generator for {self.target.host} did not end; it was killed") from None
        finally:
            self._done.set()
            self._reader.join(timeout=5)
        if self._process.returncode != 0:
            raise DemoError(f"the load generator for {self.target.host} failed: {complaints.strip()[-400:]}")
        self.account = Account(**json.loads(said))
        return self.account

    def check_alive(self) -> None:
        """Raise where the generator ended by itself: silence must not be taken for a quiet service."""
        if self._process.poll() is not None and self.account is None:
            raise DemoError(f"the load generator for {self.target.host} ended early ({self._process.returncode})")

    def since(self, moment: float) -> list[Record]:
        """Finished requests that were due at `moment` or later; looks only at the end of the list."""
        margin = moment - REQUEST_TIMEOUT_SECONDS - 1
        recent = []
        for record in reversed(self.records[:]):
            if record.ended_at < moment or record.due_at < margin:
                break
            if record.due_at >= moment:
                recent.append(record)
        recent.reverse()
        return recent

    def _read(self) -> None:
        with self.output.open(encoding="utf-8") as lines:
            rest = ""
            while not self._done.is_set():
                rest = self._take(lines, rest)
                time.sleep(_READ_SECONDS)
            self._take(lines, rest)

    def _take(self, lines: TextIO, rest: str) -> str:
        """Append the whole lines that are there now; returns the beginning of one that is still being written."""
        *whole, rest = (rest + lines.read()).split("\n")
        self.records.extend(parse_record(line) for line in whole)
        return rest


def _command(target: Target, rate: float, seconds: float, output: Path) -> Sequence[str]:
    options = {
        "--url": target.url,
        "--host": target.host,
        "--rate": f"{rate:g}",
        "--seconds": f"{seconds:g}",
        "--pictures": str(target.pictures),
        "--output": str(output),
        "--parent": str(os.getpid()),
    }
    return [sys.executable, "-m", "demo.load", *(word for pair in options.items() for word in pair)]
