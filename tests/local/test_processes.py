"""Only what was started here may be signalled, and nothing that was started may be lost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localcluster import processes
from localcluster.folders import Data
from localcluster.part import wait_until


def sleeper(data: Data, name: str = "sleeper") -> processes.Record:
    return processes.start(data.records / f"{name}.json", ["sleep", "60"], {}, data.logs / f"{name}.log", "d1")


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is not the cluster's."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait(timeout=5)


def test_a_started_process_is_known_by_its_record(data: Data) -> None:
    record = sleeper(data)

    assert processes.running(data.records / "sleeper.json") == record
    assert record.digest == "d1"
    assert os.getsid(record.pid) == record.pid, "it must not end with the session of whoever started it"


def test_stop_ends_it_and_says_whether_there_was_something_to_end(data: Data) -> None:
    record = sleeper(data)

    assert processes.stop(record, grace_seconds=5) is True
    assert processes.started_at(record.pid) is None
    assert processes.stop(record, grace_seconds=5) is False


def test_stop_kills_what_does_not_listen(data: Data) -> None:
    words = ["sh", "-c", "trap '' TERM; echo deaf; while true; do sleep 0.1; done"]
    log = data.logs / "deaf.log"
    record = processes.start(data.records / "deaf.json", words, {}, log, "d1")
    assert wait_until(lambda: log.read_text(encoding="utf-8") == "deaf\n", 5)

    assert processes.stop(record, grace_seconds=0.3) is True
    assert processes.started_at(record.pid) is None


def test_stop_ends_a_frozen_process_in_good_order(data: Data) -> None:
    record = sleeper(data)
    assert processes.send(record, signal.SIGSTOP) is True

    assert processes.stop(record, grace_seconds=5) is True


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"started": 1}, id="the pid was given to another process"),
        pytest.param({"boot": "another"}, id="the machine was started again"),
        pytest.param({"program": "/usr/bin/etcd"}, id="it runs another program"),
    ],
)
def test_a_process_of_somebody_else_is_never_signalled(
    stranger: subprocess.Popen[bytes], change: dict[str, int | str]
) -> None:
    started = processes.started_at(stranger.pid)
    assert started is not None
    true_record = processes.Record(stranger.pid, started, processes.boot_id(), "sleep", "")
    assert processes.is_ours(true_record) is True, "or this test could not fail"
    record = replace(true_record, **change)  # type: ignore[arg-type]

    assert processes.is_ours(record) is False
    assert processes.send(record, signal.SIGKILL) is False
    assert processes.stop(record, grace_seconds=0) is False
    assert stranger.poll() is None


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "etcd.json"
    path.write_text('{"pid": 1', encoding="utf-8")

    assert processes.read_record(path) is None


def test_a_zombie_is_not_alive() -> None:
    process = subprocess.Popen(["true"])
    try:
        assert wait_until(lambda: processes.started_at(process.pid) is None, 5)
        assert process.returncode is None, "not reaped yet"
    finally:
        process.wait(timeout=5)


def test_the_environment_of_the_caller_does_not_leak(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    log = data.logs / "env.log"
    processes.start(data.records / "env.json", ["sh", "-c", "env; sleep 60"], {"GIVEN": "yes"}, log, "")

    assert wait_until(lambda: "GIVEN=yes" in log.read_text(encoding="utf-8"), 5)
    assert "HTTPS_PROXY" not in log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "environment", "text"),
    [(["b"], {}, "x"), (["a"], {"E": "1"}, "x"), (["a"], {}, "y")],
)
def test_the_digest_changes_with_everything_that_matters(
    argv: list[str], environment: dict[str, str], text: str
) -> None:
    path = Path("config.yaml")
    first = processes.digest_of(["a"], {}, {path: "x"})

    assert processes.digest_of(["a"], {}, {path: "x"}) == first
    assert processes.digest_of(argv, environment, {path: text}) != first
