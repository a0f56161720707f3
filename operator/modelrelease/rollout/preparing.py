"""Before any traffic: the canary's objects, its capacity, and everything that could be wrong."""

from __future__ import annotations

from modelrelease.api.images import image_tag
from modelrelease.api.spec import OnUnresolvable, PolicyCoverage, Strategy
from modelrelease.api.status import Outcome, Phase
from modelrelease.errors import Terminal
from modelrelease.rollout.analysis import UNRESOLVABLE_REASON, unresolvable_sentence
from modelrelease.rollout.autoscaler import hold_autoscaler, to_hold
from modelrelease.rollout.canary import canary_deployment
from modelrelease.rollout.conditions import Stall, policies_sentence
from modelrelease.rollout.decision import (
    Announcement,
    CreateCanaryRule,
    CreateCanaryService,
    CreateDeployment,
    Decision,
    DeleteCanary,
    ScaleCanary,
    SetWeight,
)
from modelrelease.rollout.outcome import conclude, stalled
from modelrelease.rollout.retreat import retreat
from modelrelease.rollout.running import leftovers, mark_of
from modelrelease.rollout.seen import MetricsHealth, Seen
from modelrelease.rollout.stepping import pods_needed, step_changes

WAIT_SECONDS = 2.0


def preparing(seen: Seen, now: float) -> Decision | None:
    """One step of the preparation; None in other phases."""
    if seen.status.phase is not Phase.PREPARING:
        return None
    for rule in (
        _conflict,
        _no_weight_yet,
        _other_canary,
        _deployment,
        hold_autoscaler,
        _service,
        _rule,
        _policies,
        _capacity,
        _deadline,
        _canary_available,
        _canary_steady,
        _stable_available,
        _metrics,
        _latency,
    ):
        decision = rule(seen, now)
        if decision is not None:
            return decision
    return _first_step(seen, now)


def _strategy(seen: Seen) -> Strategy:
    return seen.status.snapshot.strategy if seen.status.snapshot is not None else seen.spec.strategy


def first_step(seen: Seen) -> int:
    """The step that a release begins with: the first, or the last where a person promoted it in full."""
    return len(_strategy(seen).steps) if is_promoted_in_full(seen) else 1


def is_promoted_in_full(seen: Seen) -> bool:
    """Whether a person waived every comparison."""
    return seen.status.approved_step > len(_strategy(seen).steps)


def _conflict(seen: Seen, now: float) -> Decision | None:
    if not seen.conflict:
        return None
    sentence = f"ModelRelease {seen.conflict!r} manages the same Deployment or route already; delete one of the two."
    return retreat(seen, now, "Conflict", sentence, Outcome.FAILED)


def _no_weight_yet(seen: Seen, now: float) -> Decision | None:
    """Somebody else gave the canary traffic before there is a step, or a pod to answer it."""
    if seen.route is None or seen.route.weight_percent == 0:
        return None
    sentence = (
        f"Somebody else gave the canary {seen.route.weight_percent} % of the traffic before its first step; it was set "
        "back to 0 %."
    )
    return conclude(
        seen,
        now,
        seen.status.message,
        effect=SetWeight(0),
        effect_first=True,
        announcements=(Announcement("WeightChanged", sentence, warning=True),),
    )


def _other_canary(seen: Seen, now: float) -> Decision | None:
    if seen.canary is None or seen.canary.revision == seen.status.revision:
        return None
    return conclude(seen, now, "Removing the canary of an earlier release.", effect=DeleteCanary(seen.canary.uid))


