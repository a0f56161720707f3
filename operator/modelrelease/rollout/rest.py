"""No release is under way: see whether stable runs what is asked for, and begin a release where it does not."""

from __future__ import annotations

from typing import Any

from modelrelease.api.images import image_tag
from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.api.status import (
    AnalysisStatus,
    ArmStatus,
    ConditionStatus,
    ConditionType,
    Outcome,
    Phase,
    ReleaseStatus,
    Snapshot,
)
from modelrelease.errors import Terminal
from modelrelease.rollout.canary import container_name, created_stable, created_virtual_service
from modelrelease.rollout.conditions import Stall
from modelrelease.rollout.decision import (
    IMMEDIATELY,
    AddFinalizer,
    Announcement,
    CreateDeployment,
    CreateService,
    CreateVirtualService,
    Decision,
    DeleteCanary,
    RemoveFinalizer,
    RestoreRoute,
)
from modelrelease.rollout.outcome import conclude, end_sentence, stable_tag
from modelrelease.rollout.retreat import GONE
from modelrelease.rollout.revision import revision_of, template_digest
from modelrelease.rollout.running import has_env, template_mark
from modelrelease.rollout.seen import DeploymentSeen, Seen

REST_SECONDS = 300.0
KEEP_UP_SECONDS = 15.0
"""In creation mode: how soon it is noticed that somebody deleted what serves; its objects send no events."""
WAIT_SECONDS = 5.0


def at_rest(seen: Seen, now: float) -> Decision | None:
    """What to do between releases; None while one is under way."""
    if not seen.status.phase.is_at_rest:
        return None
    for rule in (_leftovers, _deleted, _conflict, _creation, _stable_missing, _as_wanted, _stays_ended):
        decision = rule(seen, now)
        if decision is not None:
            return decision
    return _begin(seen, now)


def _leftovers(seen: Seen, now: float) -> Decision | None:
    """A canary without a release: left by a crash, or by somebody who reset the status."""
    if seen.canary is None:
        return None
    if seen.route is not None and seen.route.has_canary:
        changes = {"phase_started_at": now}
        return conclude(seen, now, seen.status.message, changes=changes, effect=RestoreRoute(), effect_first=True)
    if seen.route is None and seen.route_problem is not None and seen.route_problem[0] not in GONE:
        # The route cannot be read: it may still send traffic to the canary, so the canary stays.
        return _stalled(seen, now, *seen.route_problem)
    left = (seen.status.phase_started_at or 0.0) + seen.spec.strategy.drain_delay - now
    if left > 0:
        return conclude(seen, now, seen.status.message, again_seconds=min(left, WAIT_SECONDS))
    return conclude(seen, now, seen.status.message, effect=DeleteCanary(seen.canary.uid))


def _settled(seen: Seen, now: float, message: str = "") -> Decision:
    """Nothing to begin: without a release the ModelRelease needs no finalizer, so that it can be deleted any time.

    message: replaces one that was about something that kept the operator from going on.
    """
    effect = RemoveFinalizer() if seen.has_finalizer else None
    message = message if message and _was_stalled(seen) else seen.status.message
    again = KEEP_UP_SECONDS if seen.spec.workload.template is not None else REST_SECONDS
    return conclude(seen, now, message, effect=effect, again_seconds=None if effect else again)


def _was_stalled(seen: Seen) -> bool:
    stalled = seen.status.condition(ConditionType.STALLED)
    return stalled is not None and stalled.status is ConditionStatus.TRUE


def _deleted(seen: Seen, now: float) -> Decision | None:
    return _settled(seen, now) if seen.is_deleting else None


def _stalled(seen: Seen, now: float, reason: str, sentence: str, again: float = 30.0) -> Decision:
    """Say why nothing moves; an Event only where the reason is new."""
    before = next((c for c in seen.status.conditions if c.type == "Stalled"), None)
    fresh = before is None or before.reason != reason
    return conclude(
        seen,
        now,
        sentence,
        stall=Stall(reason, sentence),
        announcements=(Announcement(reason, sentence, warning=True),) if fresh else (),
        again_seconds=again,
    )


def _conflict(seen: Seen, now: float) -> Decision | None:
    if not seen.conflict:
        return None
    sentence = (
        f"ModelRelease {seen.conflict!r} manages the same Deployment or route already; delete one of the two. "
        "Nothing was changed."
    )
    return _stalled(seen, now, "Conflict", sentence)


def _creation(seen: Seen, now: float) -> Decision | None:
    """Creation mode: what is absent is created and kept up."""
    if seen.spec.workload.template is None:
        return None
    spec = _what_ran(seen)
    if spec is None:
        return None if seen.stable is not None else _cannot_recreate(seen, now)
    try:
        deployment, service = created_stable(spec, seen.namespace)
    except Terminal as problem:
        return _stalled(seen, now, problem.reason, str(problem))
    missing_route = seen.route is None and (seen.route_problem or ("", ""))[0] == "VirtualServiceMissing"
    if seen.stable is None:
        return _create(seen, now, f"Deployment {spec.workload.deployment!r}", CreateDeployment(deployment))
    if seen.stable_service is None:
        return _create(seen, now, f"Service {spec.service_name!r}", CreateService(service))
    if missing_route and spec.traffic.hosts:
        route = created_virtual_service(spec, seen.namespace)
        return _create(seen, now, f"VirtualService {spec.virtual_service_name!r}", CreateVirtualService(route))
    return None


