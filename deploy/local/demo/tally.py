"""How a series of releases ended: rows that are kept as they come, so that a series goes on where it was stopped."""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from modelrelease.api.status import Phase

MEDIAN_LIMIT_SECONDS = 5.0
"""From the first failed answer of a canary that turned worse to its last answer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One release of a series, as the operator and the clients saw it."""

    lane: str
    is_bad: bool
    rate: float
    """Requests per second, both arms together."""
    outcome: str
    reason: str
    seconds: float
    stable_requests: int
    stable_errors: int
    canary_requests: int
    canary_errors: int
    breach_to_zero_seconds: float | None = None
    weight_zero_after_seconds: float | None = None


class Tally:
    """The rows in a file, one release each; written after each release, by several lanes at once."""

    def __init__(self, path: Path, settings: dict[str, Any], *, fresh: bool = False) -> None:
        self._path, self._settings, self._lock = path, settings, threading.Lock()
        self.rows: list[Row] = []
        if fresh or not path.exists():
            return
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["settings"] != settings:
            raise DemoError(f"{path} is of a series with other settings; begin afresh with --fresh")
        self.rows = [Row(**row) for row in kept["releases"]]

    def of(self, lane: str) -> list[Row]:
        """What a lane has done already."""
        with self._lock:
            return [row for row in self.rows if row.lane == lane]

    def add(self, row: Row) -> None:
        """Keep a release; the file is replaced as a whole, so that it is never half written."""
        with self._lock:
            self.rows.append(row)
            content = {"settings": self._settings, **summary(self.rows), "releases": [asdict(one) for one in self.rows]}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(".part")
            draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            draft.replace(self._path)
            self._path.with_suffix(".md").write_text("\n".join(table(self.rows)) + "\n", encoding="utf-8")


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """The figures that count."""
    same, bad = ([row for row in rows if row.is_bad is kind] for kind in (False, True))
    seconds = [row.breach_to_zero_seconds for row in bad if row.breach_to_zero_seconds is not None]
    return {
        "identical": {
            "releases": len(same),
            "succeeded": _count(same, Phase.SUCCEEDED),
            "rolled_back": _count(same, Phase.ROLLED_BACK),
        },
        "bad": {
            "releases": len(bad),
            "rolled_back": _count(bad, Phase.ROLLED_BACK),
            "median_breach_to_zero_seconds": statistics.median(seconds) if seconds else None,
            "longest_breach_to_zero_seconds": max(seconds, default=None),
        },
    }


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of a Markdown table: a row for the identical releases of each rate, and one for the bad ones."""
    lines = [
        "| version | requests/s | releases | promoted | rolled back | a release took, median | off the air after |",
        "|---|---|---|---|---|---|---|",
    ]
    for is_bad, rate in sorted({(row.is_bad, row.rate) for row in rows}):
        here = [row for row in rows if (row.is_bad, row.rate) == (is_bad, rate)]
        late = sorted(row.breach_to_zero_seconds for row in here if row.breach_to_zero_seconds is not None)
        off = f"{late[0]:.1f} / {statistics.median(late):.1f} / {late[-1]:.1f} s" if late else ""
        lines.append(
            f"| {'20 % errors' if is_bad else 'identical'} | {rate:g} | {len(here)} | {_count(here, Phase.SUCCEEDED)} "
            f"| {_count(here, Phase.ROLLED_BACK)} | {statistics.median(row.seconds for row in here):.0f} s | {off} |"
        )
    return lines


def judge(rows: Sequence[Row]) -> list[str]:
    """A sentence for each release that did not end as it should, and for limits that do not hold."""
    found = [
        f"{row.lane}: an identical version ended {row.outcome} ({row.reason}) after {row.seconds:.0f} s"
        for row in rows
        if not row.is_bad and row.outcome != Phase.SUCCEEDED
    ]
    found += [
        f"{row.lane}: a version with 20 % errors ended {row.outcome} ({row.reason})"
        for row in rows
        if row.is_bad and row.outcome != Phase.ROLLED_BACK
    ]
    median = summary(rows)["bad"]["median_breach_to_zero_seconds"]
    if median is not None and median > MEDIAN_LIMIT_SECONDS:
        found.append(f"breach to zero: median {median:.2f} s, above {MEDIAN_LIMIT_SECONDS:g} s")
    return found


def _count(rows: Sequence[Row], phase: Phase) -> int:
    return sum(row.outcome == phase for row in rows)
