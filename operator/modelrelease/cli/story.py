"""A release told from what is kept of it: status, history, Events and, where it can be reached, Prometheus."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pydantic import Field

from modelrelease.api.images import image_tag
from modelrelease.api.model import Model
from modelrelease.api.status import Condition, HistoryEntry, MetricStatus, Time
from modelrelease.cli.connection import Connection
from modelrelease.cli.events import Told, events_of
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.measured import watched_of
from modelrelease.cli.measurements import Slice, Span, slices_of
from modelrelease.cli.problems import Problem, sentence_of
from modelrelease.cli.prometheus import Wanted, reached
from modelrelease.cli.releases import Release, read_release
from modelrelease.errors import Forbidden, ReleaseError
from modelrelease.ports import Cluster

NEAR_SECONDS = 2.0
"""Events have whole seconds."""


class StoryView(Model):
    """One release."""

    namespace: str = Field(description="Namespace of the ModelRelease.")
    name: str = Field(description="Name of the ModelRelease.")
    revision: str = Field(description="Identity of the release.")
    image: str = Field(description="Its image.")
    outcome: str = Field(description="How it ended, or the phase it is in.")
    reason: str = Field(description="Why, in one CamelCase word.")
    message: str = Field(description="Why, in a sentence with figures.")
    started_at: Time = Field(description="When it began.")
    finished_at: Time | None = Field(description="When it was over; null while it runs.")
    events: list[Told] = Field(description="Each decision in the operator's words, oldest first.")
    metrics: list[MetricStatus] = Field(description="The evidence now; empty once the release is over.")
    conditions: list[Condition] = Field(description="What holds now; empty once the release is over.")
    slices: list[Slice] = Field(description="What both arms did, from Prometheus.")
    unknown: list[str] = Field(description="What cannot be told, and why.")

    @property
    def tag(self) -> str:
        return image_tag(self.image)

    @property
    def span(self) -> Span:
        return Span(self.started_at, self.finished_at if self.finished_at is not None else time.time())


async def tell(connection: Connection, name: str, revision: str | None, wanted: Wanted) -> StoryView:
    """The release with this revision, by default the present or else the last one. Raises Problem."""
    cluster = connection.cluster
    release = await read_release(cluster, connection.namespace, name)
    story = await with_events(cluster, release, begun(release, revision))
    try:
        watched = await watched_of(cluster, release.namespace, release.spec)
        async with reached(connection, release.spec.analysis.provider, wanted) as metrics:
            interval = max(release.spec.analysis.interval, metrics.scrape_interval_seconds)
            slices = await slices_of(metrics, watched, story.span, interval)
    except (Problem, ReleaseError) as error:
        said = f"What both arms did: {sentence_of(error)}"
        return story.model_copy(update={"unknown": [*story.unknown, said]})
    if not any(one.canary.requests for one in slices):
        said = "What the canary did: Prometheus has no requests to it in that time (any more)."
        story = story.model_copy(update={"unknown": [*story.unknown, said]})
    return story.model_copy(update={"slices": slices})


def begun(release: Release, revision: str | None) -> StoryView:
    status = release.status
    under_way = not status.phase.is_at_rest and status.started_at is not None
    if under_way and revision in (None, status.revision):
        return StoryView(
            namespace=release.namespace,
            name=release.name,
            revision=status.revision,
            image=status.canary.image,
            outcome=str(status.phase),
            reason=status.outcome_reason,
            message=status.message,
            started_at=status.started_at or 0.0,
            finished_at=None,
            events=[],
            metrics=status.analysis.metrics,
            conditions=status.conditions,
            slices=[],
            unknown=[],
        )
    known: Sequence[HistoryEntry] = status.history
    entry = next((one for one in known if revision in (None, one.revision)), None)
    if entry is None:
        revisions = ", ".join(one.revision for one in known)
        remedy = f"there are: {revisions}." if known else "none has begun yet."
        which = f"release {revision}" if revision else "release"
        raise Problem(f"No {which} of {release.name} is known; {remedy}", ExitCode.NOT_FOUND)
    return StoryView(
        namespace=release.namespace,
        name=release.name,
        revision=entry.revision,
        image=entry.image,
        outcome=str(entry.outcome),
        reason=entry.reason,
        message=entry.message,
        started_at=entry.started_at,
        finished_at=entry.finished_at,
        events=[],
        metrics=[],
        conditions=[],
        slices=[],
        unknown=[],
    )


async def with_events(cluster: Cluster, release: Release, story: StoryView) -> StoryView:
    """With all Events of its time that the API server still has, and what is missing among them."""
    unknown = []
    try:
        told = await events_of(cluster, release)
    except Forbidden:
        told = []
        unknown.append("The decisions one by one: you may not list Events; ask for the ClusterRole view.")
    span = story.span
    inside = [
        event
        for event in sorted(told, key=lambda one: one.first_at)
        if event.revision in ("", story.revision)
        and span.start <= event.first_at + NEAR_SECONDS <= span.end + 2 * NEAR_SECONDS
    ]
    if not unknown and not any(event.reason == "ReleaseStarted" for event in inside):
        unknown.append(
            "Its first decisions: the API server forgets Events, after an hour unless it is told otherwise; the "
            "operator's log has each, in lines with the event announce."
        )
    if story.finished_at is not None:
        unknown.append(
            "The evidence at each look: it is kept only while a release runs; the sentences have what it was."
        )
    return story.model_copy(update={"events": inside, "unknown": unknown})
