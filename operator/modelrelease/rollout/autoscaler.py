"""Stable's HorizontalPodAutoscaler: its minimum is held while the canary has the traffic."""

from __future__ import annotations

from modelrelease.api.status import HeldAutoscaler, Phase
from modelrelease.rollout.decision import Announcement, Decision, SetAutoscalerMinimum, StampCanary
from modelrelease.rollout.guard import SHIFTING
from modelrelease.rollout.labels import AUTOSCALER
from modelrelease.rollout.outcome import conclude
from modelrelease.rollout.seen import Seen
from modelrelease.rollout.stamps import stamp_on

HOLDS_ALLOWED = 3
"""How often a minimum that somebody lowered is held again before it is left to them."""


def hold_autoscaler(seen: Seen, now: float) -> Decision | None:
    """Keep stable's size: its traffic leaves, but it may have to take everything back.

    What to put back is recorded first, in status and on the canary, which is there if the ModelRelease is not.
    """
    autoscaler, canary, held = seen.autoscaler, seen.canary, to_hold(seen)
    if held is None or autoscaler is None or canary is None:
        return None
    if held != seen.status.held_autoscaler:
        return conclude(seen, now, seen.status.message, changes={"held_autoscaler": held})
    stamp = held.model_dump_json()
    if stamp_on(canary.manifest, AUTOSCALER) != stamp:
        return conclude(seen, now, seen.status.message, effect=StampCanary(AUTOSCALER, stamp))
    if autoscaler.min_replicas < held.held_at:
        return conclude(seen, now, seen.status.message, effect=SetAutoscalerMinimum(held.name, held.held_at))
    return None


def hold_again(seen: Seen, now: float) -> Decision | None:
    """Somebody lowered the minimum while stable may have to take traffic back: held again, so many times."""
    status, autoscaler, held = seen.status, seen.autoscaler, to_hold(seen)
    is_needed = status.phase in SHIFTING or (status.phase is Phase.PROMOTING and status.weight > 0)
    if not is_needed or autoscaler is None or held is None or status.held_autoscaler is None:
        return None
    if autoscaler.min_replicas >= held.held_at or status.holds_again >= HOLDS_ALLOWED:
        return None
    times = status.holds_again + 1
    sentence = (
        f"Somebody set minReplicas of HorizontalPodAutoscaler {held.name} to {autoscaler.min_replicas}; it is held at "
        f"{held.held_at} again until stable needs its pods no more ({times} of {HOLDS_ALLOWED} times before it is left "
        "to them)."
    )
    return conclude(
        seen,
        now,
        status.message,
        changes={"held_autoscaler": held, "holds_again": times},
        effect=SetAutoscalerMinimum(held.name, held.held_at),
        announcements=(Announcement("AutoscalerChanged", sentence, warning=True),),
    )


def to_hold(seen: Seen) -> HeldAutoscaler | None:
    """The autoscaler and its two minimums; None where it is left alone.

    A minimum above the maximum would be refused, and one that is lower than what is held is what somebody wants back.
    """
    autoscaler, stable, held = seen.autoscaler, seen.stable, seen.status.held_autoscaler
    if held is not None:
        if autoscaler is None or autoscaler.name != held.name:
            return held
        held_at, found = min(held.held_at, autoscaler.max_replicas), autoscaler.min_replicas
        wanted = found if found < held_at else held.min_replicas
        return held.model_copy(update={"min_replicas": wanted, "held_at": held_at})
    strategy = (seen.status.snapshot or seen.spec).strategy
    if autoscaler is None or stable is None or not strategy.hold_autoscaler:
        return None
    target = min(max(stable.replicas, autoscaler.min_replicas), autoscaler.max_replicas)
    return HeldAutoscaler(name=autoscaler.name, min_replicas=autoscaler.min_replicas, held_at=target)
