"""All checks and tests in one go, or the stages that are named: check, unit, integration, e2e.

While the tests run that need no cluster, the cluster is built and brought up and the models are trained in the
background. Each stage leaves a JUnit file and its output in `build/`. The last line counts all tests, as pytest does,
and as an error each stage that failed before a test could; the exit status is 0 where every stage passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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
NEITHER = ("--ignore=tests/e2e", "--ignore=tests/bench", "--ignore=tests/publish")


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


def nothing() -> None:
    """For stages that need no more than is prepared."""


def build_helm() -> None:
    """Compile Helm where the cache has none, so that the tests of the chart do not wait for it."""
    from localcluster.errors import LocalClusterError  # noqa: PLC0415 - checks alone do without
    from localcluster.folders import Cache  # noqa: PLC0415
    from localcluster.progress import Silent  # noqa: PLC0415
    from localcluster.provision import go  # noqa: PLC0415

    try:
        go.build(Cache.from_environment(), go.HELM, Silent())
    except LocalClusterError as error:
        say(f"[helm] {error}")


class Preparation:
    """Cluster, models, images and operator, made in the background. What comes `then` is waited for by nobody here."""

    def __init__(self, then: Callable[[], None], words: Sequence[str] = ("-m", "demo", "prepare")) -> None:
        self._then = then
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
        if self._process.returncode == 0:
            self._then()

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
    return done.returncode == 0 and report.exists()


def run_all(suites: Sequence[Suite]) -> list[str]:
    """All of them, whatever the first says. Those that failed."""
    return [suite.name for suite in suites if not run(suite)]


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
    then = build_helm if "integration" in stages else nothing
    preparation = Preparation(then) if {"integration", "e2e"} & set(stages) else None
    failed = check() if "check" in stages else []
    if "unit" in stages:
        failed += run_all(UNIT)
    if preparation is not None and not preparation.wait():
        failed.append("prepare")
        stages = ["prepare"]
    for stage, suites in (("integration", INTEGRATION), ("e2e", E2E)):
        if stage in stages:
            failed += run_all(suites)
    if failed:
        say(f"failed: {', '.join(failed)}")
    if failed or stages != ["check"]:
        say(closing_line(time.monotonic() - began, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
