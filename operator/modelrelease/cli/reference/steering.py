"""The annotations by which people steer, and those that the operator writes."""

from __future__ import annotations

from modelrelease.api.annotations import ALLOWED, Action
from modelrelease.cli.reference.markdown import code, table
from modelrelease.cli.reference.markdown import page as whole_page
from modelrelease.rollout import labels

_MEANINGS = {
    Action.ABORT: "Take all traffic off the canary at once and end the release as `RolledBack` with the reason "
    "`Aborted`. The value is the reason, in your words.",
    Action.PAUSE: "Stop forward moves. Analysis, rollback and abort go on.",
    Action.RESUME: "Allow forward moves again, also after a pause for contested weights. It does not undo "
    "`spec.paused: true`.",
    Action.RETRY: "Begin a rolled-back or failed release again, as a new revision.",
    Action.PROMOTE: "`next`: let the release leave its current step without waiting for evidence, time or approval. "
    "`full`: go to the last step and replace stable, skipping all gates and the bake.",
}

_OWN = {
    labels.RELEASE: ("canary's Deployment, Services, pods", "Name of the ModelRelease that it belongs to."),
    labels.REVISION: ("canary's Deployment", "Revision that the canary was made for."),
    labels.VERDICT: (
        "canary's Deployment",
        "`revision:reason` of a verdict. It outlives a status that could not be written.",
    ),
    labels.ROUTE: ("canary's Deployment", "The route that sends traffic to it, for the clean-up."),
    labels.TEMPLATE: ("stable's Deployment", "Hash of `spec.workload.template`, where that is given."),
    labels.FINALIZER: (
        "ModelRelease (finalizer)",
        "While a release is under way: deletion waits until the traffic is back on stable.",
    ),
}


def page() -> str:
    """What people set first, what they see last."""
    return whole_page(
        "Annotations",
        "operator/modelrelease/api/annotations.py and operator/modelrelease/cli/reference/steering.py",
        "## To steer a release",
        "Set them on the ModelRelease, for example with `kubectl annotate mr/yolov8-detect "
        "modelrelease.dev/promote=next`. Each acts once and is then removed; what was done is said in an "
        "[Event](events.md) and kept in `status.lastHandled`. Where several are set, they act in the order of this "
        "table.",
        table(
            ("annotation", "values", "what it does"),
            (
                (code(action.annotation), ", ".join(map(code, ALLOWED[action])) or "any text", _MEANINGS[action])
                for action in Action
            ),
        ),
        "A value may end in `@<generation>` or `@<revision>` (`metadata.generation`, `status.revision`): for another "
        "generation or revision it is removed without effect, with the Event `AnnotationIgnored`. In a pipeline always "
        "write one of them.",
        "An annotation that a GitOps tool applies would come back after each removal. It is not obeyed, with the Event "
        "`AnnotationIgnored`: steer with `kubectl annotate`, not in Git.",
        "## Written by the operator",
        table(("key", "on", "meaning"), ((code(key), *rest) for key, rest in _OWN.items())),
    )
