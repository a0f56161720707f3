"""How every decision is put into words and into status: one place fills in what all of them share."""

from __future__ import annotations

from typing import Any

from modelrelease.api.durations import format_duration
from modelrelease.api.images import image_tag
from modelrelease.api.status import (
    AnalysisStatus,
    ArmStatus,
    ConditionType,
    HistoryEntry,
    Outcome,
    Phase,
    ReleaseStatus,
)
from modelrelease.rollout.analysis import analysis_status, grid_after
from modelrelease.rollout.conditions import Stall, with_conditions
from modelrelease.rollout.decision import IMMEDIATELY, Announcement, Decision, Effect
from modelrelease.rollout.seen import DeploymentSeen, Seen

HISTORY_LENGTH = 10
MOST_DEPARTURES = 60
"""Pods that go in the same second are one, and at most a minute or two waits to be judged."""


def conclude(  # noqa: PLR0913 - one call that every rule ends in; all but three are optional
    seen: Seen,
    now: float,
    message: str,
    *,
    changes: dict[str, Any] | None = None,
    stall: Stall | None = None,
    effect: Effect | None = None,
    effect_first: bool = False,
    announcements: tuple[Announcement, ...] = (),
    again_seconds: float | None = None,
) -> Decision:
    """A decision with a complete status: figures, arms, message and conditions.

    After an effect or a change of status the world is looked at again at once, unless told otherwise.
    """
    status = seen.status.model_copy(update={**(changes or {}), "message": message})
    status = _with_figures(status, seen, now)
    status = with_conditions(status, seen, now, stall)
    if again_seconds is None:
        again_seconds = IMMEDIATELY if effect is not None or changes else interval_seconds(seen)
    return Decision(status, effect, effect_first, announcements, again_seconds)


def stalled(seen: Seen, now: float, reason: str, sentence: str, again_seconds: float | None = None) -> Decision:
    """Say what only a person can change; an Event only where the reason is new."""
    before = seen.status.condition(ConditionType.STALLED)
    fresh = before is None or before.reason != reason
    return conclude(
        seen,
        now,
        sentence,
        stall=Stall(reason, sentence),
        announcements=(Announcement(reason, sentence, warning=True),) if fresh else (),
        again_seconds=again_seconds,
    )


def interval_seconds(seen: Seen) -> float:
    """How soon an active release is looked at again without an event."""
    snapshot = seen.status.snapshot
    return snapshot.analysis.interval if snapshot is not None else seen.spec.analysis.interval


def _with_figures(status: ReleaseStatus, seen: Seen, now: float) -> ReleaseStatus:
    at_rest = status.phase.is_at_rest
    update: dict[str, Any] = {
        **({} if seen.is_glance else _arms(status, seen)),
        "departures": [] if at_rest else _departures(status, seen),
        "tag": image_tag(_image_in_question(status) or seen.spec.image),
        "progress": f"{status.step}/{status.steps}" if status.steps and not at_rest else "",
    }
    if status.weight > 0 and seen.route is not None and seen.route.weight_percent == seen.status.weight:
        # What was read back is what status asked for until now, also where this very decision asks for something else.
        update["confirmed_weight"] = seen.status.weight
    if not at_rest:
        if not seen.is_glance:  # its figures may change once pods can be read, and so may which of them are new
            update["analysis"] = analysis_status(seen.analysis, status.analysis, now)
            update["stable_size"] = max(status.stable_size, seen.stable.replicas if seen.stable is not None else 0)
        if seen.analysis is not None and seen.analysis.state is not None and status.judge == seen.status.judge:
            update["judge"] = seen.analysis.state.to_json()
    figures: AnalysisStatus = update.get("analysis", status.analysis)
    if figures.next_step_estimate and status.phase is not Phase.PROGRESSING:
        update["analysis"] = figures.model_copy(update={"next_step_estimate": ""})  # no step comes next at present
    return status.model_copy(update=update)


def _image_in_question(status: ReleaseStatus) -> str:
    """The image that the phase is about: not the one that is asked for while its release cannot begin."""
    match status.phase:
        case Phase.INITIALIZING:
            return ""
        case Phase.STABLE | Phase.SUCCEEDED:
            return status.released_image
        case _:
            return status.canary.image


