"""The planner's tables of docs/how-it-decides.md are those that the planner makes, and the others have their places."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.judge import tables

PAGE = Path(__file__).parents[3] / "docs" / "how-it-decides.md"
REPORT = {
    "false_rollbacks": [
        {"rps": rps, "scenario": "constant", "judge": {"share": 0.0044}, "rule_of_5": 0.004, "rule_of_3": 0.37}
        for rps in (1, 10, 100, 1000)
    ],
    "late_onset": [{"good_minutes": 10, "median_seconds": 38.0, "quantile95_seconds": 67.0}] * 3,
}


def test_the_tables_replace_those_of_the_page_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    shutil.copy(PAGE, page)
    tables.write(REPORT, page)
    before, after = PAGE.read_text().splitlines(), page.read_text().splitlines()
    assert ["| constant |" + " **0.44** (0.4, 37) |" * 4, "| 10 |" + " 38 s (95 %: 67 s) |" * 3] == [
        line for line in after if line not in before or line.startswith("| 10 |")
    ]
    assert [line for line in before if not line.startswith("|")] == [line for line in after if not line.startswith("|")]


def test_a_page_without_the_tables_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Empty\n")
    with pytest.raises(ValueError, match="% rolled back"):
        tables.write(REPORT, page)
