"""`watch`: a release as it goes, live on a terminal, line by line into a pipe."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Protocol

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from modelrelease.api.status import MetricStatus, Phase
from modelrelease.cli.commands.status import ArmView, StatusView, look, render
from modelrelease.cli.connection import Connection, Target, run_connected
from modelrelease.cli.options import Name, command, note
from modelrelease.cli.parameters import seconds_of
from modelrelease.cli.printing import Output, console, milliseconds, ratio, sparkline
from modelrelease.errors import Retryable, Unauthorized

SPARK_WIDTH = 48
TROUBLED_PODS = 2


class Screen(Protocol):
    """Where looks go."""

    def show(self, view: StatusView, now: float) -> None:
        """Called for each look."""


@command
def watch(
    target: Target,
    name: Name,
    interval: Annotated[str, typer.Option("--interval", metavar="DURATION", help="Time between two looks.")] = "2s",
    output: Output = Output.TABLE,
) -> None:
    """Follow a release until it is over.

    Without one under way: until interrupted.
    """
    seconds = seconds_of(interval)

    async def work(connection: Connection) -> None:
        with screen(output) as shown:
            async for view in looks(connection, name, seconds):
                shown.show(view, time.time())

    run_connected(target, work)


async def looks(connection: Connection, name: str, seconds: float) -> AsyncIterator[StatusView]:
    """What each look sees; the last is the end of the release that was under way at the first."""
    was_under_way = False
    while True:
        try:
            view = await look(connection.cluster, connection.namespace, name)
        except Retryable as error:
            if not was_under_way or isinstance(error, Unauthorized):
                raise
            note(f"The API server does not answer; trying again. {error}")
        else:
            yield view
            if view.phase.is_at_rest and was_under_way:
                return
            was_under_way = was_under_way or not view.phase.is_at_rest
        await asyncio.sleep(seconds)


@contextmanager
def screen(output: Output) -> Iterator[Screen]:
    """A live panel on a terminal, else lines; JSON by lines for programs."""
    if output is not Output.TABLE:
        yield Documents(output)
        return
    out = console()
    if not out.is_terminal:
        yield Lines()
        return
    with Live(console=out, refresh_per_second=4) as live:
        yield Panel(live)


class Documents:
    """One JSON object per line, or one YAML document, for each look that differs from the one before."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last: StatusView | None = None

    def show(self, view: StatusView, now: float) -> None:  # noqa: ARG002
        if view == self._last:
            return
        self._last = view
        text = view.model_dump_json(by_alias=True)
        sys.stdout.write(f"{text}\n" if self._output is Output.JSON else f"---\n{text}\n")
        sys.stdout.flush()


class Lines:
    """One line whenever the release moves."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()

    def show(self, view: StatusView, now: float) -> None:
        moved = (view.phase, view.step, view.weight, view.tag)
        if moved == self._last:
            return
        self._last = moved
        sys.stdout.write(f"{line(view, now)}\n")
        sys.stdout.flush()


def line(view: StatusView, now: float) -> str:
    clock = time.strftime("%H:%M:%S", time.gmtime(now))
    step = f" step {view.step}/{view.steps}" if view.step else ""
    return f"{clock} {view.tag} {view.phase}{step} {view.weight} %: {view.message}"


class Panel:
    """The status, and how weights, error rates and P99 have moved since the watch began."""

    def __init__(self, live: Live | None = None) -> None:
        self._live = live
        self._views: deque[StatusView] = deque(maxlen=SPARK_WIDTH)

    def show(self, view: StatusView, now: float) -> None:
        if self._live is not None:
            self._live.update(self.drawn(view, now))

    def drawn(self, view: StatusView, now: float) -> RenderableType:
        if self._views and self._views[-1].phase.is_at_rest and view.phase is Phase.PREPARING:
            self._views.clear()
        self._views.append(view)
        return Group(*render(folded(view), now), Text(), self._sparklines())

    def _sparklines(self) -> Table:
        shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        weights = [float(view.weight) for view in self._views]
        shown.add_row("weight", sparkline(weights, SPARK_WIDTH, 100.0), f"{self._views[-1].weight} %")
        for label, name, written in (("errors", "errorRate", ratio), ("P99", "latencyP99Milliseconds", milliseconds)):
            metrics = [_metric(view, name) for view in self._views]
            stable, canary = [one.stable for one in metrics], [one.canary for one in metrics]
            top = max((value for value in (*stable, *canary) if value is not None), default=None)
            shown.add_row(f"{label} stable", sparkline(stable, SPARK_WIDTH, top), written(stable[-1]))
            shown.add_row(f"{label} canary", sparkline(canary, SPARK_WIDTH, top), written(canary[-1]))
        return shown


def folded(view: StatusView) -> StatusView:
    """Only with pods that are in trouble, and few of those: what does not fit on the screen is not shown at all."""
    arms = {name: arm and _folded(arm) for name, arm in (("stable", view.stable), ("canary", view.canary))}
    return view.model_copy(update=arms)


def _folded(arm: ArmView) -> ArmView:
    return arm.model_copy(update={"pods": [pod for pod in arm.pods if not pod.ready][:TROUBLED_PODS]})


def _metric(view: StatusView, name: str) -> MetricStatus:
    return next((one for one in view.metrics if one.name == name), MetricStatus(name=name))
