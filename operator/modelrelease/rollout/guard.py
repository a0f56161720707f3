"""Safety first: what overrides every forward move while a release is under way."""

from __future__ import annotations

from typing import Any

from modelrelease.api.images import image_tag
from modelrelease.api.status import Outcome, Phase, ReleaseStatus
from modelrelease.judge import Assessment
from modelrelease.rollout.analysis import evidence_sentence
from modelrelease.rollout.decision import Announcement, Decision, SetWeight
from modelrelease.rollout.outcome import conclude, stable_tag, stalled
from modelrelease.rollout.retreat import CANARY_CHANGED, retreat
from modelrelease.rollout.revision import revision_of
from modelrelease.rollout.running import has_env, mark_of, runs_release
from modelrelease.rollout.seen import DeploymentSeen, Seen
from modelrelease.rollout.steering import abort_request, remembered

ACTIVE = (Phase.PREPARING, Phase.PROGRESSING, Phase.PAUSED, Phase.BAKING, Phase.PROMOTING)
SHIFTING = (Phase.PROGRESSING, Phase.PAUSED, Phase.BAKING)
SETTLE_SECONDS = 1.0
"""Proxies learn of a weight later than the API server: istiod debounces for 100 ms and pushes in milliseconds
(measured); a second is not counted."""

LOSSES_ALLOWED = 1

SEEN_WITHIN_SECONDS = 10.0
"""How long after its last pod was taken away a loss is seen at the latest; the Deployment's event tells it at once."""


def abort(seen: Seen, now: float) -> Decision | None:
    """A person's wish to abort. Recorded with the retreat, so that the annotation can be removed afterwards.

    Once stable runs the release and has its traffic back, it is too late: there is no canary to cover a way back.
    """
    request = abort_request(seen)
    if request is None or seen.status.phase not in ACTIVE or _has_returned(seen):
        return None
    said = request.value if request.concerns(generation=seen.generation, revision=seen.status.revision) else request.raw
    reason = f" ({said})" if said not in ("", "true") else ""
    sentence = f"A person aborted the release of {image_tag(seen.status.canary.image)}{reason}."
    decision = retreat(seen, now, "Aborted", sentence, Outcome.ROLLED_BACK)
    status = decision.status.model_copy(update={"last_handled": remembered(seen, request, now)})
    return Decision(status, decision.effect, decision.effect_first, decision.announcements, decision.again_seconds)


def deletion(seen: Seen, now: float) -> Decision | None:
    """The ModelRelease is being deleted: the canary goes, stable stays. A promotion that is through ends by itself."""
    if not seen.is_deleting or seen.status.phase not in ACTIVE or _has_returned(seen):
        return None
    sentence = "The ModelRelease is being deleted; all traffic goes back to stable and the canary is removed."
    return retreat(seen, now, "Deleted", sentence, Outcome.ROLLED_BACK)


def _has_returned(seen: Seen) -> bool:
    """Whether stable was replaced and has its traffic back, be it that only the route says so by now."""
    status = seen.status
    if status.phase is not Phase.PROMOTING or seen.stable is None:
        return False
    at_zero = seen.route is not None and seen.route.weight_percent == 0
    return status.weight == 0 or (at_zero and runs_release(seen))


def superseded(seen: Seen, now: float) -> Decision | None:
    """Image, env or template were edited: this release ends, another begins."""
    if seen.status.phase not in (Phase.PREPARING, *SHIFTING):
        return None
    if revision_of(seen.spec, seen.status.retries) == seen.status.revision:
        return None
    sentence = (
        f"The release of {image_tag(seen.status.canary.image)} gives way: the specification now asks for "
        f"{image_tag(seen.spec.image)}."
    )
    return retreat(seen, now, "Superseded", sentence, Outcome.SUPERSEDED)


def unreadable(seen: Seen, now: float) -> Decision | None:
    """The specification cannot be read: nothing is guessed, nothing goes forward, all can be taken back."""
    status = seen.status
    if not seen.spec_problem or status.phase not in (Phase.PREPARING, *SHIFTING):
        return None
    sentence = (
        f"The release of {image_tag(status.canary.image)} holds at {status.weight} %: the specification cannot be read "
        f"({seen.spec_problem}). Mend it; until then rollback, abort and deletion go on."
    )
    return stalled(seen, now, "InvalidSpec", sentence)


def stamped(seen: Seen, now: float) -> Decision | None:
    """A verdict stands on the canary that status does not know of: its writer died before it could say so."""
    canary = seen.canary
    if seen.status.phase not in ACTIVE or canary is None or not canary.verdict.startswith(f"{seen.status.revision}:"):
        return None
    reason = canary.verdict.split(":", 1)[1] or "VerdictFound"
    sentence = f"A verdict against {image_tag(canary.image)} was found on its Deployment ({reason})."
    return retreat(seen, now, reason, sentence, Outcome.ROLLED_BACK)