def departures(status: ReleaseStatus, canary: DeploymentSeen | None) -> set[float]:
    """When pods of the canary were asked to go, in unix seconds: those that still show it, those that status remembers,
    and those that went while nobody looked.

    These are told by the pods that were made in their place at that moment. As many new ones as were wanting when
    status was written, or are asked for since, are in nobody's place.
    """
    moments = set(status.departures)
    if canary is None:
        return moments
    moments.update(canary.asked_to_go_seconds)
    looked_at = status.analysis.evaluated_at
    if looked_at is not None:
        wanting = max(0, canary.replicas - status.canary.ready_replicas)
        moments.update([created for created in canary.created_seconds if created > looked_at][wanting:])
    return moments


def _departures(status: ReleaseStatus, seen: Seen) -> list[float]:
    """Departures as long as samples around them are to be left out of the evidence: nothing else remembers them once a
    pod is gone, and its last requests are judged later than that."""
    moments = departures(status, seen.canary)
    state = seen.analysis.state if seen.analysis is not None else None
    if state is not None and status.snapshot is not None:
        analysis = status.snapshot.analysis
        ends = {moment: grid_after(moment + analysis.warm_up, analysis.interval) for moment in moments}
        moments = {moment for moment in moments if ends[moment] > state.cursor_seconds}
    return sorted(moments)[-MOST_DEPARTURES:]


def _arms(status: ReleaseStatus, seen: Seen) -> dict[str, ArmStatus]:
    at_rest = status.phase.is_at_rest
    canary = ArmStatus(image=status.canary.image, digest=status.canary.digest)
    return {
        "stable": _arm(seen.stable, status.stable),
        "canary": canary if at_rest else _canary_arm(seen.canary, canary),
    }


def _arm(seen: DeploymentSeen | None, previous: ArmStatus) -> ArmStatus:
    if seen is None:
        return previous.model_copy(update={"replicas": 0, "ready_replicas": 0})
    return ArmStatus(
        image=seen.image,
        digest=seen.digest or (previous.digest if previous.image == seen.image else ""),
        deployment=seen.name,
        replicas=seen.replicas,
        ready_replicas=seen.ready,
    )


def _canary_arm(seen: DeploymentSeen | None, release: ArmStatus) -> ArmStatus:
    """Image and digest stay what the release began with; only the counts follow the Deployment."""
    return ArmStatus(
        image=release.image,
        digest=release.digest,
        deployment=seen.name if seen is not None else "",
        replicas=seen.replicas if seen is not None else 0,
        ready_replicas=seen.ready if seen is not None else 0,
    )


def stable_tag(status: ReleaseStatus, image: str) -> str:
    """How people call the `image` that stable runs: by the tag that was released, also where it runs it by digest."""
    return image_tag(status.released_image if image == status.promoted_image and status.released_image else image)


def history_with(status: ReleaseStatus, outcome: Outcome, message: str, now: float) -> list[HistoryEntry]:
    """The history with the release that ends now in front."""
    started = status.started_at or now
    entry = HistoryEntry(
        revision=status.revision,
        image=status.canary.image,
        digest=status.canary.digest,
        outcome=outcome,
        reason=status.outcome_reason or str(outcome),
        message=message,
        started_at=started,
        finished_at=now,
        duration=format_duration(now - started),
    )
    return [entry, *status.history][:HISTORY_LENGTH]


def end_sentence(outcome: Outcome, tag: str, duration: str, detail: str) -> str:
    """How a release that did not succeed ended; what a person finds in the message afterwards."""
    match outcome:
        case Outcome.SUPERSEDED:
            return f"The release of {tag} gave way to a newer one."
        case Outcome.FAILED:
            return f"The release of {tag} failed after {duration}. {detail}"
        case _:
            return f"The release of {tag} was rolled back after {duration}. {detail}"


def ended(phase: Phase) -> dict[str, Any]:
    """Status changes that every end of a release makes."""
    return {
        "phase": phase,
        "step": 0,
        "weight": 0,
        "confirmed_weight": 0,
        "judge": None,
        "stable_template": None,
        "outcome_message": "",
        "held_autoscaler": None,
        "step_started_at": None,
        "approved_step": 0,
        "paused": False,
        "paused_reason": "",
        "losses": 0,
        "fights": 0,
        "ever_weighted": False,
    }
