"""What else runs on the machine: how much of the processor it takes, and how to keep it out of a measurement."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from serving_bench.process import Process

_LOWEST_REALTIME = os.sched_param(1)
_ORDINARY = os.sched_param(0)


class Condition(StrEnum):
    """Who gets the processor first.

    BEFORE_OTHERS: this process and the servers, before every ordinary program (SCHED_RR). Among themselves they share
    the cores as equals, which flatters nobody: a thread that wakes up waits until another one blocks or had its turn.
    """

    BESIDE_OTHERS = "beside other programs"
    BEFORE_OTHERS = "before all other programs"


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds so far: of the clock, of all cores' work, and of the work of the benchmark and its servers."""

    clock: float
    work: float
    own: float


class Neighbours:
    """Adds up the processor time that others took while something was measured."""

    def __init__(self, servers: Sequence[Process]) -> None:
        self._servers = servers
        self._stretches: list[tuple[Moment, Moment]] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A stretch that counts."""
        begin = self._moment()
        yield
        self._stretches.append((begin, self._moment()))

    @property
    def share(self) -> float:
        """Their share of the processor time that the machine has, 0 to 1, over all watched stretches."""
        return others_share(self._stretches, os.cpu_count() or 1)

    def _moment(self) -> Moment:
        own = time.process_time() + sum(server.cpu_seconds for server in self._servers)
        return Moment(time.monotonic(), _work_of_all(), own)


def others_share(stretches: Sequence[tuple[Moment, Moment]], cores: int) -> float:
    """What of the cores' time went into work that was not the benchmark's own, 0 to 1."""
    elapsed = sum(end.clock - begin.clock for begin, end in stretches)
    others = sum(end.work - begin.work - (end.own - begin.own) for begin, end in stretches)
    return round(max(0.0, others) / (elapsed * cores), 2)


def _work_of_all() -> float:
    """User, nice and system time of all processes on all cores so far, and what the hypervisor took (proc(5))."""
    fields = [int(field) for field in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[7]) / os.sysconf("SC_CLK_TCK")


def conditions(servers: Sequence[Process]) -> Iterator[Condition]:
    """Each condition that is permitted here, in force while the loop's body runs."""
    yield Condition.BESIDE_OTHERS
    pids = (os.getpid(), *(server.pid for server in servers))
    try:
        _schedule(pids, os.SCHED_RR, _LOWEST_REALTIME)
    except PermissionError:
        return
    try:
        yield Condition.BEFORE_OTHERS
    finally:
        _schedule(pids, os.SCHED_OTHER, _ORDINARY)


def _schedule(pids: Iterable[int], policy: int, parameter: os.sched_param) -> None:
    """Every thread: the policy belongs to threads, and those that they start inherit it."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                os.sched_setscheduler(int(task.name), policy, parameter)
            except ProcessLookupError:
                continue
