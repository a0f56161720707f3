"""The end of a good release: bake at 100 %, replace stable under the canary's cover, give the traffic back."""

from __future__ import annotations

from modelrelease.api.durations import format_duration
from modelrelease.api.images import image_tag
from modelrelease.api.status import Outcome, Phase
from modelrelease.errors import Terminal
from modelrelease.rollout.analysis import evidence_sentence
from modelrelease.rollout.canary import completed, selected_keys, with_release
from modelrelease.rollout.conditions import Stall
from modelrelease.rollout.decision import (
    Announcement,
    Decision,
    DeleteCanary,
    RestoreRoute,
    SetStableTemplate,
    SetWeight,
)
from modelrelease.rollout.holding import hold, is_fresh, strategy_of
from modelrelease.rollout.outcome import conclude, ended, history_with, stalled
from modelrelease.rollout.retreat import release_autoscaler, retreat
from modelrelease.rollout.revision import template_digest
from modelrelease.rollout.running import (
    image_promoted,
    is_as_released,
    runs_release,
    template_of,
    was_given_release,
    without_nulls,
)
from modelrelease.rollout.seen import DeploymentSeen, Manifest, Seen

SETTLE_SECONDS = 5.0
"""Least age of stable's newest ready pod before it gets traffic: endpoints travel through istiod to the proxies."""


def baking(seen: Seen, now: float) -> Decision | None:
    """All traffic on the canary, stable kept at full size for an instant way back."""
    status = seen.status
    if status.phase is not Phase.BAKING or status.snapshot is None or status.weight == 0:
        return None  # what bakes serves: in a promotion weight 0 means that stable has the traffic back
    strategy = status.snapshot.strategy
    figures = evidence_sentence(seen.analysis.assessment if seen.analysis is not None else None)
    if seen.spec.paused or status.paused:
        remedy = "set spec.paused to false" if seen.spec.paused else "annotate with modelrelease.dev/resume=true"
        return conclude(seen, now, f"Paused at 100 %: {figures} To go on, {remedy}.")
    bake = max(strategy.bake_time, strategy.steps[-1].min_duration if status.step == status.steps else 0)
    left = (status.step_started_at or now) + bake - now
    if left > 0 and status.approved_step <= status.steps:
        tag, rest = image_tag(status.canary.image), format_duration(max(1, left))
        sentence = f"All traffic goes to {tag}, the bake lasts another {rest}: {figures}"
        return conclude(seen, now, sentence, again_seconds=min(left, 10.0))
    if strategy.steps[-1].approval and status.approved_step <= status.step:
        return conclude(seen, now, "Waiting for approval; annotate with modelrelease.dev/promote=next.")
    if status.approved_step <= status.steps and not is_fresh(seen):
        detail = seen.analysis.message if seen.analysis is not None else "no metrics yet."
        return hold(seen, now, f"The bake is over, but there is no evidence: {detail}")
    return _begin(seen, now)


def _begin(seen: Seen, now: float) -> Decision:
    stable = seen.stable
    if stable is None:
        sentence = "Stable's Deployment is gone; the canary keeps serving. Create the Deployment again to go on."
        return conclude(seen, now, sentence, stall=Stall("DeploymentMissing", sentence))
    tag = image_tag(seen.status.canary.image)
    sentence = f"The bake is over: stable {stable.name} now gets {tag} while the canary serves."
    return conclude(
        seen,
        now,
        sentence,
        changes={
            "phase": Phase.PROMOTING,
            "phase_started_at": now,
            "stable_template": template_of(stable),
        },
        announcements=(Announcement("Promoting", sentence),),
        again_seconds=0.0,
    )


def promoting(seen: Seen, now: float) -> Decision | None:
    """One step of the promotion."""
    if seen.status.phase is not Phase.PROMOTING:
        return None
    for rule in (_superseded, _canary_lost, _stable_template, _stable_ready, _traffic_back, _drain, _route, _canary):
        decision = rule(seen, now)
        if decision is not None:
            return decision
    return release_autoscaler(seen, now) or _finish(seen, now)


def _superseded(seen: Seen, now: float) -> Decision | None:
    """What is asked for was edited before stable was touched: what was never analysed must not get there.

    Later it is too late, and harmless: stable runs what was analysed, and the edit begins the next release.
    """
    stable, status = seen.stable, seen.status
    if is_as_released(seen) or status.weight == 0 or stable is None:
        return None
    if stable.image == image_promoted(status) and _was_touched(stable, status.stable_template):
        return None
    sentence = (
        f"The release of {image_tag(seen.status.canary.image)} gives way: the specification now asks for "
        f"{image_tag(seen.spec.image)}."
    )
    return retreat(seen, now, "Superseded", sentence, Outcome.SUPERSEDED)


def _was_touched(stable: DeploymentSeen, before: Manifest | None) -> bool:
    return without_nulls(template_of(stable)) != without_nulls(before)


def _canary_lost(seen: Seen, now: float) -> Decision | None:
    """The cover is gone while stable rolls: traffic goes to whichever arm has pods, and stable's old template back."""
    status, canary, stable = seen.status, seen.canary, seen.stable
    if status.weight == 0 or (canary is not None and canary.available > 0):
        return None
    if stable is None or stable.available == 0:
        sentence = "Neither the canary nor stable has an available pod; waiting for either."
        return conclude(seen, now, sentence, stall=Stall("NothingAvailable", sentence), again_seconds=1.0)
    if runs_release(seen):
        return None  # stable is through already: go on and give it the traffic
    sentence = "The canary was lost while stable was being replaced; stable gets its old version back."
    return retreat(seen, now, "CanaryLost", sentence, Outcome.ROLLED_BACK)


