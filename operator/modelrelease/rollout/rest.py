"""No release is under way: see whether one can begin, and whether stable runs what is asked for."""

from __future__ import annotations

from typing import Any

from modelrelease.api.images import image_tag
from modelrelease.api.spec import EnvVar
from modelrelease.api.status import ConditionStatus, ConditionType, Phase, ReleaseStatus
from modelrelease.errors import Terminal
from modelrelease.rollout.beginning import REST_SECONDS, begin, held_up
from modelrelease.rollout.canary import container_name
from modelrelease.rollout.conditions import PENDING
from modelrelease.rollout.creation import creation, starting
from modelrelease.rollout.decision import (
    Announcement,
    Decision,
    DeleteCanary,
    RemoveFinalizer,
    RestoreRoute,
    SetStableTemplate,
)
from modelrelease.rollout.labels import canary_name
from modelrelease.rollout.outcome import conclude, end_sentence
from modelrelease.rollout.retreat import GONE, release_autoscaler
from modelrelease.rollout.revision import revision_of, template_digest
from modelrelease.rollout.running import runs, template_mark
from modelrelease.rollout.seen import Seen
from modelrelease.rollout.stamps import stamped_autoscaler, stamped_before, taken_back

KEEP_UP_SECONDS = 60.0
"""In creation mode: how soon it is noticed that somebody deleted the Service or the VirtualService, which send no
events here. The Deployment does."""
WAIT_SECONDS = 5.0


def at_rest(seen: Seen, now: float) -> Decision | None:
    """What to do between releases; None while one is under way."""
    if not seen.status.phase.is_at_rest:
        return None
    for rule in (
        _leftovers,
        _left_in_route,
        _deleted,
        _conflict,
        creation,
        _stable_missing,
        _metrics_unknown,
        _route_missing,
        _sent_elsewhere,
        starting,
        _as_wanted,
        _stays_ended,
    ):
        decision = rule(seen, now)
        if decision is not None:
            return decision
    return begin(seen, now)


def _leftovers(seen: Seen, now: float) -> Decision | None:
    """A canary without a release: left by a crash, or by somebody who reset the status."""
    if seen.canary is None:
        return _held_still(seen, now)
    held = stamped_autoscaler(seen.canary.manifest)
    if held is not None and seen.status.held_autoscaler is None:
        # The status that knew of it went with the ModelRelease before this one. The canary may be deleted any moment.
        return conclude(seen, now, seen.status.message, changes={"held_autoscaler": held})
    unfinished = _unfinished_stable(seen, now)
    if unfinished is not None:
        return unfinished
    if seen.route is not None and seen.route.has_canary:
        changes = {"phase_started_at": now}
        return conclude(seen, now, seen.status.message, changes=changes, effect=RestoreRoute(), effect_first=True)
    if seen.route is None and seen.route_problem is not None and seen.route_problem[0] not in GONE:
        # The route cannot be read: it may still send traffic to the canary, so the canary stays.
        return held_up(seen, now, *seen.route_problem)
    left = (seen.status.phase_started_at or 0.0) + seen.spec.strategy.drain_delay - now
    if left > 0:
        return conclude(seen, now, seen.status.message, again_seconds=min(left, WAIT_SECONDS))
    delete = conclude(
        seen, now, seen.status.message, changes={"held_autoscaler": None}, effect=DeleteCanary(seen.canary.uid)
    )
    return release_autoscaler(seen, now) or delete


def _left_in_route(seen: Seen, now: float) -> Decision | None:
    """The route names a canary that is gone: left where a ModelRelease and its canary were both removed by force.

    Only what the operator wrote itself is taken out: a destination of the same name may be a user's, or of a rival.
    """
    route = seen.route
    if route is None or not route.has_canary or not route.is_ours or seen.canary_taken or seen.conflict:
        return None
    sentence = (
        f"The route still gave {route.weight_percent} % of the traffic to the canary of a release that was removed by "
        "force; stable has all of it again."
    )
    return conclude(
        seen,
        now,
        seen.status.message,
        effect=RestoreRoute(),
        effect_first=True,
        announcements=(Announcement("RouteRestored", sentence, warning=True),),
    )


def _held_still(seen: Seen, now: float) -> Decision | None:
    """Somebody deleted the canary that was left before the autoscaler had its minimum back."""
    if seen.status.held_autoscaler is None:
        return None
    done = conclude(seen, now, seen.status.message, changes={"held_autoscaler": None})
    return release_autoscaler(seen, now) or done


def _unfinished_stable(seen: Seen, now: float) -> Decision | None:
    """The canary of a ModelRelease that was removed by force still has traffic: its promotion, of which no status knows
    any more, is taken back as on the canary it is stamped, and no traffic goes to a stable without pods."""
    status, stable, canary, route = seen.status, seen.stable, seen.canary, seen.route
    if stable is None or canary is None or route is None or route.weight_percent == 0:
        return None
    before = stamped_before(canary.manifest) if status.phase is Phase.INITIALIZING else None
    wanted = taken_back(stable.manifest, canary.manifest, before) if before is not None else None
    if before is not None and wanted is not None:
        mark = before.mark if before.template is not None else template_mark(stable)
        deployment: Any = wanted["spec"]
        return conclude(seen, now, status.message, effect=SetStableTemplate(deployment["template"], mark))
    if stable.available > 0 or canary.available == 0:
        return None
    sentence = (
        f"Stable {stable.name} has no available pod; until it has, the canary of an earlier release goes on serving."
    )
    return held_up(seen, now, "StableUnavailable", sentence, WAIT_SECONDS)


