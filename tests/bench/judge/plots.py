"""Plots of the report, and one release's evidence, for ``docs/how-it-decides.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from modelrelease.judge import Settings

from .fleet import Fleet, Side

OURS, THEIRS, OTHER = "#1f6feb", "#c9510c", "#6e7781"


def draw(report: dict[str, Any], folder: Path) -> None:
    """Writes the plots as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in (
        ("false-rollbacks", _false_rollbacks),
        ("detection", _detection),
        ("durations", _durations),
        ("evidence", _evidence),
    ):
        figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
        plot(report, axes)
        figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
        plt.close(figure)


def _false_rollbacks(report: dict[str, Any], axes: Any) -> None:
    rows = [row for row in report["false_rollbacks"] if row["scenario"] in ("constant", "shared incident")]
    labels = [f"{row['rps']} rps\n{row['scenario']}" for row in rows]
    at = np.arange(len(rows))
    for offset, (title, colour, key) in enumerate(
        (("judge", OURS, None), ("5 bad minutes", THEIRS, "rule_of_5"), ("3 bad minutes", OTHER, "rule_of_3"))
    ):
        heights = [100 * (row["judge"]["share"] if key is None else row[key]) for row in rows]
        axes.bar(at + 0.27 * (offset - 1), heights, 0.26, label=title, color=colour)
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--", label="promised: 1 %")
    axes.set_xticks(at, labels, fontsize=7)
    axes.set_ylabel("identical canaries rolled back, %")
    for index, row in enumerate(rows):
        axes.text(index - 0.27, 1.5, f"{100 * row['judge']['share']:.2g}", ha="center", fontsize=7, color=OURS)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=4, frameon=False)


def _detection(report: dict[str, Any], axes: Any) -> None:
    rows = [row for row in report["detection"] if row["margins"] == "none"]
    effects = list(dict.fromkeys(row["effect"] for row in rows))
    for index, weight in enumerate((1, 5, 20, 50)):
        ratios = [row["ratio"] for row in rows if row["weight"] == weight]
        axes.bar(np.arange(len(effects)) + 0.2 * (index - 1.5), ratios, 0.19, label=f"{weight} %")
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xticks(np.arange(len(effects)), effects)
    axes.set_ylabel("mean requests to detect /\ninformation bound")
    axes.set_ylim(0, 2)
    axes.legend(title="weight", ncols=4, loc="upper left")


def _durations(report: dict[str, Any], axes: Any) -> None:
    rows = report["durations"]
    rps = [row["rps"] for row in rows]
    axes.plot(rps, [row["median_minutes"] / 60 for row in rows], "o-", color=OURS, label="median")
    axes.plot(rps, [row["quantile95_minutes"] / 60 for row in rows], "o--", color=OURS, label="95 %")
    axes.set(xscale="log", yscale="log", xlabel="requests per second", ylabel="hours from 1 % to 100 %")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()


def _evidence(_: dict[str, Any], axes: Any) -> None:
    """Three canaries at 20 % of 50 requests/s: the evidence against each, second by second."""
    rng = np.random.default_rng(2)
    rates = np.array([0.005, 0.02, 0.1])
    past = np.full(3, 30_000.0)
    fleet = Fleet(
        Settings(weights=(20, 100)),
        3,
        errors_past=(past * 0.005, past),
        slow_past=(past * 0.01, past),
        latency_ratio=None,
    )
    seconds, seen = 400, []
    quiet = Side.zeros(3)
    for _second in range(seconds):
        bad = rng.binomial(10, rates).astype(float), rng.binomial(40, 0.005, 3).astype(float)
        fleet.observe(Side(bad[0], np.full(3, 10.0), bad[1], np.full(3, 40.0)), quiet)
        seen.append(np.exp(np.minimum(fleet.log_evidence, np.log(3000))))
    for index, (label, colour) in enumerate(
        (("0.5 %, as stable", OURS), ("2 % errors", OTHER), ("10 % errors", THEIRS))
    ):
        line = np.array(seen)[:, index]
        stop = int(np.argmax(line >= 100)) + 1 if (line >= 100).any() else seconds
        axes.plot(np.arange(1, stop + 1), line[:stop], color=colour, label=label)
    axes.axhline(100, color="black", linewidth=0.8, linestyle="--")
    axes.text(seconds, 105, "roll back", ha="right", va="bottom")
    axes.set(yscale="log", xlabel="seconds at 20 % of 50 requests/s", ylabel="evidence against the canary")
    axes.legend(title="canary")
