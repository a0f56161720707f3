"""What is left when the play is over: report.json, the table, and the figures behind them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from demo.result import Result
from demo.traffic import Account


def report(results: Sequence[Result], began: Sequence[float], setup_seconds: float, versions: dict[str, str]) -> Any:
    """The content of report.json; its shape is fixed."""
    rows = [result.row(began_at) for result, began_at in zip(results, began, strict=True)]
    return {"releases": rows, "setup_seconds": round(setup_seconds, 1), "versions": versions}


def details(results: Sequence[Result], account: Account) -> Any:
    """What report.json has no place for: shares of each step, API writes, what the load generator cost."""
    return {
        "load": dataclasses.asdict(account),
        "releases": {
            result.scene.name: {
                "said": result.said,
                "api_writes": result.api_writes,
                "route_writes": result.route_writes,
                "weight_changes": result.weight_changes,
                "takeover_seconds": result.takeover_seconds,
                "sight": dataclasses.asdict(result.sight),
                "bad_answers": None if result.breach is None else result.breach.bad_answers,
                "p99_milliseconds": {
                    "stable": result.stable.p99_milliseconds,
                    "canary": result.canary.p99_milliseconds,
                },
                "spans": [
                    {
                        **dataclasses.asdict(span),
                        "share_percent": span.share_percent,
                        "sampling_error_percent": span.sampling_error_percent,
                    }
                    for span in result.spans
                ],
            }
            for result in results
        },
    }


def write_json(path: Path, content: Any) -> None:
    """Indented, so that people can read it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def table(results: Sequence[Result]) -> Table:
    """One row per release."""
    made = Table(title="Releases, measured at the client", title_justify="left")
    made.add_column("release")
    made.add_column("outcome")
    for heading in ("seconds", "requests", "served canary", "errors stable", "errors canary", "after rollback"):
        made.add_column(heading, justify="right")
    made.add_column("breach to zero", justify="right")
    for result in results:
        breach = "" if result.breach is None else f"{result.breach.seconds:.1f} s"
        style = "" if result.outcome == result.scene.expected else "red"
        made.add_row(
            result.scene.name,
            result.outcome,
            f"{result.seconds:.0f}",
            str(result.requests),
            str(result.canary.requests),
            str(result.stable.errors),
            str(result.canary.errors),
            str(result.served_after_rollback),
            breach,
            style=style,
        )
    return made


def shares_table(result: Result) -> Table:
    """Weights and what clients got of them."""
    made = Table(title=f"{result.scene.name}: shares of the new version", title_justify="left")
    for heading in ("weight", "clients got", "± sampling error", "of requests", "for"):
        made.add_column(heading, justify="right")
    for span in result.spans:
        if span.share_percent is None:
            continue
        made.add_row(
            f"{span.weight_percent} %",
            f"{span.share_percent:.2f} %",
            f"{span.sampling_error_percent:.2f}",
            str(span.requests),
            f"{span.until - span.since:.0f} s",
            style="" if span.is_as_expected else "red",
        )
    return made
