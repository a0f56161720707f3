"""``python -m tests.bench.judge [--quick]``: measures the judge, for build/bench/judge.json and the documentation."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import plots, studies, tables
from .young import SETTINGS, young_stable

PROMISED = 0.01

HIGHEST_RATIO = 1.7
"""Mean canary requests to detection over the information bound."""


def main() -> int:
    """Runs all studies; the exit status is 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the releases and no tables")
    parser.add_argument("--output", type=Path, default=Path("build/bench/judge.json"))
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the plots and tables go")
    chosen = parser.parse_args()
    part = 10 if chosen.quick else 1
    report: dict[str, Any] = {"quick": chosen.quick, "seconds": {}}
    parts: dict[str, Callable[[], Any]] = {
        "cost": studies.cost,
        "detection": lambda: studies.detection(1500 // part),
        "promotion": lambda: studies.promotion(4000 // part),
        "late_onset": lambda: studies.late_onset(300 // part),
        "bake": lambda: studies.bake(300 // part),
        "durations": lambda: studies.durations(200 // part),
        "bursts": lambda: studies.bursts(3000 // part),
        "young_stable": lambda: young_stable(1000 // part),
        "false_rollbacks": lambda: studies.false_rollbacks(3000 // part),
    }
    for name, study in parts.items():
        before = time.monotonic()
        report[name] = study()
        report["seconds"][name] = round(time.monotonic() - before, 1)
        sys.stderr.write(f"{name}: {report['seconds'][name]} s\n")
        _save(report, chosen.output)
    report["broken"] = [] if chosen.quick else broken(report)
    _save(report, chosen.output)
    plots.draw(report, (chosen.output.parent if chosen.quick else chosen.docs) / "judge")
    if not chosen.quick:
        tables.write(report, chosen.docs / "how-it-decides.md")
    sys.stdout.write("".join(f"{line}\n" for line in tables.summary(report)))
    done = "too few releases to check the promises\n" if chosen.quick else "all promises kept\n"
    sys.stdout.write("".join(f"broken: {line}\n" for line in report["broken"]) or done)
    return 1 if report["broken"] else 0


def _save(report: dict[str, Any], output: Path) -> None:
    """After each study: where the last one is interrupted, the others are not lost."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")


def broken(report: dict[str, Any]) -> list[str]:
    """Promises that the figures do not keep."""
    lines = [
        f"{row['judge']['share']:.2%} false rollbacks: {row['scenario']} at {row['rps']} requests/s"
        for row in report["false_rollbacks"]
        if row["judge"]["share"] > PROMISED
    ]
    lines += [
        f"{row['judge']['share']:.2%} false rollbacks: bursts of {row['size']} at {row['rps']} requests/s"
        for row in report["bursts"]
        if row["pods"] > 1 and row["judge"]["share"] > PROMISED
    ]
    for row in report["detection"]:
        name = f"{row['effect']} at {row['weight']} %, margins {row['margins']}"
        if row["ratio"] - 2 * row["ratio_standard_error"] > HIGHEST_RATIO:
            lines.append(f"ratio {row['ratio']:.2f}: {name}")
        if abs(row["planned_95_over_simulated"] - 1) > 0.15:
            lines.append(f"planned 95 % off by {row['planned_95_over_simulated'] - 1:+.0%}: {name}")
    for row in report["promotion"]:
        if row["wrong_at_margin"]["share"] > PROMISED:
            lines.append(
                f"{row['wrong_at_margin']['share']:.2%} wrong promotions: {row['metric']} at {row['weight']} %"
            )
        if row["ratio"] > 1.2:
            lines.append(f"gate ratio {row['ratio']:.2f}: {row['metric']} at {row['weight']} %")
    lines += [
        f"{row['rolled_back']:.2%} of canaries that are {row['slowdown']:g} times as slow rolled back, "
        f"{row['history_seconds']} s of history at {row['rps']} requests/s"
        for row in report["young_stable"]
        if row["slowdown"] <= SETTINGS.latency.max_ratio and row["rolled_back"] > PROMISED
    ]
    if report["cost"]["cpu_seconds"] > 0.5:
        lines.append(f"{report['cost']['cpu_seconds']:.2f} s for {report['cost']['releases']} releases")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
