"""Creation mode: what serves is made as `spec.workload` asks for it, and kept up between releases."""

from __future__ import annotations

from typing import Any

from modelrelease.api.images import image_tag
from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.api.status import Phase
from modelrelease.errors import Terminal
from modelrelease.rollout.beginning import held_up
from modelrelease.rollout.conditions import Stall
from modelrelease.rollout.decision import (
    Announcement,
    CreateDeployment,
    CreateService,
    CreateVirtualService,
    Decision,
    ScaleStable,
    SetStableTemplate,
)
from modelrelease.rollout.outcome import conclude, stalled
from modelrelease.rollout.provision import created_stable, created_virtual_service
from modelrelease.rollout.revision import template_digest
from modelrelease.rollout.running import runs, template_mark
from modelrelease.rollout.seen import Manifest, Seen

WAIT_SECONDS = 5.0


def creation(seen: Seen, now: float) -> Decision | None:
    """What is absent is created; None where all is there, and outside of creation mode."""
    if seen.spec.workload.template is None:
        return None
    spec = _what_ran(seen)
    if spec is None:
        return None if seen.stable is not None else _cannot_recreate(seen, now)
    try:
        deployment, service = created_stable(spec, seen.namespace, seen.name)
    except Terminal as problem:
        return held_up(seen, now, problem.reason, str(problem))
    missing_route = seen.route is None and (seen.route_problem or ("", ""))[0] == "VirtualServiceMissing"
    if seen.stable is None:
        first = {} if seen.status.released_image else {"created_at": now}
        return _create(seen, now, f"Deployment {spec.workload.deployment!r}", CreateDeployment(deployment), first)
    if seen.stable_service is None:
        return _create(seen, now, f"Service {spec.service_name!r}", CreateService(service))
    if missing_route and spec.traffic.hosts:
        route = created_virtual_service(spec, seen.namespace)
        return _create(seen, now, f"VirtualService {spec.virtual_service_name!r}", CreateVirtualService(route))
    return _instead(seen, now, deployment) or _replicas(seen, now)


def _instead(seen: Seen, now: float, deployment: Manifest) -> Decision | None:
    """An edit while the first version has never served: nothing is there to compare with, and nothing to lose."""
    stable, status, template = seen.stable, seen.status, seen.spec.workload.template
    if stable is None or status.created_at is None or stable.available > 0 or runs(seen.spec, status, stable):
        return None
    if not template_mark(stable):
        return None  # somebody else made a Deployment of that name in the meantime
    message = (
        f"{image_tag(stable.image)} has never served; {stable.name} gets {image_tag(seen.spec.image)} instead, "
        "without a release."
    )
    body: Any = deployment["spec"]
    return conclude(
        seen,
        now,
        message,
        changes={"created_at": now},
        effect=SetStableTemplate(body["template"], template_digest(template)),
        announcements=(Announcement("Creating", message),),
    )


def starting(seen: Seen, now: float) -> Decision | None:
    """Wait until the first version of creation mode serves; after as long as a canary may take, a person has to act."""
    stable, created_at = seen.stable, seen.status.created_at
    if stable is None or created_at is None or stable.is_rolled_out:
        return None
    trouble = f" {stable.trouble.reason}: {stable.trouble.message}" if stable.trouble else ""
    sentence = (
        f"Waiting for {image_tag(stable.image)} in {stable.name}, the first version: {stable.available} of "
        f"{stable.replicas} pods are available.{trouble}"
    )
    if now - created_at <= seen.spec.strategy.progress_deadline:
        return conclude(seen, now, sentence, again_seconds=WAIT_SECONDS)
    sentence = f"{sentence.rstrip('.')}. Mend what keeps them from that, or set spec.image to one that becomes ready."
    return stalled(seen, now, "ProgressDeadlineExceeded", sentence, again_seconds=WAIT_SECONDS)


def _replicas(seen: Seen, now: float) -> Decision | None:
    """An edit of the number of replicas is applied once: what scales stable later is not fought."""
    wanted, applied, stable = seen.spec.workload.replicas, seen.status.created_replicas, seen.stable
    if stable is None or (wanted or 0) == applied:
        return None
    changes = {"created_replicas": wanted or 0}
    if wanted is None or applied is None or stable.replicas == wanted:
        return conclude(seen, now, seen.status.message, changes=changes)
    message = f"Scaling {stable.name} from {stable.replicas} to {wanted} pods, as spec.workload.replicas asks for."
    return conclude(
        seen,
        now,
        seen.status.message,
        changes=changes,
        effect=ScaleStable(wanted),
        effect_first=True,
        announcements=(Announcement("Scaled", message),),
    )


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
    seen: Seen,
    now: float,
    what: str,
    effect: CreateDeployment | CreateService | CreateVirtualService,
    changes: dict[str, Any] | None = None,
) -> Decision:
    message = f"{what} does not exist; creating it as spec.workload asks for."
    return conclude(
        seen,
        now,
        message,
        changes=changes,
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
    return held_up(seen, now, "DeploymentMissing", sentence)