_BLAME = {
    "errors": ("ErrorRateTooHigh", "more errors than stable"),
    "latency": ("LatencyTooHigh", "a higher P99 latency than stable"),
    "errors-ceiling": ("ErrorRateAboveCeiling", "an error rate above its ceiling"),
    "latency-ceiling": ("LatencyAboveCeiling", "a P99 latency above its ceiling"),
    "errors-bake": ("ErrorRateTooHigh", "more errors at 100 % than stable had"),
    "latency-bake": ("LatencyTooHigh", "a higher P99 latency at 100 % than stable had"),
}


def verdict(seen: Seen, now: float) -> Decision | None:
    """The judge's verdict against the canary."""
    assessment = seen.analysis.assessment if seen.analysis is not None else None
    if seen.status.phase not in SHIFTING or assessment is None or not assessment.rollback:
        return None
    reason, what = blame(assessment)
    sentence = (
        f"{image_tag(seen.status.canary.image)} has {what}: {evidence_sentence(assessment)} "
        f"All traffic goes back to {stable_tag(seen.status, seen.status.stable.image)}."
    )
    return retreat(seen, now, reason, sentence, Outcome.ROLLED_BACK)


def suspicion(seen: Seen, now: float) -> Decision | None:
    """What samples say against the canary while its pods cannot be read: reason enough for weight 0, but no verdict.

    Pods that had just started, or were taken away, would make the same errors. The samples are judged again once pods
    can be read: then it is a verdict, or the canary gets its weight back.
    """
    assessment = seen.analysis.assessment if seen.analysis is not None else None
    status, route = seen.status, seen.route
    if status.phase not in SHIFTING or assessment is None or not assessment.rollback or route is None:
        return None
    if route.weight_percent == 0 and status.weight == 0:
        return None
    sentence = (
        f"{image_tag(status.canary.image)} has {blame(assessment)[1]}: {evidence_sentence(assessment)} Whether its "
        "pods have just started, or were taken away, cannot be read at present: its weight is 0 until that is known."
    )
    return conclude(
        seen,
        now,
        sentence,
        changes=_without_weight(now),
        effect=SetWeight(0) if route.weight_percent > 0 else None,
        effect_first=True,
        announcements=(Announcement("CanarySuspected", sentence, warning=True),),
    )


def _without_weight(now: float) -> dict[str, Any]:
    """Status changes of a release that goes on, once there is reason to, from weight 0 to the weight of its step."""
    return {"phase": Phase.PROGRESSING, "weight": 0, "confirmed_weight": 0, "step_started_at": now}


def blame(assessment: Assessment) -> tuple[str, str]:
    """Condition reason and words for the metric that the judge blames."""
    return _BLAME.get(assessment.blame or "", ("Regression", "become worse than stable"))


def another_release(seen: Seen, now: float) -> Decision | None:
    """The canary's pods do not run what this release began with: edited by hand, or its tag changed content.

    It starts over once. Before any traffic, where all is made by the operator, and the second time, somebody changes
    whatever it creates: to start over would never end. While stable is replaced under the canary's cover, that is taken
    back, too, unless stable is through and about to take the traffic anyway.
    """
    canary, status = seen.canary, seen.status
    preparing = status.phase is Phase.PREPARING and canary is not None and canary.revision == status.revision
    if canary is None or not (preparing or status.phase in SHIFTING or _stands_in(seen)):
        return None
    what = _difference(seen, canary)
    if not what:
        return None
    is_known = _has_changed_before(status)
    if not preparing and not is_known:
        sentence = f"The canary's Deployment {canary.name} {what}; the release starts over."
        return retreat(seen, now, CANARY_CHANGED, sentence, Outcome.SUPERSEDED)
    sentence = (
        f"The canary's Deployment {canary.name} {what}{', not for the first time' if is_known else ''}. Stop whoever "
        "changes it, or ask in spec for what it is changed to; modelrelease.dev/retry=true tries the same again."
    )
    return retreat(seen, now, CANARY_CHANGED, sentence, Outcome.FAILED)


def _stands_in(seen: Seen) -> bool:
    """Whether the canary carries the traffic while stable is replaced. Where stable is gone it serves in any case."""
    status = seen.status
    return status.phase is Phase.PROMOTING and status.weight > 0 and seen.stable is not None and not runs_release(seen)


def _difference(seen: Seen, canary: DeploymentSeen) -> str:
    """In what the canary is not what its release began with, to go on after its name; empty where it is."""
    status = seen.status
    if canary.revision != status.revision:
        return "was edited: it bears the stamp of another release"
    if canary.image != status.canary.image:
        return f"was edited: its image is {canary.image} instead of {status.canary.image}"
    began = (status.snapshot.spec if status.snapshot is not None else None) or seen.spec
    if not has_env(canary, began.env):
        names = ", ".join(one.name for one in began.env if not has_env(canary, [one]))
        return f"was edited: its environment differs in {names}"
    if status.canary_template not in ("", mark_of(canary)):
        return "was edited: its pod template is another one"
    running, known = canary.digests, (canary.digest, status.canary.digest)
    for references in (running, known):
        digests = sorted({_digest(reference) for reference in references if reference})
        if len(digests) > 1:
            return f"runs another digest than it began with ({' and '.join(digests)}: its tag was moved)"
    return ""


