"""All checks and tests in one go, or the stages that are named: check, unit, integration, e2e.

While the tests run that need no cluster, the cluster is built and brought up and the models are trained in the
background. Each stage leaves a JUnit file and its output in `build/`. The last line counts all tests, as pytest does;
the exit status is 0 where every stage passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
REPORTS = BUILD / "junit"
LOGS = BUILD / "logs"
STAGES = ("check", "unit", "integration", "e2e")
PROGRAMS = Path(sys.executable).parent
PROGRESS_SECONDS = 30.0
INFERENCE_PYTHON = ROOT / ".venv-inference" / "bin" / "python"
FOLDERS = {"MYPYPATH": "operator:deploy/local:inference-image"}
CHECKS = (
    ("ruff", "check", "."),
    ("mypy",),
    ("mypy", "--strict", "deploy/local/demo", "deploy/local/localcluster", "docs/hooks"),
    ("lint-imports",),
)
NEITHER = ("--ignore=tests/e2e", "--ignore=tests/bench")


@dataclass(frozen=True, slots=True)
class Suite:
    """One run of pytest."""

    name: str
    words: tuple[str, ...]
    python: str = sys.executable
    limit_seconds: float = 1800.0


UNIT = (
    Suite("unit", ("tests", *NEITHER, "-m", "not integration and not faults and not e2e", "-n", "2")),
    Suite("inference", ("inference-image/tests",), str(INFERENCE_PYTHON)),
)
INTEGRATION = (Suite("integration", ("tests", *NEITHER, "-m", "integration", "-n", "2")),)
E2E = (
    Suite("e2e", ("tests/e2e", "--ignore=tests/e2e/alone", "-n", "3", "--dist=worksteal")),
    Suite("e2e-alone", ("tests/e2e/alone",)),
    Suite("local-cluster", ("tests/local", "-m", "e2e")),
)


def say(text: str) -> None:
    """One line, at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Preparation:
    """Cluster, models, images and operator, made in the background."""

    def __init__(self) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self._log = LOGS / "prepare.log"
        self._began = time.monotonic()
        with self._log.open("w", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "demo", "prepare"], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        threading.Thread(target=self._report, name="preparation", daemon=True).start()

    def _report(self) -> None:
        while self._process.poll() is None:
            time.sleep(PROGRESS_SECONDS)
            lines = self._log.read_text(encoding="utf-8").strip().splitlines()
            say(f"[prepare, {time.monotonic() - self._began:.0f} s] {lines[-1] if lines else 'starting'}")

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


def check() -> bool:
    """Style, types and layers; all of them, whatever the first says."""
    passed = True
    for words in CHECKS:
        say(f"[check] {' '.join(words)}")
        done = subprocess.run(
            [PROGRAMS / words[0], *words[1:]], cwd=ROOT, check=False, timeout=600, env={**os.environ, **FOLDERS}
        )
        passed = passed and done.returncode == 0
    return passed


def run(suite: Suite) -> bool:
    """One run of pytest; its output is shown."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{suite.name}.xml"
    report.unlink(missing_ok=True)
    say(f"[{suite.name}] pytest {' '.join(suite.words)}")
    if not Path(suite.python).exists():
        say(f"[{suite.name}] {suite.python} is not there; `make test` makes it")
        return False
    words = [suite.python, "-m", "pytest", "-q", f"--junit-xml={report}", f"-o=junit_suite_name={suite.name}"]
    try:
        done = subprocess.run([*words, *suite.words], cwd=ROOT, check=False, timeout=suite.limit_seconds)
    except subprocess.TimeoutExpired:
        say(f"[{suite.name}] not done after {suite.limit_seconds:.0f} s")
        return False
    return done.returncode == 0


def run_all(suites: Sequence[Suite]) -> bool:
    """All of them, whatever the first says."""
    return not sum(not run(suite) for suite in suites)


def closing_line(seconds: float) -> str:
    """The line with which pytest ends, over all suites."""
    counts = {"failed": 0, "passed": 0, "skipped": 0, "errors": 0}
    for path in REPORTS.glob("*.xml"):
        for suite in ET.parse(path).getroot().iter("testsuite"):  # noqa: S314 - our own file
            keys = ("tests", "failures", "errors", "skipped")
            tests, failed, errors, skipped = (int(suite.get(key, "0")) for key in keys)
            counts["failed"] += failed
            counts["errors"] += errors
            counts["skipped"] += skipped
            counts["passed"] += tests - failed - errors - skipped
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
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
    preparation = Preparation() if {"integration", "e2e"} & set(stages) else None
    passed = check() if "check" in stages else True
    if "unit" in stages:
        passed = run_all(UNIT) and passed
    if preparation is not None and not preparation.wait():
        passed, stages = False, []
    for stage, suites in (("integration", INTEGRATION), ("e2e", E2E)):
        if stage in stages:
            passed = run_all(suites) and passed
    if stages != ["check"]:
        say(closing_line(time.monotonic() - began))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
