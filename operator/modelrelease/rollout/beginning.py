"""The beginning of a release, and what keeps one from beginning."""

from __future__ import annotations

from modelrelease.api.images import image_tag
from modelrelease.api.snapshot import snapshot_of
from modelrelease.api.status import AnalysisStatus, ArmStatus, Outcome, Phase
from modelrelease.rollout.conditions import gitops_sentence, is_pending
from modelrelease.rollout.decision import IMMEDIATELY, AddFinalizer, Announcement, Decision
from modelrelease.rollout.outcome import conclude, stable_tag, stalled
from modelrelease.rollout.revision import revision_of
from modelrelease.rollout.running import runs
from modelrelease.rollout.seen import Seen

REST_SECONDS = 300.0


def held_up(seen: Seen, now: float, reason: str, sentence: str, again_seconds: float = 30.0) -> Decision:
    """Say why nothing can be released at present and, where something else is asked for than stable runs, what."""
    status, stable = seen.status, seen.stable
    waits = status.phase is not Phase.INITIALIZING and is_pending(status, seen)
    if waits and not (stable is not None and runs(seen.spec, status, stable)):
        sentence = f"The release of {image_tag(seen.spec.image)} waits. {sentence}"
    return stalled(seen, now, reason, sentence, again_seconds)


def begin(seen: Seen, now: float) -> Decision:
    """Begin a release: finalizer first, so that deletion waits for the traffic, then the recorded intent."""
    status, tag = seen.status, image_tag(seen.spec.image)
    if seen.spec.paused:
        sentence = f"The release of {tag} waits: spec.paused is true; set it to false to begin."
        return conclude(seen, now, sentence, again_seconds=REST_SECONDS)
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
            "snapshot": snapshot_of(seen.spec, retries),
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
            "uncovered_policies": [],
            "canary_template": "",
            "created_at": None,
            "capacity": 0,
            "stable_size": 0,
            "holds_again": 0,
            "scaled_at": None,
        },
        announcements=(Announcement("ReleaseStarted", message), *_warnings(seen)),
    )


def _warnings(seen: Seen) -> tuple[Announcement, ...]:
    """What will not stop the release but its result from lasting; the condition Succeeded says it all along."""
    stable = seen.stable
    if stable is None or not stable.gitops_owner:
        return ()
    return (Announcement("ImageOwnedByGitOps", gitops_sentence(stable.gitops_owner, stable.name), warning=True),)


def _retries(seen: Seen) -> int:
    """A release that was condemned and is asked for again, by going back to its image, is another one: the verdict
    stands for its revision for ever."""
    retries = seen.status.retries
    against = (Outcome.ROLLED_BACK, Outcome.FAILED)
    condemned = {entry.revision for entry in seen.status.history if entry.outcome in against}
    while revision_of(seen.spec, retries) in condemned:
        retries += 1
    return retries
