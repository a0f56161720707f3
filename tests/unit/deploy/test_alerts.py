"""Alert rules: about metrics that there are, and tried by promtool, which comes with the local cluster's Prometheus."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrelease import errors
from modelrelease.cli.reference import metrics

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "deploy" / "monitoring"


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.fail("there is no promtool on this machine; `apt-get install prometheus`")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.integration
def test_the_rules_do_what_their_tests_say() -> None:
    done = promtool("test", "rules", MONITORING / "alerts.test.yaml")
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.integration
def test_the_tests_of_the_rules_can_fail(tmp_path: Path) -> None:
    """With every threshold out of reach, so that nothing fires any more."""
    shutil.copy(MONITORING / "alerts.test.yaml", tmp_path)
    rules = (MONITORING / "alerts.yaml").read_text(encoding="utf-8")
    broken = re.sub(
        r"absent\((.*?)\)", r"absent(\1) > 9000", re.sub(r"(>|==) [\d.]+$", "> 9000", rules, flags=re.MULTILINE)
    )
    (tmp_path / "alerts.yaml").write_text(broken, encoding="utf-8")
    done = promtool("test", "rules", tmp_path / "alerts.test.yaml")
    assert done.returncode != 0
    silent = {name for name in alerts() if f"alertname: {name}," in done.stdout + done.stderr}
    assert set(alerts()) == silent, "each alert has a test that sees it fire"


def test_the_rules_ask_for_metrics_that_the_operator_has() -> None:
    known = set(re.findall(r"^\| `(\w+)`", metrics.page(), re.MULTILINE))
    asked = {name for rule in alerts().values() for name in re.findall(r"\bmodelrelease_\w+", rule["expr"])}
    assert set() == {re.sub("_(bucket|count|sum)$", "", name) for name in asked} - known


def test_errors_that_the_operator_expects_are_no_defects() -> None:
    pattern = re.search(r'kind!~"([^"]+)"', alerts()["ModelReleaseDefect"]["expr"])
    assert pattern is not None
    expected = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.ReleaseError) and kind is not errors.ReleaseError
    }
    assert expected | {"TimeoutError"} == set(pattern[1].split("|"))


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_in_sentences_what_is_wrong(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert all(rule["annotations"][part].rstrip().endswith(".") for part in ("summary", "description"))
