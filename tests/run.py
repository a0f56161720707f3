"""All checks and tests in one go, or the stages that are named: check, unit, integration, e2e.

The cluster is built and brought up and the models are trained in the background. Tests that need no cluster run beside
that and beside those on the cluster, on what these leave of the machine. What is about seconds comes last and alone.
Each stage leaves a JUnit file and its output in `build/`. The last line counts all tests, as pytest
does, and as an error each stage that failed before a test could; the exit status is 0 where every stage passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
REPORTS = BUILD / "junit"
LOGS = BUILD / "logs"
STAGES = ("check", "unit", "integration", "e2e")
PROGRAMS = Path(sys.executable).parent
PROGRESS_SECONDS = 30.0
CHECK_SECONDS = 600.0
JUNIT_KEYS = ("tests", "failures", "errors", "skipped")
INFERENCE_PYTHON = ROOT / ".venv-inference" / "bin" / "python"
FOLDERS = {"MYPYPATH": "operator:deploy/local:inference-image"}
CHECKS = (
    ("ruff", "check", "."),
    ("mypy",),
    ("mypy", "--strict", "deploy/local/demo", "deploy/local/localcluster", "docs/hooks"),
    ("lint-imports",),
)
BESIDE_NICENESS = 10
NEITHER = ("--ignore=tests/e2e", "--ignore=tests/bench", "--ignore=tests/publish")


@dataclass(frozen=True, slots=True)
class Suite:
    """One run of pytest."""

    name: str
    words: tuple[str, ...]
    python: str = sys.executable
    limit_seconds: float = 1800.0


UNIT = (Suite("unit", ("tests", *NEITHER, "-m", "not integration and not faults and not e2e", "-n", "2")),)
INFERENCE = (Suite("inference", ("inference-image/tests",), str(INFERENCE_PYTHON)),)
INTEGRATION = (Suite("integration", ("tests", *NEITHER, "-m", "integration", "-n", "2")),)
E2E = (
    Suite("e2e", ("tests/e2e", "--ignore=tests/e2e/alone", "--ignore=tests/e2e/quiet", "-n", "4", "--dist=worksteal")),
    Suite("e2e-alone", ("tests/e2e/alone",)),
)
"""The second kills or removes what all tests on the cluster share."""
QUIET = (Suite("e2e-quiet", ("tests/e2e/quiet",)), Suite("local-cluster", ("tests/local", "-m", "e2e")))
"""These measure seconds, or kill parts of the cluster: nothing else may run then."""


def say(text: str) -> None:
    """One line, at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Preparation:
    """Cluster, models, images and operator, made in the background."""

    def __init__(self, words: Sequence[str] = ("-m", "demo", "prepare")) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self._log = LOGS / "prepare.log"
        self._began = time.monotonic()
        with self._log.open("w", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        threading.Thread(target=self._attend, name="preparation", daemon=True).start()

    def _attend(self) -> None:
        while not self._ended_within(PROGRESS_SECONDS):
            lines = self._log.read_text(encoding="utf-8").strip().splitlines()
            say(f"[prepare, {time.monotonic() - self._began:.0f} s] {lines[-1] if lines else 'starting'}")

    def _ended_within(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=seconds)
        return self._process.returncode is not None

    def wait(self, limit_seconds: float = 3000.0) -> bool:
        """True where all is there; the end of the log is shown where it is not."""
        try:
            status = self._process.wait(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            say(f"[prepare] not done after {limit_seconds:.0f} s")
            return False
        say(f"[prepare] {'done' if status == 0 else 'failed'} after {time.monotonic() - self._began:.0f} s")
        if status != 0:
            say("\n".join(self._log.read_text(encoding="utf-8").splitlines()[-30:]))
        return status == 0


def check() -> list[str]:
    """Style, types and layers; all of them, whatever the first says. Those that failed."""
    return [" ".join(words) for words in CHECKS if not _holds(words)]


def _holds(words: tuple[str, ...]) -> bool:
    say(f"[check] {' '.join(words)}")
    command = [PROGRAMS / words[0], *words[1:]]
    try:
        done = subprocess.run(command, cwd=ROOT, check=False, timeout=CHECK_SECONDS, env={**os.environ, **FOLDERS})
    except subprocess.TimeoutExpired:
        say(f"[check] not done after {CHECK_SECONDS:.0f} s")
        return False
    return done.returncode == 0


def run(suite: Suite, output: IO[str] | None = None, niceness: int = 0) -> bool:
    """One run of pytest; its output is shown, or goes to a file."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{suite.name}.xml"
    report.unlink(missing_ok=True)
    say(f"[{suite.name}] pytest {' '.join(suite.words)}")
    if not Path(suite.python).exists():
        say(f"[{suite.name}] {suite.python} is not there; `make test` makes it")
        return False
    words = ["nice", f"-n{niceness}", suite.python, "-m", "pytest", "-q"]
    words += [f"--junit-xml={report}", f"-o=junit_suite_name={suite.name}"]
    try:
        done = subprocess.run(
            [*words, *suite.words],
            cwd=ROOT,
            check=False,
            timeout=suite.limit_seconds,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
        )
    except subprocess.TimeoutExpired:
        say(f"[{suite.name}] not done after {suite.limit_seconds:.0f} s")
        return False
    return done.returncode == 0 and report.exists()


def run_all(suites: Sequence[Suite]) -> list[str]:
    """All of them, whatever the first says. Those that failed."""
    return [suite.name for suite in suites if not run(suite)]


class Beside:
    """Suites in the background, one by one, on what others leave of the machine; `wait` shows what they said."""

    def __init__(self) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._runs: list[tuple[Suite, Future[bool]]] = []

    def add(self, suites: Sequence[Suite]) -> None:
        """They run after those that were added before."""
        self._runs += [(suite, self._pool.submit(self._run, suite)) for suite in suites]

    def wait(self) -> list[str]:
        """Those that failed."""
        failed = []
        for suite, ran in self._runs:
            if not ran.result():  # each run has a limit of its own
                failed.append(suite.name)
            say(self._log(suite).read_text(encoding="utf-8"))
        self._pool.shutdown()
        return failed

    def _run(self, suite: Suite) -> bool:
        with self._log(suite).open("w", encoding="utf-8") as output:
            return run(suite, output, BESIDE_NICENESS)

    def _log(self, suite: Suite) -> Path:
        return LOGS / f"{suite.name}.log"


def run_beside_the_cluster(stages: Sequence[str]) -> list[str]:
    """These stages; what needs no cluster runs on what the others leave of the machine. Those that failed."""
    preparation, beside = Preparation(), Beside()
    beside.add(UNIT if "unit" in stages else ())
    failed = check() if "check" in stages else []
    is_up = preparation.wait()
    failed += [] if is_up else ["prepare"]
    beside.add(INFERENCE if "unit" in stages else ())  # the models of the preparation
    beside.add(INTEGRATION if "integration" in stages and is_up else ())
    with_cluster = "e2e" in stages and is_up
    failed += run_all(E2E if with_cluster else ())
    failed += beside.wait()
    failed += run_all(QUIET if with_cluster else ())
    return failed


def counts_of(name: str) -> Counter[str]:
    """Tests of a suite by how they ended; nothing where its report is missing or was cut off."""
    counts: Counter[str] = Counter()
    with suppress(OSError, ET.ParseError):
        for suite in ET.parse(REPORTS / f"{name}.xml").getroot().iter("testsuite"):  # noqa: S314 - our own file
            tests, failed, errors, skipped = (int(suite.get(key, "0")) for key in JUNIT_KEYS)
            counts.update(failed=failed, errors=errors, skipped=skipped, passed=tests - failed - errors - skipped)
    return counts


def closing_line(seconds: float, failed: Sequence[str]) -> str:
    """The line with which pytest ends, over all suites. Of what failed, each that no report tells of is an error."""
    counts: Counter[str] = Counter()
    for path in REPORTS.glob("*.xml"):
        counts += counts_of(path.stem)
    for name in failed:
        of_name = counts_of(name)
        if not of_name["failed"] and not of_name["errors"]:
            counts["errors"] += 1
    told = ", ".join(f"{counts[word]} {word}" for word in ("failed", "passed", "skipped", "errors") if counts[word])
    return f" {told or 'no tests ran'} in {seconds:.2f}s ".center(80, "=")


def main(arguments: Sequence[str]) -> int:
    """Run the stages that are named, or all of them."""
    stages = [stage for stage in STAGES if stage in arguments] if arguments else list(STAGES)
    if set(arguments) - set(STAGES):
        say(f"stages are {', '.join(STAGES)}")
        return 2
    began = time.monotonic()
    for old in REPORTS.glob("*.xml"):
        old.unlink()
    if {"integration", "e2e"} & set(stages):
        failed = run_beside_the_cluster(stages)
    else:
        failed = [*(check() if "check" in stages else []), *run_all(UNIT + INFERENCE if "unit" in stages else ())]
    if failed:
        say(f"failed: {', '.join(failed)}")
    if failed or stages != ["check"]:
        say(closing_line(time.monotonic() - began, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
