"""Steering by annotation: each wish is recorded in status first and removed from the object afterwards."""

from __future__ import annotations

import re
from typing import Any

from modelrelease.api.annotations import ALLOWED, Action, Request
from modelrelease.api.status import Handled, Phase, ReleaseStatus
from modelrelease.rollout.decision import Announcement, ConsumeRequests, Decision
from modelrelease.rollout.outcome import conclude
from modelrelease.rollout.seen import Seen

_OPPOSITE = {Action.PAUSE: Action.RESUME, Action.RESUME: Action.PAUSE}
FIGHT_REASON = "WeightsContested"
_TARGET = re.compile(r"[0-9]{1,19}|[0-9a-f]{10}")
"""A generation, or a revision as `revision_of` makes it."""


def is_handled(status: ReleaseStatus, request: Request) -> bool:
    """Whether this very wish was acted on already: in this revision and, for a promotion, in this step."""
    return any(
        handled.name == request.action.annotation
        and handled.value == request.raw
        and handled.revision == status.revision
        and (handled.step == status.step or request.action is not Action.PROMOTE)
        for handled in status.last_handled
    )


def abort_request(seen: Seen) -> Request | None:
    """The wish to abort, where it concerns this release and was not acted on yet."""
    return next(
        (request for request in seen.requests if request.action is Action.ABORT and is_wanted(seen, request)), None
    )


def is_wanted(seen: Seen, request: Request) -> bool:
    """Whether a wish is understood, concerns this release and is new."""
    return request.is_allowed and concerns(seen, request) and not is_handled(seen.status, request)


def concerns(seen: Seen, request: Request) -> bool:
    """Whether a wish is for this release. Whatever follows an @ in the reason of an abort, an address for example, must
    not keep it from being obeyed, unless it looks like another generation or revision."""
    is_reason = request.action is Action.ABORT and not _TARGET.fullmatch(request.target or "")
    return is_reason or request.concerns(generation=seen.generation, revision=seen.status.revision)


def remembered(seen: Seen, request: Request, now: float, revision: str | None = None) -> list[Handled]:
    """The record of handled wishes with this one; one entry per action, and its opposite forgotten."""
    forgotten = {request.action.annotation}
    if request.action in _OPPOSITE:
        forgotten.add(_OPPOSITE[request.action].annotation)
    kept = [handled for handled in seen.status.last_handled if handled.name not in forgotten]
    entry = Handled(
        name=request.action.annotation,
        value=request.raw,
        generation=seen.generation,
        revision=seen.status.revision if revision is None else revision,
        step=seen.status.step,
        at=now,
    )
    return [*kept, entry]


def steer(seen: Seen, now: float) -> Decision | None:
    """Act on the first annotation that is there, whatever the phase; None where there is none."""
    refused = _refused_gitops(seen, now)
    if refused is not None:
        return refused
    if not seen.requests:
        return _unknown(seen, now)
    request = seen.requests[0]
    consume = ConsumeRequests((request,))
    if is_handled(seen.status, request):
        return conclude(seen, now, seen.status.message, effect=consume)
    changes, announcement = _answer(seen, request, now)
    if changes:
        # A wish that did nothing is forgotten: the same words may mean something later in this release.
        changes["last_handled"] = remembered(seen, request, now)
    return conclude(seen, now, seen.status.message, changes=changes, effect=consume, announcements=(announcement,))


def _unknown(seen: Seen, now: float) -> Decision | None:
    """Annotations of our group with names that mean nothing: said once, and left to whoever wrote them."""
    found = list(seen.unknown_annotations)
    if found == seen.status.unknown_annotations:
        return None
    fresh = [name for name in found if name not in seen.status.unknown_annotations]
    allowed = ", ".join(action.annotation for action in Action)
    announcement = Announcement(
        "AnnotationUnknown", f"{', '.join(fresh)} means nothing; the annotations are {allowed}.", warning=True
    )
    return conclude(
        seen,
        now,
        seen.status.message,
        changes={"unknown_annotations": found},
        announcements=(announcement,) if fresh else (),
    )


