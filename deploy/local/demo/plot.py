"""One picture of all releases: share, error rate and P99 over time, as clients saw them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from demo import measure
from demo.measure import Arm, Bin
from demo.performance import Performance
from demo.scenes import WEIGHTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STABLE = "#4c78a8"
_CANARY = "#e45756"
_BIN_SECONDS = 2.0
_LEAST_SECONDS = 45.0
"""Short releases get this width, so that their title can be read."""


def draw(performances: Sequence[Performance], target: Path, caption: str) -> None:
    """Write the picture; one column per release, all with the same scales."""
    import matplotlib as mpl  # noqa: PLC0415 - takes a second, and only the end of the play needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    widths = [max(_LEAST_SECONDS, seen.ended_at - seen.began_at) for seen in performances]
    figure, axes = plt.subplots(
        3, len(performances), figsize=(19, 8), sharey="row", sharex="col", squeeze=False,
        gridspec_kw={"width_ratios": widths, "wspace": 0.06, "hspace": 0.12, "height_ratios": [1.3, 1, 1]},
    )  # fmt: skip
    for column, seen in enumerate(performances):
        pieces = measure.bins(seen.records, seen.release, seen.began_at, _until(seen), _BIN_SECONDS)
        _draw_share(axes[0][column], seen, pieces)
        _draw_arms(axes[1][column], seen, pieces, _error_percent)
        _draw_arms(axes[2][column], seen, pieces, _p99)
        axes[2][column].set_xlabel("s", fontsize=8)
    _label(figure, list(axes[:, 0]), caption)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130, bbox_inches="tight", facecolor="white")
    plt.close(figure)


def _until(seen: Performance) -> float:
    return max((record.due_at for record in seen.records), default=seen.ended_at)


def _draw_share(axes: Axes, seen: Performance, pieces: Sequence[Bin]) -> None:
    times = [piece.middle - seen.began_at for piece in pieces]
    shares = [piece.canary_share_percent or 0.0 for piece in pieces]
    axes.fill_between(times, shares, color=_CANARY, alpha=0.25, linewidth=0)
    axes.plot(times, shares, color=_CANARY, linewidth=1.4)
    changes = [*seen.weights, (_until(seen), seen.weights[-1][1])] if seen.weights else []
    axes.step(
        [when - seen.began_at for when, _ in changes],
        [weight for _, weight in changes],
        where="post", color="black", linewidth=0.8, linestyle=":",
    )  # fmt: skip
    for one in seen.takeovers:
        axes.axvline(one.killed_at - seen.began_at, color="#b07aa1", linewidth=1.2)
        axes.text(one.killed_at - seen.began_at, 0.3, " operator killed", fontsize=7, color="#b07aa1")
    axes.set_title(f"{seen.scene.name}\n{seen.release.version}\n→ {seen.status.phase}", fontsize=9, loc="left")
    # Linear up to the second step, then logarithmic: so that 1 % is seen as well as 100 %.
    axes.set_yscale("symlog", linthresh=WEIGHTS[1])
    axes.set_yticks([0, *WEIGHTS], [f"{weight}" for weight in (0, *WEIGHTS)])
    axes.minorticks_off()
    _tidy(axes)


def _error_percent(arm: Arm) -> float:
    return math.nan if arm.error_rate is None else 100 * arm.error_rate


def _p99(arm: Arm) -> float:
    return math.nan if arm.p99_milliseconds is None else arm.p99_milliseconds


def _draw_arms(axes: Axes, seen: Performance, pieces: Sequence[Bin], figure_of: Callable[[Arm], float]) -> None:
    times = [piece.middle - seen.began_at for piece in pieces]
    axes.plot(times, [figure_of(piece.stable) for piece in pieces], color=_STABLE, linewidth=1.2)
    canary = [figure_of(piece.canary) for piece in pieces]
    # Dots, because at 1 % many pieces hold no request of the canary.
    axes.plot(times, canary, color=_CANARY, linewidth=1.0, marker="o", markersize=2.2)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.01)


def _label(figure: Figure, first: Sequence[Axes], caption: str) -> None:
    share, errors, latency = first
    share.set_ylabel("new version's share\nof requests, %", fontsize=9)
    share.set_ylim(-0.3, 115)
    errors.set_ylabel("errors, %", fontsize=9)
    errors.set_ylim(-3, 103)
    latency.set_ylabel("P99, ms", fontsize=9)
    latency.set_yscale("log")
    latency.set_ylim(3, 3000)
    latency.set_yticks([10, 100, 1000], ["10", "100", "1000"])
    latency.minorticks_off()
    figure.text(0.125, 0.985, "Releases as clients saw them", fontsize=13, weight="bold")
    figure.text(0.125, 0.03, textwrap.fill(caption, 240), fontsize=8, color="#555555", va="top")
    for x, colour, word in (
        (0.40, _STABLE, "stable"),
        (0.45, _CANARY, "canary"),
        (0.50, "black", "weight in the VirtualService (dotted)"),
    ):
        figure.text(x, 0.985, word, fontsize=10, color=colour)