def _what_ran(seen: Seen) -> ModelReleaseSpec | None:
    """What stable runs or, where nothing was ever released, shall run first; None where that is not known any more.

    Never what the specification asks for by itself: it may name a version that was rolled back, or a tag that moved.
    """
    status, spec = seen.status, seen.spec
    if not status.released_image:
        condemned = status.phase in (Phase.ROLLED_BACK, Phase.FAILED)
        return None if condemned else spec
    if status.released_template != template_digest(spec.workload.template):
        return None
    return spec.model_copy(update={"image": status.promoted_image, "env": status.released_env})


def _create(
    seen: Seen, now: float, what: str, effect: CreateDeployment | CreateService | CreateVirtualService
) -> Decision:
    message = f"{what} does not exist; creating it as spec.workload asks for."
    return conclude(
        seen,
        now,
        message,
        stall=Stall("Creating", message),
        effect=effect,
        announcements=(Announcement("Creating", message),),
    )


def _cannot_recreate(seen: Seen, now: float) -> Decision:
    image = seen.status.promoted_image or "what shall run"
    sentence = (
        f"Deployment {seen.spec.workload.deployment!r} is gone, and spec.workload.template is not the one it ran with. "
        f"Create the Deployment with {image}, or put the template of the last release back."
    )
    return _stalled(seen, now, "DeploymentMissing", sentence)


def _stable_missing(seen: Seen, now: float) -> Decision | None:
    name = seen.spec.workload.deployment
    if seen.stable is None:
        sentence = (
            f"Deployment {name!r} does not exist in namespace {seen.namespace!r}; create it, or give "
            "spec.workload.template so that the operator does."
        )
        return _stalled(seen, now, "DeploymentMissing", sentence)
    try:
        template: Any = seen.stable.manifest["spec"]
        container_name(template["template"], seen.spec.workload.container)
    except Terminal as problem:
        return _stalled(seen, now, problem.reason, str(problem))
    if seen.stable_service is None:
        sentence = (
            f"Service {seen.spec.service_name!r} does not exist in namespace {seen.namespace!r}; create it or name "
            "another in spec.workload.service."
        )
        return _stalled(seen, now, "ServiceMissing", sentence)
    return None


def stable_runs(spec: ModelReleaseSpec, seen: Seen, stable: DeploymentSeen) -> bool:
    """Whether stable's Deployment is what the specification asks for, by tag or by the digest promoted for it."""
    status = seen.status
    by_promotion = spec.image == status.released_image and stable.image == status.promoted_image
    if stable.image != spec.image and not by_promotion:
        return False
    if not has_env(stable, spec.env):
        return False
    return spec.workload.template is None or template_mark(stable) == template_digest(spec.workload.template)


def _as_wanted(seen: Seen, now: float) -> Decision | None:
    stable, status = seen.stable, seen.status
    if stable is None or not stable_runs(seen.spec, seen, stable):
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
            "released_env": seen.spec.env,
            "released_template": template_digest(seen.spec.workload.template),
            "promoted_image": stable.image,
            "outcome": None,
            "outcome_reason": "",
        },
        announcements=(Announcement("Stable", message),) if first else (),
    )


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
        return _stalled(seen, now, "StableDrifted", sentence, again=REST_SECONDS)
    return None


def _ended(status: ReleaseStatus) -> str:
    """How the last release ended, from the history."""
    if not status.history:
        return ""
    last = status.history[0]
    return end_sentence(last.outcome, image_tag(last.image), last.duration, last.message)


def _retries(seen: Seen) -> int:
    """A release that was condemned and is asked for again, by going back to its image, is another one: the verdict
    stands for its revision for ever."""
    retries = seen.status.retries
    against = (Outcome.ROLLED_BACK, Outcome.FAILED)
    condemned = {entry.revision for entry in seen.status.history if entry.outcome in against}
    while revision_of(seen.spec, retries) in condemned:
        retries += 1
    return retries


def _begin(seen: Seen, now: float) -> Decision:
    """Begin a release: finalizer first, so that deletion waits for the traffic, then the recorded intent."""
    status = seen.status
    if seen.provider_problem:
        return _stalled(seen, now, "UnknownProvider", seen.provider_problem)
    if seen.route is None:
        reason, sentence = seen.route_problem or ("RouteUnknown", "The route could not be read.")
        return _stalled(seen, now, reason, sentence, again=WAIT_SECONDS if reason in GONE else 30.0)
    if seen.spec.paused:
        return conclude(seen, now, "A release is waiting: spec.paused is true.", again_seconds=REST_SECONDS)
    tag = image_tag(seen.spec.image)
    if not seen.has_finalizer:
        # The status waits for the next look, which writes the intent: conditions of an older generation fool nobody.
        return Decision(status, AddFinalizer(), again_seconds=IMMEDIATELY)
    steps = len(seen.spec.strategy.steps)
    weights = " → ".join(str(step.weight) for step in seen.spec.strategy.steps)
    before = stable_tag(status, seen.stable.image) if seen.stable else "stable"
    message = f"Preparing the release of {tag} beside {before}: {weights} %."
    retries = _retries(seen)
    return conclude(
        seen,
        now,
        message,
        changes={
            "phase": Phase.PREPARING,
            "revision": revision_of(seen.spec, retries),
            "retries": retries,
            "snapshot": Snapshot(strategy=seen.spec.strategy, analysis=seen.spec.analysis, retries=retries),
            "analysis": AnalysisStatus(),
            "last_handled": [],
            "canary": ArmStatus(image=seen.spec.image),
            "step": 0,
            "steps": steps,
            "weight": 0,
            "confirmed_weight": 0,
            "started_at": now,
            "phase_started_at": now,
            "judge": None,
            "outcome": None,
            "outcome_reason": "",
            "stable_template": None,
        },
        announcements=(Announcement("ReleaseStarted", message),),
    )
