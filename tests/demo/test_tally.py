"""A series of releases is kept as it goes, and told what of it was not as expected."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from demo.errors import DemoError
from demo.series import lanes
from demo.tally import Row, Tally, judge, summary
from modelrelease.api.status import Phase

SAME = Row("same-5", False, 5.0, "Succeeded", "Promoted", 110.0, 500, 2, 80, 1)
BAD = Row("bad-50", True, 50.0, "RolledBack", "ErrorRateHigher", 60.0, 2000, 9, 90, 15, 4.2, 3.9)


def test_a_series_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "releases.json"
    for row in (SAME, BAD):
        Tally(path, {"a": 1}).add(row)
    kept = Tally(path, {"a": 1})
    assert [SAME, BAD] == kept.rows
    assert [BAD] == kept.of("bad-50")
    assert [] == Tally(path, {"a": 1}, fresh=True).rows
    assert 1 == json.loads(path.read_text())["identical"]["succeeded"]


def test_a_series_with_other_settings_is_not_mixed_in(tmp_path: Path) -> None:
    Tally(tmp_path / "releases.json", {"a": 1}).add(SAME)
    with pytest.raises(DemoError, match="--fresh"):
        Tally(tmp_path / "releases.json", {"a": 2})


def test_what_was_not_as_expected_is_said() -> None:
    assert [] == judge([SAME, BAD])
    rolled_back = replace(SAME, outcome=str(Phase.ROLLED_BACK), reason="ErrorRateHigher")
    let_through = replace(BAD, outcome=str(Phase.SUCCEEDED), breach_to_zero_seconds=None)
    late = replace(BAD, breach_to_zero_seconds=5.5)
    found = judge([rolled_back, let_through, late])
    assert ["identical", "20 % errors", "median 5.50 s"] == [
        next(word for word in ("identical", "20 % errors", "median 5.50 s") if word in sentence) for sentence in found
    ]


def test_the_figures_that_count() -> None:
    figures = summary([SAME, SAME, BAD, replace(BAD, breach_to_zero_seconds=6.0)])
    assert {"releases": 2, "succeeded": 2, "rolled_back": 0} == figures["identical"]
    assert 2 == figures["bad"]["rolled_back"]
    assert figures["bad"]["median_breach_to_zero_seconds"] == pytest.approx(5.1)


def test_the_whole_series_is_what_was_promised() -> None:
    whole = lanes(15, 10)
    releases: Counter[tuple[float, bool]] = Counter()
    for lane in whole:
        releases[lane.rate, lane.is_bad] += lane.releases
    assert {(5.0, False): 15, (10.0, False): 15, (20.0, False): 15, (50.0, True): 10} == releases
    assert len(whole) == len({lane.model.namespace for lane in whole})


def test_the_table_has_a_row_for_each_rate_and_the_bad_ones_last(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "releases.json", {})
    for row in (BAD, replace(SAME, rate=20.0, outcome=str(Phase.ROLLED_BACK)), SAME, replace(SAME, seconds=130.0)):
        tally.add(row)
    lines = (tmp_path / "releases.md").read_text().splitlines()
    assert [
        "| identical | 5 | 2 | 2 | 0 | 120 s |  |",
        "| identical | 20 | 1 | 0 | 1 | 110 s |  |",
        "| 20 % errors | 50 | 1 | 0 | 1 | 60 s | 4.2 / 4.2 / 4.2 s |",
    ] == lines[2:]