def _wanted_template(seen: Seen) -> Manifest:
    """Stable's template with the released image, by digest where one is known, and environment."""
    before, wanted = seen.status.stable_template, seen.spec.workload.template
    if before is None:
        raise Terminal("TemplateMissing", "The status lost stable's template; set stable's image by hand.")
    base = before
    if wanted is not None and seen.stable is not None:
        base = completed(wanted, before, selected_keys(seen.stable.manifest, seen.stable_service or {}))
    dropped = seen.status.released_env if wanted is None else []
    asked = {variable.name for variable in seen.spec.env}
    return with_release(base, seen.spec, image_promoted(seen.status), [one for one in dropped if one.name not in asked])


def _stable_template(seen: Seen, now: float) -> Decision | None:
    stable, status = seen.stable, seen.status
    if status.weight == 0:
        return None  # traffic is back on stable already
    if stable is None:
        sentence = "Stable's Deployment is gone; the canary keeps serving. Create the Deployment again to go on."
        return conclude(seen, now, sentence, stall=Stall("DeploymentMissing", sentence))
    if was_given_release(seen):
        return None
    wanted = _wanted_template(seen)
    return conclude(
        seen,
        now,
        status.message,
        effect=SetStableTemplate(wanted, template_digest(seen.spec.workload.template)),
    )


def _stable_ready(seen: Seen, now: float) -> Decision | None:
    """Wait for all of stable's pods; where none has changed for as long as a canary may take, a person has to act."""
    stable, status = seen.stable, seen.status
    if status.weight == 0 or stable is None:
        return None
    settled = stable.pods_changed_at_seconds is None or now - stable.pods_changed_at_seconds >= SETTLE_SECONDS
    covered = seen.canary is not None and seen.canary.available > 0
    if stable.is_rolled_out and stable.available > 0 and (settled or not covered):
        return None
    trouble = f" {stable.trouble.reason}: {stable.trouble.message}" if stable.trouble else ""
    sentence = (
        f"Stable {stable.name} rolls out {image_tag(status.canary.image)} ({stable.available} of {stable.replicas} "
        f"pods available) while the canary serves.{trouble}"
    )
    progressed = max(status.phase_started_at or now, stable.pods_changed_at_seconds or 0.0)
    if now - progressed <= strategy_of(seen).progress_deadline:
        return conclude(seen, now, sentence, again_seconds=1.0)
    remedy = (
        "Mend what keeps stable's pods from getting ready, and the promotion goes on by itself; or annotate with "
        "modelrelease.dev/abort=true to give stable its old version back."
    )
    return stalled(seen, now, "ProgressDeadlineExceeded", f"{sentence.rstrip('.')}. {remedy}", again_seconds=1.0)


def _traffic_back(seen: Seen, now: float) -> Decision | None:
    """Stable gets all traffic; the canary's entry stays in the route, with weight 0, until it has drained.

    An istiod that sends gateways only the clusters that routes name (PILOT_FILTER_GATEWAY_CLUSTER_CONFIG) takes the
    cluster away before the route that names it, and requests on that route would have nowhere to go.
    """
    route, status = seen.route, seen.status
    at_zero = route is None or route.weight_percent == 0
    if at_zero and status.weight == 0:
        return None
    sentence = f"Stable runs {image_tag(status.canary.image)} and takes the traffic back; the canary drains."
    return conclude(
        seen,
        now,
        sentence,
        changes={"weight": 0, "confirmed_weight": 0, "phase_started_at": now},
        effect=None if at_zero else SetWeight(0),
        effect_first=True,
        announcements=(Announcement("TrafficReturned", sentence),) if status.weight else (),
    )


def _drain(seen: Seen, now: float) -> Decision | None:
    status = seen.status
    if seen.canary is None or status.snapshot is None:
        return None
    left = (status.phase_started_at or now) + status.snapshot.strategy.drain_delay - now
    return conclude(seen, now, status.message, again_seconds=min(left, 5.0)) if left > 0 else None


def _route(seen: Seen, now: float) -> Decision | None:
    if seen.route is None or not seen.route.has_canary:
        return None
    return conclude(seen, now, seen.status.message, effect=RestoreRoute())


def _canary(seen: Seen, now: float) -> Decision | None:
    if seen.canary is None:
        return None
    return conclude(seen, now, seen.status.message, effect=DeleteCanary(seen.canary.uid))


def _finish(seen: Seen, now: float) -> Decision:
    status = seen.status
    duration = format_duration(now - (status.started_at or now))
    message = f"{image_tag(status.canary.image)} was released in {duration} and serves all traffic."
    # The specification may have been edited since: what is recorded is what stable was given.
    released = (status.snapshot.spec if status.snapshot is not None else None) or seen.spec
    changes = {
        **ended(Phase.SUCCEEDED),
        "outcome": Outcome.SUCCEEDED,
        "outcome_reason": "Succeeded",
        "released_revision": status.revision,
        "released_image": status.canary.image,
        "promoted_image": image_promoted(status),
        "released_env": released.env,
        "released_template": template_digest(released.workload.template),
        "history": history_with(status, Outcome.SUCCEEDED, message, now),
    }
    return conclude(seen, now, message, changes=changes, announcements=(Announcement("Succeeded", message),))