def _digest(reference: str) -> str:
    """The digest alone: nodes may report the same one under different repositories."""
    return reference.rpartition("@")[2]


def _has_changed_before(status: ReleaseStatus) -> bool:
    """Whether this very revision has started over for that already."""
    return any(one.revision == status.revision and one.reason == CANARY_CHANGED for one in status.history)


def canary_lost(seen: Seen, now: float) -> Decision | None:
    """No canary pod is available: weight 0 at once; the second time, or in a crash loop, it is a verdict."""
    status, canary = seen.status, seen.canary
    if status.phase not in SHIFTING or (canary is not None and canary.available > 0):
        return None
    tag = image_tag(status.canary.image)
    trouble = f" ({canary.trouble.reason}: {canary.trouble.message})" if canary and canary.trouble else ""
    has_weight = seen.route is not None and seen.route.weight_percent > 0
    newly_lost = has_weight or status.weight > 0
    if (newly_lost and status.losses >= LOSSES_ALLOWED) or (canary is not None and canary.crash_loop):
        what = "crashes again and again" if canary is not None and canary.restarts else "lost its last pod once more"
        sentence = f"The canary {tag} {what}{trouble}; all traffic goes back to stable."
        return retreat(seen, now, "CanaryCrashed", sentence, Outcome.ROLLED_BACK)
    if newly_lost:
        sentence = f"No pod of the canary {tag} is available{trouble}; its weight is 0 until one is."
        return conclude(
            seen,
            now,
            sentence,
            changes={**_without_weight(now), "losses": status.losses + 1},
            effect=SetWeight(0) if has_weight else None,
            effect_first=True,
            announcements=(Announcement("CanaryLost", sentence, warning=True),),
        )
    return None


def outage(status: ReleaseStatus, canary: DeploymentSeen | None, now: float) -> tuple[float, float] | None:
    """From when to when requests met no pod because others took it away, in unix seconds; None where nobody did.

    A pod that was evicted, or deleted with its node, takes the requests with it that the proxies still send to nobody;
    they say nothing about the version. The loss itself is counted in any case. Where a container died, or a pod that
    was there before stays and is not ready, they are the version's. Found from status and pods alone: a restart between
    the loss and the time at which its samples are judged changes nothing.
    """
    if status.phase not in SHIFTING or status.snapshot is None:
        return None
    is_recorded = status.weight == 0 and status.losses > 0
    if not is_recorded and (status.weight == 0 or (canary is not None and canary.available > 0)):
        return None
    lost_at = (status.step_started_at or now) if is_recorded else now
    since = _taken_away_since(canary, lost_at)
    # As long as after any other change of pods. Until then the weight is 0 on every proxy.
    return None if since is None else (since, lost_at + max(SETTLE_SECONDS, status.snapshot.analysis.warm_up))


def _taken_away_since(canary: DeploymentSeen | None, lost_at: float) -> float | None:
    """When the canary's pods were asked to go; None where it is they that failed.

    Pods that vanish at once, by force, are told by those that come in their place, whose creation is the moment; where
    nothing is left to tell it, it is as early as a loss may be seen late.
    """
    earliest = lost_at - SEEN_WITHIN_SECONDS
    if canary is None:
        return earliest
    oldest = min(canary.created_seconds, default=None)
    if canary.has_crashed or (oldest is not None and oldest < earliest):
        return None
    moments = (*canary.asked_to_go_seconds, *(() if oldest is None else (oldest,)))
    return min((moment for moment in moments if earliest <= moment <= lost_at), default=earliest)


def lost_for_good(seen: Seen, now: float) -> Decision | None:
    """The canary did not come back within the progress deadline."""
    status, canary = seen.status, seen.canary
    if status.phase not in SHIFTING or status.weight > 0 or status.snapshot is None:
        return None
    if canary is not None and canary.available > 0:
        return None
    if now - (status.step_started_at or now) <= status.snapshot.strategy.progress_deadline:
        return None
    sentence = f"The canary {image_tag(status.canary.image)} did not become available again."
    return retreat(seen, now, "CanaryUnavailable", sentence, Outcome.ROLLED_BACK)


def settings_edited(seen: Seen, now: float) -> Decision | None:
    """Strategy or analysis were edited under way: they apply to the next release, and an Event says so once."""
    status = seen.status
    if status.phase not in ACTIVE or status.snapshot is None or status.observed_generation == seen.generation:
        return None
    if (seen.spec.strategy, seen.spec.analysis) == (status.snapshot.strategy, status.snapshot.analysis):
        return None
    sentence = "Edits of strategy and analysis apply to the next release; this one goes on as it began."
    return conclude(
        seen,
        now,
        status.message,
        changes={"observed_generation": seen.generation},
        announcements=(Announcement("SettingsDeferred", sentence),),
    )
