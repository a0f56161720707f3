"""The judge is usable without the operator: the program among the examples does it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import modelrelease

ROOT = Path(__file__).parents[3]


def judged(windows: list[str], weight: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "judge.py", str(weight)],
        input="".join(f"{window}\n" for window in windows),
        env=os.environ | {"PYTHONPATH": str(ROOT / "operator")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_a_bad_canary_is_rolled_back_and_nothing_is_said_after_it() -> None:
    said = judged(["950 5 50 0", "940 4 51 9", "940 4 51 9", "940 4 51 9"], weight=5)
    assert 3 == len(said)
    assert [True, True] == [line.endswith("wait") for line in said[:2]]
    assert said[2].endswith("roll back, errors")


def test_a_good_canary_is_promoted() -> None:
    said = judged(["500 2 500 2"] * 120, weight=50)
    assert {"wait", "good enough for more traffic"} == {line.rpartition(": ")[2] for line in said}
    assert said[-1].endswith("good enough for more traffic")


def test_its_types_are_there_for_those_who_use_it() -> None:
    assert (Path(modelrelease.__file__).parent / "py.typed").is_file()
