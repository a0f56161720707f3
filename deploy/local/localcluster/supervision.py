"""Keeps the parts of a cluster running across calls: starts what is missing, leaves alone what is well."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from localcluster import processes
from localcluster.commands import tail
from localcluster.errors import PartFailed
from localcluster.folders import Data
from localcluster.part import Part, wait_until
from localcluster.ports import require_free
from localcluster.progress import Report

_SECOND_CHANCE_SECONDS = 15.0


class State(Enum):
    """How a part is, seen from outside."""

    READY = "ready"
    NOT_ANSWERING = "not answering"
    DEAD = "dead"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One row of `status`."""

    name: str
    state: State
    pid: int | None
    addresses: tuple[str, ...]
    log: Path


class Supervision:
    """Parts of the cluster in one data folder, known by the records that they left there."""

    def __init__(self, data: Data) -> None:
        self._data = data

    def log(self, name: str) -> Path:
        return self._data.logs / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """The process id of a running part."""
        record = processes.running(self._record(name))
        return record.pid if record else None

    def running_names(self) -> list[str]:
        """Parts of the data folder whose processes live, whatever the configuration says today."""
        return [path.stem for path in sorted(self._data.records.glob("*.json")) if processes.running(path)]

    def ensure(self, parts: Iterable[Part], report: Report) -> None:
        """All parts run and answer, or PartFailed says which one does not and why. They start at the same time."""
        chosen = tuple(parts)
        with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
            outcomes = [pool.submit(self._ensure_one, part, report) for part in chosen]
        for outcome in outcomes:
            outcome.result()

    def stop(self, part: Part) -> bool:
        """End the part; True where it was running. Its record goes last, so that a kill in between loses nothing."""
        record = processes.read_record(self._record(part.name))
        stopped = record is not None and processes.stop(record, part.stop_seconds)
        self._record(part.name).unlink(missing_ok=True)
        return stopped

    def send(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to the part, e.g. SIGKILL, SIGSTOP or SIGCONT; False where it does not run."""
        record = processes.read_record(self._record(name))
        return record is not None and processes.send(record, number)

    def status(self, part: Part) -> PartStatus:
        """Look at the part now."""
        record = processes.read_record(self._record(part.name))
        if record is None:
            state = State.STOPPED
        elif not processes.is_ours(record):
            state, record = State.DEAD, None
        else:
            state = State.READY if part.ready() else State.NOT_ANSWERING
        return PartStatus(
            part.name, state, record.pid if record else None, tuple(map(str, part.listens)), self.log(part.name)
        )

    def _record(self, name: str) -> Path:
        return self._data.records / f"{name}.json"

    def _ensure_one(self, part: Part, report: Report) -> None:
        with report.part(part.name) as line:
            digest = processes.digest_of(part.argv, part.environment, part.files)
            record = processes.running(self._record(part.name))
            if record and record.digest == digest and self._well(part, record):
                line.show("running")
                return
            if record:
                line.show("restarting")
                processes.stop(record, part.stop_seconds)
            line.show("starting")
            self._start(part, digest)
            line.show("ready")

    def _well(self, part: Part, record: processes.Record) -> bool:
        """A part that is alive may still be starting, or was frozen by a test: it gets a while to answer."""
        processes.send(record, signal.SIGCONT)
        return wait_until(part.ready, _SECOND_CHANCE_SECONDS, alive=lambda: processes.is_ours(record))

    def _start(self, part: Part, digest: str) -> None:
        require_free(part.name, part.listens)
        for path, text in part.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        log = self.log(part.name)
        record = processes.start(self._record(part.name), part.argv, part.environment, log, digest)
        if wait_until(part.ready, part.ready_seconds, alive=lambda: processes.is_ours(record)):
            return
        what = "does not answer" if processes.is_ours(record) else "ended while starting"
        raise PartFailed(f"{part.name} {what}. The end of {log}:\n{tail(log)}")
