"""`wait`: what a pipeline runs after it applied; leaves as soon as the outcome is known, with a status for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer
from pydantic import Field
from rich.console import RenderableType
from rich.text import Text

from modelrelease.api.durations import format_duration
from modelrelease.api.images import image_tag
from modelrelease.api.model import Model
from modelrelease.api.status import ConditionStatus, ConditionType, HistoryEntry, Outcome, Phase
from modelrelease.cli.connection import Target, run_connected
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.options import Name, Timeout, command, note
from modelrelease.cli.parameters import seconds_of
from modelrelease.cli.printing import Output, emit
from modelrelease.cli.problems import Problem
from modelrelease.cli.releases import Release, read_release
from modelrelease.errors import Retryable, Unauthorized
from modelrelease.ports import Cluster

POLL_SECONDS = 1.0
CODES = {
    Outcome.SUCCEEDED: ExitCode.OK,
    Outcome.ROLLED_BACK: ExitCode.ROLLED_BACK,
    Outcome.FAILED: ExitCode.FAILED,
    Outcome.SUPERSEDED: ExitCode.SUPERSEDED,
}
_SAME_SECONDS = 0.001
"""Times in status are exact to the microsecond."""


class Goal(StrEnum):
    """What is waited for."""

    SUCCEEDED = "succeeded"
    DONE = "done"


class WaitView(Model):
    """How the release ended."""

    namespace: str = Field(description="Namespace of the ModelRelease.")
    name: str = Field(description="Name of the ModelRelease.")
    tag: str = Field(description="Tag, or shortened digest, of the image that was released.")
    revision: str = Field(description="Identity of the release that was waited for.")
    outcome: Outcome = Field(description="Succeeded, RolledBack, Failed or Superseded.")
    reason: str = Field(description="Why, in one CamelCase word.")
    message: str = Field(description="Why, in a sentence with figures.")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which release is waited for. The same image can be released twice, hence the time."""

    revision: str
    started_at_seconds: float

    @staticmethod
    def of(release: Release) -> Identity:
        return Identity(release.status.revision, release.status.started_at or 0.0)

    def is_entry(self, entry: HistoryEntry) -> bool:
        return entry.revision == self.revision and abs(entry.started_at - self.started_at_seconds) < _SAME_SECONDS


@command
def wait(
    target: Target,
    name: Name,
    goal: Annotated[
        Goal,
        typer.Option(
            "--for", help="succeeded leaves as soon as the outcome is known; done waits until the canary is gone, too."
        ),
    ] = Goal.SUCCEEDED,
    timeout: Timeout = "2h",
    output: Output = Output.TABLE,
) -> ExitCode:
    """Wait for the end of a release.

    Exit status: 0 succeeded, 10 rolled back, 11 failed, 12 superseded, 13 not within the time.
    """
    limit = seconds_of(timeout)
    view = run_connected(target, lambda opened: wait_for(opened.cluster, opened.namespace, name, goal, limit))
    emit(view, output, render)
    return CODES[view.outcome]


def render(view: WaitView) -> Iterable[RenderableType]:
    yield Text(f"{view.tag}: {view.outcome} ({view.reason}). {view.message}".strip())


async def wait_for(cluster: Cluster, namespace: str, name: str, goal: Goal, timeout_seconds: float) -> WaitView:
    """The outcome of the release that the present specification asks for. Raises Problem(TIMED_OUT)."""
    waiting = Waiting(lambda: read_release(cluster, namespace, name), goal)
    known = await waiting.until_known(timeout_seconds)
    if known is not None:
        return known
    raise Problem(
        f"{name} has not come to an end within {format_duration(timeout_seconds)}. {waiting.message}".strip(),
        ExitCode.TIMED_OUT,
    )


class Waiting:
    """Looks every second, and says on standard error what has changed."""

    def __init__(self, look: Callable[[], Awaitable[Release]], goal: Goal) -> None:
        self._look = look
        self._goal = goal
        self._identity: Identity | None = None
        self._told: tuple[object, ...] = ()
        self.message = ""

    async def until_known(self, timeout_seconds: float) -> WaitView | None:
        """The outcome; None where the time is over. No request is cut off: each has a time-out of its own."""
        end = time.monotonic() + timeout_seconds
        await self._look()  # a wrong name, or no way to the cluster, is said at once and not waited for
        while time.monotonic() < end:
            try:
                release = await self._look()
            except Unauthorized:
                raise  # waiting does not make anybody known
            except Retryable as error:
                self._tell((type(error),), f"The API server does not answer; trying again. {error}")
            else:
                known = self._known(release)
                if known is not None:
                    return known
            await asyncio.sleep(POLL_SECONDS)
        return None

    def _tell(self, key: tuple[object, ...], sentence: str) -> None:
        if key != self._told:
            self._told = key
            note(f"{time.strftime('%H:%M:%S')} {sentence}")

    def _known(self, release: Release) -> WaitView | None:
        """The outcome, or None while it is open."""
        status = release.status
        if not release.is_observed and self._identity is None:
            self._tell((release.generation,), "Waiting for the operator to look at the last change.")
            return None
        self.message = status.message
        if status.phase.is_at_rest:
            return self._at_rest(release)
        if self._identity is None:
            self._identity = Identity.of(release)
        if Identity.of(release) != self._identity:
            return self._from_history(release)
        phase = f"{status.phase}: "
        self._tell((status.phase, status.step), f"{phase}{status.message.removeprefix(phase)}")
        is_lost = status.phase is Phase.ROLLING_BACK and status.outcome is not None
        if is_lost and self._goal is Goal.SUCCEEDED and status.outcome is not None:
            return self._view(
                release, status.revision, status.outcome, (status.outcome_reason, status.outcome_sentence)
            )
        return None

    def _at_rest(self, release: Release) -> WaitView | None:
        if self._identity is not None:
            return self._from_history(release)
        status = release.status
        succeeded = status.condition(ConditionType.SUCCEEDED)
        if succeeded is None or succeeded.status is ConditionStatus.UNKNOWN:
            self._tell((status.phase, status.message), f"Waiting for the release to begin. {status.message}")
            return None
        if succeeded.status is ConditionStatus.TRUE:
            return self._view(release, status.revision, Outcome.SUCCEEDED, (succeeded.reason, status.message))
        ended = Outcome.FAILED if status.phase is Phase.FAILED else Outcome.ROLLED_BACK
        return self._view(release, status.revision, ended, (succeeded.reason, status.message))

    def _from_history(self, release: Release) -> WaitView:
        """How the release that was waited for has ended; one that is not there any more gave way to others."""
        identity = self._identity or Identity.of(release)
        entry = next((one for one in release.status.history if identity.is_entry(one)), None)
        if entry is None:
            sentence = "Other releases have begun since, and it is not in the history any more."
            return self._view(release, identity.revision, Outcome.SUPERSEDED, ("Superseded", sentence))
        view = self._view(release, entry.revision, entry.outcome, (entry.reason, entry.message))
        return view.model_copy(update={"tag": image_tag(entry.image)})

    def _view(self, release: Release, revision: str, outcome: Outcome, why: tuple[str, str]) -> WaitView:
        return WaitView(
            namespace=release.namespace,
            name=release.name,
            tag=image_tag(release.status.canary.image or release.spec.image),
            revision=revision,
            outcome=outcome,
            reason=why[0],
            message=why[1],
        )
