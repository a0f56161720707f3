"""What a person sees while a release runs: a live panel on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo import measure
from demo.measure import Arm, Bin, Release
from demo.scenes import Scene
from demo.traffic import Traffic
from modelrelease.api.status import MetricStatus, ReleaseStatus

_RECENT_SECONDS = 10.0
_BLOCKS = " ▁▂▃▄▅▆▇█"
_SPARK_SECONDS = 120.0
_SPARK_COLUMNS = 60
_PLAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class View:
    """One moment of a release: what the operator says and what clients get."""

    scene: Scene
    status: ReleaseStatus
    elapsed_seconds: float
    requests_per_second: float
    share_percent: float
    stable: Arm
    canary: Arm
    shares: list[float]
    """Client-side shares of the new version in per cent, the newest last."""


def look(scene: Scene, status: ReleaseStatus, traffic: Traffic, release: Release, began_at: float) -> View:
    """The view now, from the last seconds of the traffic."""
    now = time.time()
    history = traffic.since(max(began_at, now - _SPARK_SECONDS))
    recent = measure.between(history, now - _RECENT_SECONDS, now)
    stable, canary = measure.arms(recent, release)
    span = max(1.0, min(_RECENT_SECONDS, now - began_at))
    width = _SPARK_SECONDS / _SPARK_COLUMNS
    pieces = measure.bins(history, release, max(began_at, now - _SPARK_SECONDS), now, width)
    return View(
        scene=scene,
        status=status,
        elapsed_seconds=now - began_at,
        requests_per_second=len(recent) / span,
        share_percent=100 * canary.requests / len(recent) if recent else 0.0,
        stable=stable,
        canary=canary,
        shares=_shares(pieces),
    )


def _shares(pieces: list[Bin]) -> list[float]:
    return [piece.canary_share_percent for piece in pieces if piece.canary_share_percent is not None]


class Screen(Protocol):
    """Where views go."""

    def show(self, view: View) -> None:
        """Called several times a second."""


@contextmanager
def screen(console: Console) -> Iterator[Screen]:
    """A live panel where the console is a terminal, else lines."""
    if not console.is_terminal:
        yield Lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Panels(live)


class Lines:
    """One line whenever the release moves, and one every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: tuple[object, ...] = ()
        self._told_at = 0.0

    def show(self, view: View) -> None:
        """Print, where there is something new."""
        status = view.status
        key = (view.scene.name, status.phase, status.step, status.weight)
        if key == self._told and time.monotonic() < self._told_at + _PLAIN_SECONDS:
            return
        self._told, self._told_at = key, time.monotonic()
        self._console.print(line(view), highlight=False, markup=False, soft_wrap=True)


def line(view: View) -> str:
    """The view in one line."""
    status = view.status
    evidence = ", ".join(
        f"{metric.name} rollback {metric.rollback_evidence:.0%} promotion {metric.promotion_evidence:.0%}"
        for metric in status.analysis.metrics
    )
    words = (
        f"{view.elapsed_seconds:6.1f} s  {status.phase:<12} step {status.step}/{status.steps} "
        f"weight {status.weight:>3} %, clients {view.share_percent:5.1f} %",
        f"errors {_rate(view.stable)} / {_rate(view.canary)}",
        f"P99 {_p99(view.stable)} / {_p99(view.canary)}",
        evidence,
        f"next step in {status.analysis.next_step_estimate}" if status.analysis.next_step_estimate else "",
    )
    return " · ".join(word for word in words if word)


def _rate(arm: Arm) -> str:
    return "none" if arm.error_rate is None else f"{arm.error_rate:.1%}"


def _p99(arm: Arm) -> str:
    return "none" if arm.p99_milliseconds is None else f"{arm.p99_milliseconds:.0f} ms"


class Panels:
    """The live panel."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, view: View) -> None:
        """Replace what is on the screen."""
        self._live.update(panel(view))


def panel(view: View) -> RenderableType:
    """The view as a panel."""
    parts = Group(_steps(view), _arms(view), _evidence(view.status.analysis.metrics), _shares_line(view), _said(view))
    title = f"[bold]{view.scene.name}[/bold] · {view.scene.title}"
    return Panel(parts, title=title, title_align="left", subtitle=f"{view.elapsed_seconds:.0f} s", padding=(1, 2))


def _steps(view: View) -> RenderableType:
    status = view.status
    grid = Table.grid(padding=(0, 2))
    for _ in range(4):
        grid.add_column()
    estimate = status.analysis.next_step_estimate
    grid.add_row(
        Text(str(status.phase), style="bold cyan"),
        f"step {status.step}/{status.steps}",
        f"weight {status.weight} %",
        f"next step in about {estimate}" if estimate else "",
    )
    return grid


def _arms(view: View) -> RenderableType:
    table = Table(box=None, padding=(0, 3, 0, 0), title_justify="left", header_style="dim")
    for heading in ("at the client, last 10 s", "requests/s", "share", "errors", "P99"):
        table.add_column(heading, justify="left" if heading.startswith("at") else "right")
    for name, arm, share in (
        ("stable", view.stable, 100 - view.share_percent),
        ("canary", view.canary, view.share_percent),
    ):
        rate = view.requests_per_second * share / 100
        style = "red" if arm.errors else ""
        table.add_row(name, f"{rate:.1f}", f"{share:.1f} %", Text(_rate(arm), style=style), _p99(arm))
    return table


def _evidence(metrics: list[MetricStatus]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("evidence", "for rollback", "", "for promotion", ""):
        table.add_column(heading)
    for metric in metrics:
        table.add_row(
            metric.name,
            _bar(metric.rollback_evidence, "red"),
            f"{metric.rollback_evidence:4.0%}",
            _bar(metric.promotion_evidence, "green"),
            f"{metric.promotion_evidence:4.0%}",
        )
    return table


def _bar(share: float, style: str) -> ProgressBar:
    return ProgressBar(
        total=1.0, completed=min(1.0, share), width=24, complete_style=style, finished_style=f"bold {style}"
    )


def sparkline(shares: list[float]) -> str:
    """One character per share, from 0 to 100 per cent; the smallest share above 0 is seen."""
    return "".join(_BLOCKS[0 if share <= 0 else max(1, min(8, round(share * 8 / 100)))] for share in shares)


def _shares_line(view: View) -> RenderableType:
    return Text.assemble(("new version at clients  ", "dim"), (sparkline(view.shares), "cyan"))


def _said(view: View) -> RenderableType:
    return Text(view.status.message, style="italic")
