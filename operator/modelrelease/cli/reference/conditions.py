"""Phases, conditions and all their reasons."""

from __future__ import annotations

from collections.abc import Iterable

from modelrelease.api.status import ConditionType, Phase
from modelrelease.cli.reference.markdown import code, table
from modelrelease.cli.reference.markdown import page as whole_page
from modelrelease.cli.reference.meanings import CONDITIONS, MEANINGS
from modelrelease.cli.reference.reasons import Use, collect, words
from modelrelease.rollout.seen import MetricsHealth

PHASES: dict[Phase, str] = {
    Phase.INITIALIZING: "The ModelRelease is new, or something that it needs is not there yet.",
    Phase.STABLE: "Stable runs what `spec` asks for; nothing was released to get there.",
    Phase.PREPARING: "The canary's objects are made and its pods start. It gets no traffic.",
    Phase.PROGRESSING: "The canary has the weight of a step; evidence is collected.",
    Phase.PAUSED: "As `Progressing`, but forward moves are stopped.",
    Phase.BAKING: "The canary has all traffic; stable is kept at full size.",
    Phase.PROMOTING: "Stable gets the new image while the canary serves, then the traffic goes back to stable.",
    Phase.SUCCEEDED: "Stable runs the new version and has all traffic; the canary is gone.",
    Phase.ROLLING_BACK: "The canary has lost its traffic and is being removed.",
    Phase.ROLLED_BACK: "The release was taken back after it had begun to move traffic, or by a person.",
    Phase.FAILED: "The release ended before the canary got any traffic.",
}
_PARTS = {ConditionType.CANARY_AVAILABLE: "_availability"}
"""Functions in which a part of a condition's facts is found."""
RUNBOOK = (Use.STALLED, Use.ENDED, Use.POD)
"""Uses whose words have an entry in the runbook."""


def page() -> str:
    """Conditions with their reasons, the reasons of ends last."""
    found = collect()
    facts = {
        kind: [
            r.word
            for r in found
            if r.module == "rollout/conditions.py"
            and r.use is Use.CONDITION
            and r.function in (_function(kind), _PARTS.get(kind))
        ]
        for kind in ConditionType
    }
    facts[ConditionType.STALLED] += words(found, Use.STALLED)
    facts[ConditionType.CANARY_AVAILABLE] += words(found, Use.POD)
    facts[ConditionType.ANALYSIS_HEALTHY] += [MetricsHealth.STALE, MetricsHealth.UNAVAILABLE]
    facts[ConditionType.PAUSED] += ["WeightsContested"]
    facts[ConditionType.RECONCILING] = []
    entries = words(found, *RUNBOOK) | {MetricsHealth.STALE, MetricsHealth.UNAVAILABLE}
    return whole_page(
        "Phases, conditions and reasons",
        "operator/modelrelease/rollout and operator/modelrelease/cli/reference/meanings.py",
        "## Phases",
        "`status.phase` says where a release is. [Concepts](../concepts.md) shows how one leads to another.",
        table(("phase", "meaning"), ((code(phase), PHASES[phase]) for phase in Phase)),
        "## Conditions",
        "Each has `observedGeneration`. `Ready`, `Reconciling` and `Stalled` are those that Flux and Helm read "
        "(kstatus); Argo CD needs a [health check](../guides/gitops.md#health). `Ready` and `Reconciling` repeat the "
        "reason of `Stalled` where that is True; else `Reconciling` has the phase as its reason.",
        *(part for kind in ConditionType for part in _section(kind, facts[kind], entries)),
        "## How releases end",
        "`status.history[].reason`, and the reason of `Succeeded` and `RolledBack` after a release that did not "
        "succeed. Where the canary never got available, it is what the kubelet or the scheduler says, such as "
        "`ImagePullBackOff`.",
        _reasons(words(found, Use.ENDED), entries),
    )


def _function(kind: ConditionType) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind)


def _section(kind: ConditionType, reasons: Iterable[str], entries: frozenset[str]) -> tuple[str, ...]:
    unique = sorted(set(reasons))
    return f"### {kind}", CONDITIONS[kind], *((_reasons(unique, entries),) if unique else ())


def _reasons(reasons: Iterable[str], entries: frozenset[str]) -> str:
    return table(
        ("reason", "meaning"),
        (
            (f"[{code(word)}](../runbook.md#{word.lower()})" if word in entries else code(word), MEANINGS.get(word, ""))
            for word in sorted(reasons)
        ),
    )
