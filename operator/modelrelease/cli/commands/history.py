"""`history`: the releases that are over, the newest first."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pydantic import Field
from rich.console import RenderableType
from rich.text import Text

from modelrelease.api.images import image_tag
from modelrelease.api.model import Model
from modelrelease.api.status import HistoryEntry, Outcome
from modelrelease.cli.connection import Target, run_connected
from modelrelease.cli.options import Name, command
from modelrelease.cli.printing import Output, ago, emit, table
from modelrelease.cli.releases import Release, read_release

STYLES = {Outcome.SUCCEEDED: "green", Outcome.ROLLED_BACK: "red", Outcome.FAILED: "red", Outcome.SUPERSEDED: "dim"}


class HistoryView(Model):
    """The last releases, at most ten."""

    namespace: str = Field(description="Namespace of the ModelRelease.")
    name: str = Field(description="Name of the ModelRelease.")
    items: list[HistoryEntry] = Field(description="Releases that are over, the newest first, as in status.history.")


@command
def history(target: Target, name: Name, output: Output = Output.TABLE) -> None:
    """List the last ten releases with outcome, reason and duration."""
    now = time.time()
    release = run_connected(target, lambda opened: read_release(opened.cluster, opened.namespace, name))
    emit(view_of(release), output, lambda view: render(view, now))


def view_of(release: Release) -> HistoryView:
    return HistoryView(namespace=release.namespace, name=release.name, items=release.status.history)


def render(view: HistoryView, now: float) -> Iterable[RenderableType]:
    if not view.items:
        yield Text("No release has ended yet.")
        return
    shown = table("IMAGE", "OUTCOME", "REASON", "TOOK", "ENDED", right=("TOOK",))
    for entry in view.items:
        outcome = Text(str(entry.outcome), style=STYLES[entry.outcome])
        ended = f"{ago(entry.finished_at, now)} ago"
        shown.add_row(image_tag(entry.image), outcome, entry.reason, entry.duration, ended)
    yield shown
    last = view.items[0]
    if last.message and last.outcome is not Outcome.SUCCEEDED:
        yield Text()
        yield Text(last.message)
