"""`explain`: every decision of a release with its numbers, and what cannot be told."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from modelrelease.api.status import ConditionStatus, ConditionType
from modelrelease.cli.connection import Target, run_connected
from modelrelease.cli.measurements import totals
from modelrelease.cli.options import Name, command
from modelrelease.cli.printing import Output, bar, emit, lasting, milliseconds, ratio, resampled, sparkline
from modelrelease.cli.prometheus import SYSTEM, OperatorNamespace, ProviderFile, Url, Wanted
from modelrelease.cli.story import StoryView, tell

Revision = Annotated[str | None, typer.Option("--revision", help="Which release. Default: the present or last one.")]
SPARK_WIDTH = 56


@command
def explain(
    target: Target,
    name: Name,
    revision: Revision = None,
    prometheus: Url = None,
    provider: ProviderFile = None,
    operator_namespace: OperatorNamespace = SYSTEM,
    output: Output = Output.TABLE,
) -> None:
    """Tell a release decision by decision, with its figures.

    From status, history, Events and Prometheus. Clusters keep Events for an hour; what is missing is said.
    """
    wanted = Wanted(prometheus, operator_namespace, provider)
    emit(run_connected(target, lambda opened: tell(opened, name, revision, wanted)), output, render)


def render(story: StoryView) -> Iterable[RenderableType]:
    span = story.span
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(span.start))
    head = f"{story.namespace}/{story.name}  {story.tag}  {story.outcome}"
    yield Text(f"{head}  ({story.reason})" if story.reason and story.reason != story.outcome else head, style="bold")
    yield Text(f"began {began} UTC, {'took' if story.finished_at else 'runs for'} {lasting(span.end - span.start)}")
    yield Text()
    yield Text(story.message)
    if story.events:
        yield Text()
        yield _decisions(story)
    if story.metrics:
        yield Text()
        yield from _evidence(story)
    if story.slices:
        yield Text()
        yield from _measured(story)
    if story.unknown:
        yield Text()
        yield Text("Cannot be told", style="bold")
        for sentence in story.unknown:
            yield Text(f"- {sentence}", style="dim")


def _decisions(story: StoryView) -> Table:
    shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    shown.add_column(justify="right", no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column()
    for event in story.events:
        after = f"+{lasting(max(0.0, event.first_at - story.started_at))}"
        times = f" ({event.count} times)" if event.count > 1 else ""
        reason = Text(event.reason, style="yellow" if event.warning else "")
        shown.add_row(after, reason, f"{event.message}{times}")
    return shown


def _evidence(story: StoryView) -> Iterable[RenderableType]:
    for metric in story.metrics:
        name = "P99" if metric.name.startswith("latency") else "errors"
        forward, back = bar(metric.promotion_evidence, 10, "green"), bar(metric.rollback_evidence, 10, "red")
        yield Text.assemble(f"{name:<7}for promotion ", forward, "  for rollback ", back)
        if metric.message:
            yield Padding(Text(metric.message), (0, 0, 0, 7))
    said = {metric.message for metric in story.metrics}
    for condition in story.conditions:
        is_stalled = condition.type is ConditionType.STALLED and condition.status is ConditionStatus.TRUE
        is_about_metrics = condition.type is ConditionType.ANALYSIS_HEALTHY and condition.message not in said
        if is_stalled or (is_about_metrics and condition.status is not ConditionStatus.UNKNOWN):
            yield Text(f"{condition.type}={condition.status}: {condition.message}")


def _measured(story: StoryView) -> Iterable[RenderableType]:
    yield Text("Measured (Prometheus)", style="bold")
    for name, (requests, errors) in totals(story.slices, story.span).items():
        arms = [getattr(one, name) for one in story.slices]
        slowest = max((arm.p99_milliseconds for arm in arms if arm.p99_milliseconds is not None), default=None)
        yield Text(f"{name}: {requests:,} requests, errors {ratio(errors)}, highest P99 {milliseconds(slowest)}")
    yield Text(f"canary's share  {_spark([one.canary_share for one in story.slices], 1.0)}")
    worst = [one.error_rate for part in story.slices for one in (part.stable, part.canary)]
    top = max((value for value in worst if value is not None), default=None) or 1e-9
    for name in ("stable", "canary"):
        values = [getattr(one, name).error_rate for one in story.slices]
        yield Text(f"errors {name}   {_spark(values, top)}")
    slow = [one.p99_milliseconds for part in story.slices for one in (part.stable, part.canary)]
    highest = max((value for value in slow if value is not None), default=None)
    for name in ("stable", "canary"):
        values = [getattr(one, name).p99_milliseconds for one in story.slices]
        yield Text(f"P99 {name}      {_spark(values, highest)}")


def _spark(values: Sequence[float | None], top: float | None) -> str:
    """The whole release, however long it was."""
    return sparkline(resampled(values, SPARK_WIDTH), SPARK_WIDTH, top)
