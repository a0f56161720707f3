"""`promote`, `abort`, `pause`, `resume`, `retry`: an annotation for this very release, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import Field
from rich.console import RenderableType
from rich.text import Text

from modelrelease.api.annotations import Action
from modelrelease.api.durations import format_duration
from modelrelease.api.model import Model
from modelrelease.api.status import Phase
from modelrelease.cli.connection import Target, run_connected
from modelrelease.cli.events import events_of
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.options import Name, command
from modelrelease.cli.parameters import seconds_of
from modelrelease.cli.printing import Output, emit
from modelrelease.cli.problems import Problem
from modelrelease.cli.releases import Release, read_release
from modelrelease.errors import ReleaseError
from modelrelease.ports import Cluster, Kind

POLL_SECONDS = 0.25
ANSWER = "15s"
"""How long the operator is waited for by default; it answers within a second or two when it runs."""
DONE = {
    Action.PROMOTE: "PromotedByHand",
    Action.PAUSE: "Paused",
    Action.RESUME: "Resumed",
    Action.RETRY: "Retried",
    Action.ABORT: "Aborted",
}
"""Reason of the Event by which the operator says that it obeyed."""
REFUSALS = frozenset({"NothingToDo", "AnnotationUnknown", "AnnotationIgnored"})
"""Reasons of the Events by which it says why it did not."""
SAYING_SECONDS = 2.0
"""How long the Event is waited for once the wish is settled; the operator gives up on an Event after that time."""
CLOCK_SECONDS = 2.0
"""Events have whole seconds, of another machine's clock."""

Answer = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="Longest wait for the operator's answer.")]


class Reach(StrEnum):
    """How far a promotion goes."""

    NEXT = "next"
    FULL = "full"


