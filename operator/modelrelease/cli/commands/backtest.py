"""`backtest`: would these settings have rolled back a version that equals stable, and how long would steps last?

The history is stable's own, so that any rollback would have been a false one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field
from rich.console import RenderableType
from rich.text import Text

from modelrelease.api.model import Model
from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.cli.connection import Connection, Target, run_connected
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.forecast import pace_of, traffic_view
from modelrelease.cli.manifests import read_manifest, specification_of
from modelrelease.cli.measured import Traffic, lag_seconds, measured_pods, measured_windows, require_traffic, watched_of
from modelrelease.cli.options import Name, command
from modelrelease.cli.parameters import seconds_of
from modelrelease.cli.printing import Output, emit, lasting, milliseconds, ratio, table
from modelrelease.cli.problems import Problem
from modelrelease.cli.prometheus import SYSTEM, OperatorNamespace, ProviderFile, Url, Wanted, reached
from modelrelease.cli.releases import read_release
from modelrelease.cli.replay import Pace, Play, Run, replay
from modelrelease.cli.survey import survey
from modelrelease.ports import Cluster, Metrics


class StepBacktest(Model):
    """One step, over all runs that got through it."""

    step: int = Field(description="Number of the step, from 1.")
    weight: int = Field(description="Share of the traffic, in per cent.")
    reached: int = Field(description="Runs that got into the step.")
    passed: int = Field(description="Runs that got through it.")
    median_seconds: float | None = Field(description="How long it lasted, typically; null where none got into it.")
    truncated: bool = Field(description="Whether the history ended too early to tell: it lasts longer than that.")


class BacktestView(Model):
    """Releases of an equal version, played on stable's history."""

    namespace: str = Field(description="Namespace of the ModelRelease.")
    name: str = Field(description="Name of the ModelRelease.")
    minutes: float = Field(description="Length of the history that was played, after what releases begin with.")
    requests: int = Field(description="Requests in it.")
    requests_per_second: float = Field(description="Requests to stable per second.")
    error_rate: float | None = Field(description="Share of failed requests.")
    p99_milliseconds: float | None = Field(description="Stable's P99 latency, for people to look at.")
    runs: int = Field(description="Releases that were played.")
    rolled_back: int = Field(description="Those that were rolled back, falsely.")
    blamed: list[str] = Field(description="For what, each once.")
    promised: float = Field(description="analysis.falseRollbackProbability: the share that may be rolled back falsely.")
    steps: list[StepBacktest] = Field(description="How far they came, and how fast.")

    @property
    def breaks_promise(self) -> bool:
        """More than chance explains: beyond two standard errors above what is promised."""
        spread = 2 * math.sqrt(self.promised * (1 - self.promised) / self.runs)
        return self.rolled_back / self.runs > self.promised + spread


@command
def backtest(
    target: Target,
    name: Name,
    filename: Annotated[
        Path | None, typer.Option("--filename", "-f", metavar="FILE", help="Settings to try. Default: those applied.")
    ] = None,
    window: Annotated[str, typer.Option("--window", metavar="DURATION", help="How much history to play.")] = "1h",
    runs: Annotated[int, typer.Option("--runs", min=1, max=1000, help="Releases to play.")] = 50,
    prometheus: Url = None,
    provider: ProviderFile = None,
    operator_namespace: OperatorNamespace = SYSTEM,
    output: Output = Output.TABLE,
) -> ExitCode:
    """Play releases of an equal version on stable's history.

    Says how many would have been rolled back falsely, and how long each step would have taken.
    """
    history, wanted = seconds_of(window), Wanted(prometheus, operator_namespace, provider)
    asked = specification_of(read_manifest(filename)) if filename is not None else None

    async def work(connection: Connection) -> BacktestView:
        spec = asked or (await read_release(connection.cluster, connection.namespace, name)).spec
        async with reached(connection, spec.analysis.provider, wanted) as metrics:
            span = (time.time(), history)
            return await look(connection.cluster, metrics, (connection.namespace, name), spec, (span, runs))

    view = run_connected(target, work)
    emit(view, output, render)
    return ExitCode.FINDINGS if view.breaks_promise else ExitCode.OK


