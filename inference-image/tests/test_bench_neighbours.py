"""Who else has the processor while the benchmark measures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from serving_bench.neighbours import Condition, Moment, Neighbours, conditions, others_share
from serving_bench.process import Process


@pytest.fixture
def idle() -> Iterator[Process]:
    """A process that does nothing."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield Process(child.pid, 0)
    child.communicate(b"\n", timeout=20)


def may_be_first() -> bool:
    policy = os.sched_getscheduler(0)
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, policy, os.sched_param(0))
    return True


def test_the_second_condition_puts_bench_and_server_first_and_ends_with_the_loop(idle: Process) -> None:
    seen = [(who, os.sched_getscheduler(0), os.sched_getscheduler(idle.pid)) for who in conditions([idle])]
    beside = (Condition.BESIDE_OTHERS, os.SCHED_OTHER, os.SCHED_OTHER)
    before = (Condition.BEFORE_OTHERS, os.SCHED_RR, os.SCHED_RR)
    assert seen == ([beside, before] if may_be_first() else [beside])
    assert (os.sched_getscheduler(0), os.sched_getscheduler(idle.pid)) == (os.SCHED_OTHER, os.SCHED_OTHER)


def test_what_neither_bench_nor_server_did_is_the_others() -> None:
    first = (Moment(clock=0, work=100, own=40), Moment(clock=10, work=112, own=45))
    second = (Moment(clock=50, work=300, own=60), Moment(clock=60, work=310, own=67))
    assert others_share([first, second], cores=2) == 10 / 40


def test_the_bench_itself_is_no_neighbour(idle: Process) -> None:
    """Time is counted in ticks, so that the sum may come out a little below 0."""
    neighbours = Neighbours([idle])
    with neighbours.watched():
        sum(range(1_000_000))
    assert 0 <= neighbours.share <= 1