class SteeringView(Model):
    """What came of a wish."""

    namespace: str = Field(description="Namespace of the ModelRelease.")
    name: str = Field(description="Name of the ModelRelease.")
    action: str = Field(description="promote, abort, pause, resume or retry.")
    value: str = Field(description="The annotation's value: what was asked for, and for which revision.")
    phase: Phase = Field(description="Where the release is now.")
    message: str = Field(description="The operator's answer.")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for."""

    action: Action
    value: str
    timeout_seconds: float


@command
def promote(
    target: Target,
    name: Name,
    to: Annotated[Reach, typer.Option("--to", help="The next step, or all the way past gates and bake.")] = Reach.NEXT,
    timeout: Answer = ANSWER,
    output: Output = Output.TABLE,
) -> None:
    """Let a release go on without waiting for evidence."""
    _steer(target, name, Wish(Action.PROMOTE, str(to), seconds_of(timeout)), output)


@command
def abort(
    target: Target,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in history.")],
    timeout: Answer = ANSWER,
    output: Output = Output.TABLE,
) -> None:
    """Take all traffic off the new version now, and end the release."""
    if not reason.strip():
        raise Problem("The reason is empty; say why in a few words, they are kept in history.", ExitCode.USAGE)
    _steer(target, name, Wish(Action.ABORT, reason.strip(), seconds_of(timeout)), output)


@command
def pause(target: Target, name: Name, timeout: Answer = ANSWER, output: Output = Output.TABLE) -> None:
    """Stop forward moves; analysis, rollback and abort go on."""
    _steer(target, name, Wish(Action.PAUSE, "true", seconds_of(timeout)), output)


@command
def resume(target: Target, name: Name, timeout: Answer = ANSWER, output: Output = Output.TABLE) -> None:
    """Allow forward moves again."""
    _steer(target, name, Wish(Action.RESUME, "true", seconds_of(timeout)), output)


@command
def retry(target: Target, name: Name, timeout: Answer = ANSWER, output: Output = Output.TABLE) -> None:
    """Begin a release that was rolled back, or failed, once more."""
    _steer(target, name, Wish(Action.RETRY, "true", seconds_of(timeout)), output)


def _steer(target: Target, name: str, wish: Wish, output: Output) -> None:
    emit(run_connected(target, lambda opened: steer(opened.cluster, opened.namespace, name, wish)), output, render)


def render(view: SteeringView) -> Iterable[RenderableType]:
    yield Text(view.message)


async def steer(cluster: Cluster, namespace: str, name: str, wish: Wish) -> SteeringView:
    """Set the annotation and wait for what the operator makes of it.

    The value names the revision, so that it cannot hit a release that begins between the look and the wish.
    Raises Problem: NOT_OBEYED with the operator's reason, TIMED_OUT where it does not answer.
    """
    before = await read_release(cluster, namespace, name)
    if not before.is_observed or not before.status.revision:
        raise Problem(
            f"The operator has not answered the last change of {name} yet, so it is not clear which release is meant; "
            "try again in a moment, or see with status whether the operator runs.",
            ExitCode.NOT_OBEYED,
        )
    raw = f"{wish.value}@{before.status.revision}"
    asked_at = time.time()
    await cluster.patch(
        Kind.MODEL_RELEASE,
        before.namespace,
        name,
        {"metadata": {"uid": before.uid, "annotations": {wish.action.annotation: raw}}},
    )
    after = await _answered(cluster, before, wish, raw)
    is_obeyed = was_obeyed(before, after, wish, raw)
    said = await _said(cluster, before, {DONE[wish.action]} if is_obeyed else REFUSALS, asked_at)
    if not is_obeyed:
        why = said or f"The operator did not {wish.action} anything: the phase is {after.status.phase}."
        raise Problem(why, ExitCode.NOT_OBEYED)
    return SteeringView(
        namespace=before.namespace,
        name=name,
        action=str(wish.action),
        value=raw,
        phase=after.status.phase,
        message=said or after.status.message,
    )


async def _answered(cluster: Cluster, before: Release, wish: Wish, raw: str) -> Release:
    """The release once the annotation is gone: the operator removes each after having acted on it."""
    end = time.monotonic() + wish.timeout_seconds
    while time.monotonic() < end:
        release = await read_release(cluster, before.namespace, before.name)
        if release.annotations.get(wish.action.annotation) != raw:
            return release
        await asyncio.sleep(POLL_SECONDS)
    raise Problem(
        f"{wish.action.annotation}={raw} was set, but the operator has not answered within "
        f"{format_duration(wish.timeout_seconds)}. It acts when it runs again; to take the wish back: "
        f"kubectl annotate mr/{before.name} -n {before.namespace} {wish.action.annotation}-",
        ExitCode.TIMED_OUT,
    )


def was_obeyed(before: Release, after: Release, wish: Wish, raw: str) -> bool:
    """Whether the operator recorded the wish as done: among the wishes or, where the release they were about is over
    and they are forgotten, in what it did. A release that gave way meanwhile proves nothing."""
    if any(one.name == wish.action.annotation and one.value == raw for one in after.status.last_handled):
        return True
    match wish.action:
        case Action.RETRY:
            return after.status.retries > before.status.retries
        case Action.ABORT:
            ends = [one for one in after.status.history if one.revision == before.status.revision]
            return any(one.reason == DONE[Action.ABORT] for one in ends[:1])
        case _:
            return False


async def _said(cluster: Cluster, release: Release, reasons: Set[str], since_seconds: float) -> str:
    """The operator's Event about the wish; empty where there is none, or the person may not read Events."""
    end = time.monotonic() + SAYING_SECONDS
    while True:
        try:
            found = await events_of(cluster, release)
        except ReleaseError:
            return ""
        fresh = [event for event in found if event.at >= since_seconds - CLOCK_SECONDS and event.reason in reasons]
        if fresh or time.monotonic() >= end:
            return fresh[-1].message if fresh else ""
        await asyncio.sleep(POLL_SECONDS)