async def look(
    cluster: Cluster,
    metrics: Metrics,
    identity: tuple[str, str],
    spec: ModelReleaseSpec,
    asked: tuple[tuple[float, float], int],
) -> BacktestView:
    """identity: (namespace, name). asked: ((now, seconds of history), runs)."""
    namespace, name = identity
    (now, history_seconds), runs = asked
    watched = await watched_of(cluster, namespace, spec)
    begun_with = spec.analysis.baseline
    end = now - lag_seconds(spec, metrics.scrape_interval_seconds)
    start = end - history_seconds - begun_with
    found = require_traffic(
        await measured_windows(metrics, watched, (start, end), spec.analysis.interval), watched
    ).windows
    first = found[0].start_seconds
    baseline = tuple(window for window in found if window.end_seconds <= first + begun_with)
    played = found[len(baseline) :]
    if not played:
        raise Problem(
            f"The history is only {lasting(Traffic(found).seconds)} long; a release begins with "
            f"{lasting(begun_with)} of it, so that nothing is left to play. Try again later."
        )
    until = baseline[-1].end_seconds if baseline else first
    pods = await measured_pods(metrics, watched, (first, until), spec.analysis.interval)
    seen = await survey(cluster, namespace, name, spec)
    replicas = seen.stable.replicas if seen.stable is not None else 1
    pace = pace_of(spec, replicas, seen.startup_seconds, metrics.scrape_interval_seconds)
    return view_of(identity, spec, (Traffic(baseline, pods), Traffic(played)), pace, runs)


def view_of(
    identity: tuple[str, str], spec: ModelReleaseSpec, traffic: tuple[Traffic, Traffic], pace: Pace, runs: int
) -> BacktestView:
    """Play, and count. traffic: (what releases begin with, what they are played on)."""
    baseline, played = traffic
    done = replay(Play.of(spec.strategy, spec.analysis, pace), baseline, played.windows, runs)
    shown = traffic_view(spec, played)
    return BacktestView(
        namespace=identity[0],
        name=identity[1],
        minutes=round(played.seconds / 60, 1),
        requests=played.requests,
        requests_per_second=shown.requests_per_second,
        error_rate=played.error_rate,
        p99_milliseconds=shown.p99_milliseconds,
        runs=runs,
        rolled_back=sum(bool(run.blame) for run in done),
        blamed=sorted({run.blame for run in done if run.blame}),
        promised=spec.analysis.false_rollback_probability,
        steps=[
            _step(done, number, step.weight, played.windows[-1].end_seconds)
            for number, step in enumerate(spec.strategy.steps, 1)
        ],
    )


def _step(done: list[Run], number: int, weight: int, end_seconds: float) -> StepBacktest:
    """Those that the end of the history cut off count with the time that they had: the median of such bounds is one of
    the median. Without them only the fast ones would be left."""
    lasted = sorted(one for run in done if (one := run.lasted(number - 1, end_seconds)) is not None)
    median = lasted[len(lasted) // 2][0] if lasted else None
    return StepBacktest(
        step=number,
        weight=weight,
        reached=sum(run.step >= number - 1 for run in done),
        passed=sum(whole for _, whole in lasted),
        median_seconds=median,
        truncated=median is not None and any(not whole and seconds <= median for seconds, whole in lasted),
    )


def render(view: BacktestView) -> Iterable[RenderableType]:
    yield Text(
        f"{view.namespace}/{view.name}: {view.runs} releases of a version that equals stable, played on "
        f"{view.minutes:g} min of its traffic: {view.requests:,} requests ({view.requests_per_second:,.1f}/s), errors "
        f"{ratio(view.error_rate)}, P99 {milliseconds(view.p99_milliseconds)}."
    )
    yield Text()
    style = "red" if view.breaks_promise else "green"
    blamed = f" (for {', '.join(view.blamed)})" if view.blamed else ""
    yield Text.assemble(
        (f"{view.rolled_back} of {view.runs} rolled back falsely{blamed}", style),
        f"; promised: at most {view.promised:.0%}.",
    )
    if view.breaks_promise:
        yield Text("Widen analysis.errorRate and latencyP99, or lower falseRollbackProbability, and play again.")
    yield Text()
    shown = table("STEP", "WEIGHT", "REACHED", "PASSED", "TYPICALLY IN", right=("REACHED", "PASSED"))
    for step in view.steps:
        taken = "-" if step.median_seconds is None else lasting(step.median_seconds)
        taken = f"more than {taken}" if step.truncated else taken
        shown.add_row(str(step.step), f"{step.weight} %", str(step.reached), str(step.passed), taken)
    yield shown
    if view.steps[-1].passed == 0:
        yield Text("No release got to its end in this history; play a longer one with --window.")
    yield Text(
        "Requests are dealt to both arms at random, so bursts that hit only one arm are not played.", style="dim"
    )
