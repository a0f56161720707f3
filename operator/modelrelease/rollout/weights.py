"""The weight that the route has, held against the one that status holds."""

from __future__ import annotations

from typing import Any

from modelrelease.api.annotations import Action
from modelrelease.api.status import Phase, ReleaseStatus
from modelrelease.rollout.conditions import Stall
from modelrelease.rollout.decision import Announcement, Decision, SetWeight
from modelrelease.rollout.guard import ACTIVE, SHIFTING
from modelrelease.rollout.holding import hold, is_fresh
from modelrelease.rollout.outcome import conclude
from modelrelease.rollout.retreat import GONE
from modelrelease.rollout.running import runs_release
from modelrelease.rollout.seen import Seen
from modelrelease.rollout.steering import FIGHT_REASON

FIGHTS_ALLOWED = 3


def route_gone(seen: Seen, now: float) -> Decision | None:
    """The route cannot be managed: say why, guess nothing, go on when it is back."""
    status, route = seen.status, seen.route
    if status.phase not in ACTIVE or (route is not None and seen.route_problem is None):
        return None
    reason, sentence = seen.route_problem or ("RouteUnknown", "The route could not be read.")
    if route is not None:
        if status.phase is Phase.PROMOTING or (status.phase is Phase.PREPARING and route.weight_percent > 0):
            return None  # what comes next takes traffic off the canary, which every shape allows
        sentence = (
            f"{sentence} The release holds with {route.weight_percent} % on the canary; rollback, abort and deletion "
            "go on."
        )
    has_returned = status.phase is Phase.PROMOTING and status.weight == 0
    if has_returned and (seen.canary is None or reason in GONE):
        return None  # it is not needed any more, and what is gone sends the canary nothing
    return conclude(seen, now, sentence, stall=Stall(reason, sentence))


def weight_set_to_zero(seen: Seen, now: float) -> Decision | None:
    """The route is at 0 where status expects more.

    An operator that died before its status write may have put a verdict there, so 0 is never simply overwritten: only
    when fresh evidence, replayed up to now, says nothing against the canary does the release go on, from its first
    step.
    """
    status, route = seen.status, seen.route
    if status.phase not in SHIFTING or route is None or status.weight == 0 or not route.has_canary:
        return None
    if route.weight_percent != 0 or not route.is_consistent:
        return None
    if not is_fresh(seen):
        sentence = "The canary's weight was set to 0 by somebody else; waiting for fresh metrics before going on."
        return hold(seen, now, sentence)
    if status.confirmed_weight == 0:
        # This release is itself on the way up from 0 and has not got there yet.
        return None
    sentence = "Somebody else set the canary's weight to 0; the release goes on from its first step."
    changes: dict[str, Any] = {
        "phase": Phase.PROGRESSING,
        "step": 1,
        "weight": 0,
        "confirmed_weight": 0,
        "step_started_at": now,
        "approved_step": 0,
        **_fought(status),
    }
    return conclude(
        seen, now, sentence, changes=changes, announcements=(Announcement("WeightChanged", sentence, warning=True),)
    )


def _fought(status: ReleaseStatus) -> dict[str, Any]:
    """One more fight; after too many the release pauses, and an earlier wish to resume does not count for that."""
    fights = status.fights + 1
    if fights < FIGHTS_ALLOWED or status.phase is Phase.PROMOTING:
        return {"fights": fights}
    kept = [handled for handled in status.last_handled if handled.name != Action.RESUME.annotation]
    return {"fights": fights, "paused": True, "paused_reason": FIGHT_REASON, "last_handled": kept}


def foreign_weight(seen: Seen, now: float) -> Decision | None:
    """Bring the route to the weight that status holds: our own unfinished write, or somebody else's to undo.

    A write of our own that did not happen leaves the weight that was confirmed last; any other weight is foreign.
    """
    status, route = seen.status, seen.route
    if route is None or seen.route_problem is not None or not (status.phase in SHIFTING or _covers(seen)):
        return None
    if route.weight_percent == status.weight and route.is_consistent:
        return _follow(seen, now)
    is_unfinished = route.is_consistent and route.weight_percent == status.confirmed_weight
    if is_unfinished and status.confirmed_weight != status.weight:
        return conclude(seen, now, status.message, effect=SetWeight(status.weight))
    if status.paused_reason == FIGHT_REASON:
        sentence = (
            f"Somebody else keeps changing the weights of the route: it has {route.weight_percent} % for the canary "
            f"where {status.weight} % was set. Stop the other writer, then annotate with modelrelease.dev/resume=true."
        )
        # To take all traffic off the canary is subject to no limit.
        effect = SetWeight(0) if status.weight == 0 and route.weight_percent > 0 else None
        return conclude(seen, now, sentence, stall=Stall(FIGHT_REASON, sentence), effect=effect, effect_first=True)
    limit = "the promotion goes on without" if status.phase is Phase.PROMOTING else "the release pauses"
    sentence = (
        f"Somebody else changed the canary's weight to {route.weight_percent} %; it was set back to {status.weight} % "
        f"({status.fights + 1} of {FIGHTS_ALLOWED} times before {limit})."
    )
    return conclude(
        seen,
        now,
        sentence,
        changes=_fought(status),
        effect=SetWeight(status.weight),
        announcements=(Announcement("WeightChanged", sentence, warning=True),),
    )


def _follow(seen: Seen, now: float) -> Decision | None:
    """Stable's destination was edited (headers, a port), and the weights are as they should be: the canary's is made
    like it, so that both arms are compared on the same terms. Nobody fights about weights."""
    status, route = seen.status, seen.route
    if route is None or route.is_alike or status.paused_reason == FIGHT_REASON:
        return None
    sentence = "A destination of the route was edited: the canary's was made like stable's, and the weights stay."
    announcement = Announcement("RouteFollowed", sentence)
    return conclude(seen, now, status.message, effect=SetWeight(status.weight), announcements=(announcement,))


def _covers(seen: Seen) -> bool:
    """Whether the canary has to carry the traffic because stable is being replaced, and nobody has fought about that
    too often: after too many fights the promotion goes on, since its end gives stable all traffic anyway.

    The end is a weight of 0 on a destination that is still there, written by the operator whose status write is yet to
    come; or any route at all once stable runs the release.
    """
    status, route, canary, stable = seen.status, seen.route, seen.canary, seen.stable
    if status.phase is not Phase.PROMOTING or status.weight == 0 or status.fights >= FIGHTS_ALLOWED:
        return False
    is_ours = route is not None and route.has_canary and route.weight_percent == 0
    is_through = runs_release(seen) and stable is not None and stable.available > 0
    return not (is_ours or is_through) and canary is not None and canary.available > 0
