"""The tables of ``docs/how-it-decides.md``, as Markdown: what was simulated, and what the planner says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelrelease.judge import Margin, Rates, Settings, requests_to_detect, requests_to_pass

from .traffic import slower_share, threshold

TRAFFIC = (1, 10, 50, 200, 1000)
BUGS = (("0.5 % → 1 %", 0.01), ("0.5 % → 1.5 %", 0.015), ("0.5 % → 5 %", 0.05), ("0.5 % → 20 %", 0.2))


def shown(seconds: float) -> str:
    """A time with one or two significant figures."""
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600), (math.inf, "d", 86_400)):
        if seconds < limit:
            value = seconds / size
            return f"{value:.0f} {unit}" if value >= 10 or unit == "s" else f"{value:.1f} {unit}"
    return "never"


def detection(weight: int) -> Iterator[str]:
    """Mean time to the rollback, and the time that is enough in 95 of 100 cases."""
    settings, kappa = Settings(), weight / (100 - weight)
    margin = Margin(settings.errors.max_ratio, settings.errors.max_increase)
    yield from _headed(f"errors, at {weight} %", [f"{rps} rps" for rps in TRAFFIC])
    for name, rate in BUGS:
        found = requests_to_detect(settings, Rates(rate, 0.005, kappa), margin)
        cells = [(found.mean / (rps * weight / 100), found.quantile(0.95) / (rps * weight / 100)) for rps in TRAFFIC]
        yield f"| {name} | " + " | ".join(f"{shown(mean)}, {shown(late)}" for mean, late in cells) + " |"


def gates() -> Iterator[str]:
    """Mean time until an identical canary passes each gate, by its slowest metric."""
    settings = Settings()
    yield from _headed("gate", [f"{rps} rps" for rps in TRAFFIC])
    totals = [0.0] * len(TRAFFIC)
    for weight, following in ((1, 5), (5, 20), (20, 50), (50, 100)):
        harm = 100 * settings.harm_budget / following if following < 100 else 0.0
        kappa = weight / (100 - weight)
        slow = slower_share(threshold().bound_ms)
        needed = max(
            requests_to_pass(settings, Rates(0.005, 0.005, kappa), Margin(1.1, max(harm, 0.001))).mean,
            requests_to_pass(settings, Rates(slow, slow, kappa), Margin(threshold().ratio, harm)).mean,
        )
        times = [max(60.0, needed / (rps * weight / 100)) for rps in TRAFFIC]
        totals = [total + one for total, one in zip(totals, times, strict=True)]
        yield f"| {weight} % → {following} % | " + " | ".join(map(shown, times)) + " |"
    yield "| **together** | " + " | ".join(f"**{shown(total)}**" for total in totals) + " |"


def false_rollbacks(report: dict[str, Any]) -> Iterator[str]:
    """Percentages of identical canaries that are rolled back; in brackets the rules of 5 and of 3 bad minutes."""
    rows = report["false_rollbacks"]
    yield from _headed("% rolled back", [f"{rps} rps" for rps in dict.fromkeys(row["rps"] for row in rows)])

    def cell(row: dict[str, Any]) -> str:
        rules = f"{_percent(row['rule_of_5'])}, {_percent(row['rule_of_3'])}"
        return f"**{_percent(row['judge']['share'], 2)}** ({rules})"

    yield from _lines(rows, "scenario", cell)


def late_onset(report: dict[str, Any]) -> Iterator[str]:
    """From the onset of a bug to the verdict: median, and what is enough in 95 of 100 cases."""
    yield from _headed("good minutes before", ["5 % errors", "20 % errors", "all fail"])
    yield from _lines(
        report["late_onset"],
        "good_minutes",
        lambda row: f"{row['median_seconds']:.0f} s (95 %: {row['quantile95_seconds']:.0f} s)",
    )


def _lines(rows: list[dict[str, Any]], name: str, cell: Callable[[dict[str, Any]], str]) -> Iterator[str]:
    """A line for each value of the column `name`, with a cell for each row that has it."""
    for value in dict.fromkeys(row[name] for row in rows):
        yield f"| {value} | " + " | ".join(cell(row) for row in rows if row[name] == value) + " |"


def write(report: dict[str, Any], page: Path) -> None:
    """Put the tables in the places of those with the same first lines.

    Raises:
        ValueError: the page has no such table.
    """
    lines = page.read_text().splitlines()
    for table in (false_rollbacks(report), late_onset(report), detection(1), detection(20), gates()):
        rows = list(table)
        begins = lines.index(rows[0])
        ends = next(index for index in range(begins, len(lines)) if not lines[index].startswith("|"))
        lines[begins:ends] = rows
    page.write_text("\n".join(lines) + "\n")


def summary(report: dict[str, Any]) -> Iterator[str]:
    """The figures that the text of the page names."""
    ratios = [row["ratio"] for row in report["detection"]]
    yield f"detection: {min(ratios):.2f} to {max(ratios):.2f}, mean {sum(ratios) / len(ratios):.2f} times the bound"
    highest = max(row["judge"]["upper95"] for row in report["false_rollbacks"])
    yield f"false rollbacks: highest upper 95 % limit {highest:.2%}"
    gate = [row["ratio"] for row in report["promotion"]]
    wrong = [row["wrong_at_margin"]["share"] for row in report["promotion"]]
    yield f"promotion: {min(gate):.2f} to {max(gate):.2f} times the bound; wrong {min(wrong):.2%} to {max(wrong):.2%}"
    yield f"cost: {report['cost']['cpu_seconds']:.2f} s for {report['cost']['releases']:,} releases"


def _headed(first: str, others: list[str]) -> Iterator[str]:
    yield f"| {first} | " + " | ".join(others) + " |"
    yield "|---|" + "---|" * len(others)


def _percent(share: float, digits: int = 1) -> str:
    return f"{round(100 * share, 0 if share >= 0.01 else digits):g}"