def _settled(seen: Seen, now: float, message: str = "") -> Decision:
    """Nothing to begin: without a release the ModelRelease needs no finalizer, so that it can be deleted any time.

    message: replaces one that was about something that kept the operator from going on.
    """
    effect = RemoveFinalizer() if seen.has_finalizer else None
    message = message if message and _was_held_up(seen) else seen.status.message
    again = KEEP_UP_SECONDS if seen.spec.workload.template is not None else REST_SECONDS
    return conclude(seen, now, message, effect=effect, again_seconds=None if effect else again)


def _was_held_up(seen: Seen) -> bool:
    """Whether the message is about a release that did not begin."""
    stalled, ready = (seen.status.condition(kind) for kind in (ConditionType.STALLED, ConditionType.READY))
    return (stalled is not None and stalled.status is ConditionStatus.TRUE) or (
        ready is not None and ready.reason == PENDING
    )


def _deleted(seen: Seen, now: float) -> Decision | None:
    return _settled(seen, now) if seen.is_deleting else None


def _conflict(seen: Seen, now: float) -> Decision | None:
    if not seen.conflict:
        return None
    sentence = (
        f"ModelRelease {seen.conflict!r} manages the same Deployment or route already; delete one of the two. "
        "Nothing was changed."
    )
    return held_up(seen, now, "Conflict", sentence)


def _stable_missing(seen: Seen, now: float) -> Decision | None:
    name = seen.spec.workload.deployment
    if seen.stable is None:
        sentence = (
            f"Deployment {name!r} does not exist in namespace {seen.namespace!r}; create it, or give "
            "spec.workload.template so that the operator does."
        )
        return held_up(seen, now, "DeploymentMissing", sentence)
    try:
        template: Any = seen.stable.manifest["spec"]
        container_name(template["template"], seen.spec.workload.container)
    except Terminal as problem:
        return held_up(seen, now, problem.reason, str(problem))
    if seen.stable_service is None:
        sentence = (
            f"Service {seen.spec.service_name!r} does not exist in namespace {seen.namespace!r}; create it or name "
            "another in spec.workload.service."
        )
        return held_up(seen, now, "ServiceMissing", sentence)
    return None


def _metrics_unknown(seen: Seen, now: float) -> Decision | None:
    """Said before a release is asked for: only an edit, or another configuration of the operator, mends it."""
    return held_up(seen, now, *seen.metrics_problem, REST_SECONDS) if seen.metrics_problem is not None else None


def _route_missing(seen: Seen, now: float) -> Decision | None:
    if seen.route is not None and seen.route_problem is None:
        return None
    reason, sentence = seen.route_problem or ("RouteUnknown", "The route could not be read.")
    stable_waits = seen.stable is not None and not runs(seen.spec, seen.status, seen.stable)
    return held_up(seen, now, reason, sentence, WAIT_SECONDS if stable_waits and reason in GONE else 30.0)


def _sent_elsewhere(seen: Seen, now: float) -> Decision | None:
    """The route gives traffic to a destination with the canary's name, and it is not known to be the operator's."""
    route, host = seen.route, canary_name(seen.spec.service_name)
    if route is None or route.weight_percent == 0:
        return None
    sentence = (
        f"The route gives {route.weight_percent} % of its traffic to {host!r}, and whether that is left of a release "
        f"or somebody else's cannot be told. Take it out of VirtualService {seen.spec.virtual_service_name!r}: a "
        "release begins only where stable has all the traffic."
    )
    return held_up(seen, now, "RouteUnsupported", sentence)


def _as_wanted(seen: Seen, now: float) -> Decision | None:
    stable, status = seen.stable, seen.status
    if stable is None or not runs(seen.spec, status, stable):
        return None
    revision = revision_of(seen.spec, status.retries)
    tag = image_tag(seen.spec.image)
    message = f"Stable runs {tag}; nothing to release."
    if status.phase in (Phase.STABLE, Phase.SUCCEEDED) and status.released_revision == revision:
        return _settled(seen, now, message)
    first = status.phase is Phase.INITIALIZING and not status.history
    return conclude(
        seen,
        now,
        message,
        changes={
            "phase": Phase.STABLE,
            "revision": revision,
            "released_revision": revision,
            "released_image": seen.spec.image,
            "released_env": _brought(seen),
            "released_template": template_digest(seen.spec.workload.template),
            "promoted_image": stable.image,
            "created_at": None,
            "outcome": None,
            "outcome_reason": "",
        },
        announcements=(Announcement("Stable", message),) if first else (),
    )


def _brought(seen: Seen) -> list[EnvVar]:
    """Variables of stable that are a release's. What a user's own Deployment has had before is the user's."""
    if seen.spec.workload.template is not None:
        return seen.spec.env
    return [variable for variable in seen.spec.env if variable in seen.status.released_env]


def _stays_ended(seen: Seen, now: float) -> Decision | None:
    """A release that ended stays ended until what is asked for changes; drift of stable is said, not fought."""
    status, stable = seen.status, seen.stable
    revision = revision_of(seen.spec, status.retries)
    if status.phase in (Phase.ROLLED_BACK, Phase.FAILED) and status.revision == revision:
        return _settled(seen, now, _ended(status))
    if status.phase in (Phase.STABLE, Phase.SUCCEEDED) and status.released_revision == revision and stable is not None:
        sentence = (
            f"Stable was set to {stable.image} by somebody else, but {status.promoted_image} was released. Set "
            "spec.image to what shall run, or put stable back; the operator does not fight over it."
        )
        return held_up(seen, now, "StableDrifted", sentence, REST_SECONDS)
    return None


def _ended(status: ReleaseStatus) -> str:
    """How the last release ended, from the history."""
    if not status.history:
        return ""
    last = status.history[0]
    return end_sentence(last.outcome, image_tag(last.image), last.duration, last.message)
