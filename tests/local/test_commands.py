"""A command that fails says what it said."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcluster.commands import run, run_into, tail
from localcluster.errors import CommandFailed


def test_output_and_input_pass_through() -> None:
    assert run(["cat"], stdin="hello") == "hello"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sh", "-c", "echo first >&2; echo why >&2; exit 4"], r"failed \(4\):\nfirst\nwhy"),
        (["no-such-program-here"], "could not be run"),
    ],
)
def test_failures_are_named(words: list[str], message: str) -> None:
    with pytest.raises(CommandFailed, match=message):
        run(words)


def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(CommandFailed, match="did not end within 0 s"):
        run(["sleep", "30"], timeout_seconds=0.2)


def test_long_output_goes_to_a_file_that_the_failure_names(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "build.log"

    with pytest.raises(CommandFailed, match=str(log)) as caught:
        run_into(log, ["sh", "-c", "seq 1 100; exit 1"], timeout_seconds=10)

    assert "81\n" in str(caught.value)
    assert "80\n" not in str(caught.value)
    assert tail(log, lines=2) == "99\n100"