def _deployment(seen: Seen, now: float) -> Decision | None:
    if seen.canary is not None:
        return None
    if seen.stable is None or seen.stable_service is None:
        sentence = "Stable's Deployment or Service is gone; waiting for it to come back."
        return conclude(seen, now, sentence, stall=Stall("StableMissing", sentence))
    held = to_hold(seen)
    try:
        manifest = canary_deployment(
            seen.stable.manifest,
            seen.stable_service,
            seen.spec,
            release=seen.name,
            revision=seen.status.revision,
            replicas=_needed(seen),
            dropped=leftovers(seen.spec, seen.stable, seen.status.released_env),
            held=held,
        )
    except Terminal as problem:
        return retreat(seen, now, problem.reason, str(problem), Outcome.FAILED)
    changes = {} if held == seen.status.held_autoscaler else {"held_autoscaler": held}
    return conclude(seen, now, seen.status.message, changes=changes, effect=CreateDeployment(manifest))


def _needed(seen: Seen) -> int:
    strategy = _strategy(seen)
    return pods_needed(seen, strategy, strategy.steps[first_step(seen) - 1].weight)


def _service(seen: Seen, now: float) -> Decision | None:
    if seen.canary_service is not None:
        return None
    return conclude(seen, now, seen.status.message, effect=CreateCanaryService())


def _rule(seen: Seen, now: float) -> Decision | None:
    if not seen.policy_missing:
        return None
    return conclude(seen, now, seen.status.message, effect=CreateCanaryRule())


def _policies(seen: Seen, now: float) -> Decision | None:
    """Say before any traffic what would not guard the canary; recorded, so that the condition goes on saying it."""
    found = list(seen.uncovered_policies)
    if found and _strategy(seen).policy_coverage is PolicyCoverage.REQUIRE:
        return retreat(seen, now, "PolicyUncovered", policies_sentence(found, seen.name), Outcome.FAILED)
    if found == seen.status.uncovered_policies:
        return None
    announcement = Announcement("PolicyUncovered", policies_sentence(found, seen.name), warning=True)
    return conclude(
        seen,
        now,
        seen.status.message,
        changes={"uncovered_policies": found},
        announcements=(announcement,) if found else (),
    )


def _capacity(seen: Seen, now: float) -> Decision | None:
    needed = _needed(seen)
    if seen.canary is None or seen.canary.replicas >= needed:
        return None
    return conclude(seen, now, seen.status.message, effect=ScaleCanary(needed))


def _deadline(seen: Seen, now: float) -> Decision | None:
    canary, strategy = seen.canary, _strategy(seen)
    ready = canary is not None and canary.available >= _needed(seen)
    if ready or now - (seen.status.phase_started_at or now) <= strategy.progress_deadline:
        return None
    trouble = canary.trouble if canary is not None else None
    why = f"{trouble.reason}: {trouble.message}" if trouble else "its pods never became ready"
    reason = trouble.reason if trouble else "ProgressDeadlineExceeded"
    available = canary.available if canary is not None else 0
    sentence = (
        f"The canary {image_tag(seen.status.canary.image)} had {available} of {_needed(seen)} pods available within "
        f"{strategy.progress_deadline:.0f} s ({why}). It never received traffic. Set spec.image to one that becomes "
        "ready, or mend what keeps it from that and annotate with modelrelease.dev/retry=true."
    )
    return retreat(seen, now, reason, sentence, Outcome.FAILED)


def _canary_available(seen: Seen, now: float) -> Decision | None:
    canary, needed = seen.canary, _needed(seen)
    if canary is None or canary.available >= needed:
        return None
    trouble = f" {canary.trouble.reason}: {canary.trouble.message}" if canary.trouble else ""
    sentence = (
        f"Waiting for the canary {image_tag(seen.status.canary.image)}: {canary.available} of {needed} pods are "
        f"available.{trouble}"
    )
    return conclude(seen, now, sentence, again_seconds=WAIT_SECONDS)


def _canary_steady(seen: Seen, now: float) -> Decision | None:
    """Endpoints travel through istiod to the proxies, and pods may flap in their first seconds: wait for both."""
    left = seen.canary.seconds_to_steady(now) if seen.canary is not None else 0.0
    if left <= 0:
        return None
    sentence = f"The canary {image_tag(seen.status.canary.image)} is available; it gets traffic once that lasts."
    return conclude(seen, now, sentence, again_seconds=min(left, 1.0))