def _refused_gitops(seen: Seen, now: float) -> Decision | None:
    fresh = [request for request in seen.gitops_requests if not is_handled(seen.status, request)]
    if not fresh:
        return None
    request = fresh[0]
    announcement = Announcement(
        "AnnotationIgnored",
        f"The annotation {request.action.annotation} belongs to a GitOps tool and would come back after each removal, "
        "so it is not obeyed. Remove it from the manifest and set it with kubectl annotate.",
        warning=True,
    )
    return conclude(
        seen,
        now,
        seen.status.message,
        changes={"last_handled": remembered(seen, request, now)},
        announcements=(announcement,),
    )


def _answer(seen: Seen, request: Request, now: float) -> tuple[dict[str, Any], Announcement]:
    status = seen.status
    if not request.is_allowed:
        allowed = " or ".join(repr(value) for value in ALLOWED[request.action])
        return {}, Announcement(
            "AnnotationUnknown",
            f"{request.action.annotation}={request.value!r} means nothing; write {allowed}.",
            warning=True,
        )
    if not concerns(seen, request):
        return {}, Announcement(
            "AnnotationIgnored",
            f"{request.action.annotation}={request.raw!r} is meant for {request.target}, but this is generation "
            f"{seen.generation}, revision {status.revision}; nothing was done.",
            warning=True,
        )
    match request.action:
        case Action.PROMOTE:
            return _promote(status, request)
        case Action.PAUSE:
            return _pause(status)
        case Action.RESUME:
            return _resume(seen)
        case Action.RETRY:
            return _retry(status)
        case Action.ABORT if status.phase is Phase.PROMOTING:
            sentence = (
                "Stable runs the release already and has its traffic back; set spec.image to what shall run instead."
            )
            return {}, Announcement("NothingToDo", sentence, warning=True)
        case Action.ABORT:
            return {}, _nothing("abort", status)


def _nothing(verb: str, status: ReleaseStatus) -> Announcement:
    return Announcement("NothingToDo", f"There is nothing to {verb}: the phase is {status.phase}.", warning=True)


def _promote(status: ReleaseStatus, request: Request) -> tuple[dict[str, Any], Announcement]:
    if status.phase not in (Phase.PREPARING, Phase.PROGRESSING, Phase.PAUSED, Phase.BAKING):
        return {}, _nothing("promote", status)
    if request.value == "full":
        return {"approved_step": status.steps + 1}, Announcement(
            "PromotedByHand", "A person promoted the release in full; remaining gates and the bake are skipped."
        )
    if status.step == 0:
        return {}, Announcement(
            "NothingToDo",
            "No step has begun yet, so there is none to leave; the first one begins once the canary is available.",
            warning=True,
        )
    wanted = status.step + 1
    return {"approved_step": max(status.approved_step, wanted)}, Announcement(
        "PromotedByHand", f"A person approved step {min(wanted, status.steps)} of {status.steps}."
    )


def _pause(status: ReleaseStatus) -> tuple[dict[str, Any], Announcement]:
    if status.phase.is_at_rest:
        return {}, _nothing("pause", status)
    return {"paused": True, "paused_reason": "Annotation"}, Announcement(
        "Paused", "Forward moves are paused by annotation; analysis, rollback and abort go on."
    )


def _resume(seen: Seen) -> tuple[dict[str, Any], Announcement]:
    if not seen.status.paused:
        remedy = " Set spec.paused to false instead." if seen.spec.paused else ""
        return {}, Announcement("NothingToDo", f"The release is not paused by annotation.{remedy}", warning=True)
    return {"paused": False, "paused_reason": "", "fights": 0}, Announcement("Resumed", "Forward moves go on.")


def _retry(status: ReleaseStatus) -> tuple[dict[str, Any], Announcement]:
    if status.phase not in (Phase.ROLLED_BACK, Phase.FAILED):
        return {}, _nothing("retry", status)
    return {"retries": status.retries + 1}, Announcement(
        "Retried", f"The release of {status.canary.image} is tried again (retry {status.retries + 1})."
    )