def _stable_available(seen: Seen, now: float) -> Decision | None:
    if (seen.stable is not None and seen.stable.available > 0) or is_promoted_in_full(seen):
        return None
    sentence = (
        "Stable has no available pod, so there is nothing to compare with. Mend stable, or annotate with "
        "modelrelease.dev/promote=full to release without a comparison."
    )
    return conclude(seen, now, sentence, stall=Stall("StableUnavailable", sentence), again_seconds=WAIT_SECONDS)


def _metrics(seen: Seen, now: float) -> Decision | None:
    """No traffic before the metrics can be read: a judge without eyes must not begin."""
    analysis = seen.analysis
    ready = analysis is not None and analysis.state is not None and analysis.health is MetricsHealth.FRESH
    if ready or is_promoted_in_full(seen):
        return None
    detail = analysis.message if analysis is not None and analysis.health is not MetricsHealth.FRESH else ""
    sentence = f"The canary is available; reading stable's metrics before any traffic moves. {detail}".strip()
    if now - (seen.status.phase_started_at or now) <= _strategy(seen).progress_deadline:
        return conclude(seen, now, sentence, again_seconds=1.0)
    remedy = (
        "Mend what is said to be wrong, or annotate with modelrelease.dev/promote=full to release without a comparison."
    )
    return stalled(seen, now, "MetricsUnavailable", f"{sentence} {remedy}", again_seconds=1.0)


def _latency(seen: Seen, now: float) -> Decision | None:
    """Buckets that cannot show stable's P99, where the release shall not go on so."""
    sentence, snapshot = _unresolvable(seen), seen.status.snapshot
    if not sentence or snapshot is None or snapshot.analysis.latency_p99.on_unresolvable is not OnUnresolvable.HOLD:
        return None
    sentence = f"{sentence} The release holds; set spec.analysis.latencyP99.onUnresolvable to Skip to go on so."
    return conclude(seen, now, sentence, stall=Stall(UNRESOLVABLE_REASON, sentence))


def _unresolvable(seen: Seen) -> str:
    """Why latency will not be compared; empty where it will, or where nothing will be."""
    if seen.analysis is None or is_promoted_in_full(seen):
        return ""
    return unresolvable_sentence(seen.analysis.assessment)


def _first_step(seen: Seen, now: float) -> Decision:
    if seen.spec.paused or seen.status.paused:
        return conclude(seen, now, "The canary is available; the release is paused before its first step.")
    if seen.route is not None and not seen.route.is_consistent:
        sentence = "The weights of the route do not add up to 100; mend them before a release."
        return conclude(seen, now, sentence, stall=Stall("RouteUnsupported", sentence))
    step = first_step(seen)
    changes = step_changes(seen, now, step)
    steps = len(_strategy(seen).steps)
    phase = Phase.BAKING if step == steps else Phase.PROGRESSING
    digest = seen.canary.digest if seen.canary is not None else ""
    arm = seen.status.canary.model_copy(update={"digest": digest})
    sentence = f"Step {step} of {steps}: {image_tag(arm.image)} gets {changes['weight']} % of the traffic."
    return conclude(
        seen,
        now,
        sentence,
        changes={
            **changes,
            "phase": phase,
            "phase_started_at": now,
            "canary": arm,
            "canary_template": mark_of(seen.canary) if seen.canary is not None else "",
        },
        effect=SetWeight(changes["weight"]),
        announcements=(*_errors_alone(seen), Announcement("StepStarted", sentence)),
    )


def _errors_alone(seen: Seen) -> tuple[Announcement, ...]:
    """That latency will not be compared; the condition that goes with it is written before any traffic moves."""
    sentence = _unresolvable(seen)
    return (Announcement(UNRESOLVABLE_REASON, f"{sentence} Errors alone decide.", warning=True),) if sentence else ()
