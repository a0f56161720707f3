"""I1 to I5 and I7 of the design, on every revision of a run; I6 and the objects that are left at its end.

Weights that others wrote are not held against the operator.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from faults.kube import Json
from faults.recorder import Revision
from modelrelease.api.model import GROUP
from modelrelease.ports import Kind

LOOK_SECONDS = 2.0
"""Between reading that the canary is available and writing its weight: pods may go meanwhile."""
EVIDENCE_SECONDS = 6.0
"""For so long what Prometheus said last may still be fresh: lag, lookback and interval of the tests' settings."""
_AGAINST = ("RolledBack", "Failed")
_TIME_SLACK_SECONDS = 0.05


@dataclass
class Facts:
    """What a checker has to know of a run beside its revisions.

    name: of Deployment, Service, VirtualService and release.
    blind: unix seconds from and to which Prometheus told no truth.
    """

    name: str
    declared: frozenset[int] = frozenset({0, 20, 100})
    blind: Sequence[tuple[float, float]] = ()
    deleted_by_hand: frozenset[str] = frozenset()


@dataclass
class _State:
    """What is known before a revision."""

    available: int = 0
    lost_at: float = 0.0
    weight: int = 0
    revision: str = ""
    condemned: set[str] = field(default_factory=set)
    status: Json = field(default_factory=dict)
    unmanaged: dict[tuple[Kind, str], Any] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)


def violations(revisions: Sequence[Revision], facts: Facts) -> list[str]:
    """A sentence per violation."""
    state = _State()
    for one in revisions:
        if one.kind is Kind.DEPLOYMENT and one.name == f"{facts.name}-canary":
            _canary(one, state, facts)
        elif one.kind is Kind.VIRTUAL_SERVICE and one.name == facts.name:
            _route(one, state, facts)
        elif one.kind is Kind.MODEL_RELEASE and one.name == facts.name:
            _release(one, state, facts)
        if one.name == facts.name and one.kind in (Kind.VIRTUAL_SERVICE, Kind.DEPLOYMENT, Kind.SERVICE):
            _unmanaged(one, state)
    return state.found


def _canary(one: Revision, state: _State, facts: Facts) -> None:
    available = 0 if one.is_deletion else int((one.manifest.get("status") or {}).get("availableReplicas", 0))
    if state.available > 0 and available == 0:
        state.lost_at = one.at
    state.available = available
    uid = one.manifest["metadata"]["uid"]
    by_hand = one.is_foreign or uid in facts.deleted_by_hand
    if one.is_deletion and state.weight > 0 and not by_hand:
        state.found.append(f"{one.number}: the canary was deleted at weight {state.weight}")


def _route(one: Revision, state: _State, facts: Facts) -> None:
    before, state.weight = state.weight, 0 if one.is_deletion else _canary_weight(one.manifest)
    if one.is_foreign or one.is_deletion:
        return
    route = one.manifest["spec"]["http"][0]["route"]
    weights = [entry.get("weight", 100 if len(route) == 1 else 0) for entry in route]
    if sum(weights) != 100:
        state.found.append(f"{one.number}: I1: weights add up to {sum(weights)}")
    if state.weight not in facts.declared:
        state.found.append(f"{one.number}: I1: {state.weight} is not a declared weight")
    if state.weight > before and state.available == 0 and one.at - state.lost_at > LOOK_SECONDS:
        state.found.append(f"{one.number}: I2: weight {before} -> {state.weight} without an available canary")
    if state.weight > before and state.revision in state.condemned:
        state.found.append(f"{one.number}: I3: weight {before} -> {state.weight} after a verdict in {state.revision}")


def _release(one: Revision, state: _State, facts: Facts) -> None:
    status = {} if one.is_deletion else one.manifest.get("status") or {}
    before, state.status = state.status, status
    # Another object by the same name is another release, also of the same revision.
    state.revision = f"{status.get('revision', '')} of {one.manifest['metadata']['uid']}"
    if status.get("outcome") in _AGAINST:
        state.condemned.add(state.revision)
    if before.get("revision") == status.get("revision") and before.get("phase") in ("Progressing", "Baking"):
        _forward(one, before, status, state, facts)


def _forward(one: Revision, before: Json, status: Json, state: _State, facts: Facts) -> None:
    """I4: one step at a time, not before its time, and not without evidence or a person's word."""
    steps = status.get("step", 0) - before.get("step", 0)
    if steps <= 0 or status.get("weight", 0) <= before.get("weight", 0):
        return
    is_promoted = any(handled["name"] == f"{GROUP}/promote" for handled in status.get("lastHandled") or [])
    if is_promoted:
        return
    where = f"{one.number}: I4: step {before.get('step')} -> {status.get('step')}"
    if steps > 1:
        state.found.append(f"{where} at once")
    began, ended = _seconds(before.get("stepStartedAt")), _seconds(status.get("stepStartedAt"))
    least = _minimum_seconds(status, before.get("step", 0))
    if began is not None and ended is not None and ended - began < least - _TIME_SLACK_SECONDS:
        state.found.append(f"{where} after {ended - began:.2f} s of at least {least:g} s")
    if any(start + EVIDENCE_SECONDS < one.at < end for start, end in facts.blind):
        state.found.append(f"{where} without metrics")


def _minimum_seconds(status: Json, step: int) -> float:
    steps = ((status.get("snapshot") or {}).get("strategy") or {}).get("steps") or []
    text = str(steps[step - 1].get("minDuration", "0s")) if 0 < step <= len(steps) else "0s"
    return float(text[:-1]) if text.endswith("s") and text[:-1].replace(".", "").isdigit() else 0.0


def _seconds(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _unmanaged(one: Revision, state: _State) -> None:
    """I7: what others wrote stands; what the operator writes differs from it only where it manages something."""
    place = (one.kind, one.name)
    if one.is_deletion:
        state.unmanaged.pop(place, None)
        return
    rest = _rest_of(one.kind, one.manifest)
    known = state.unmanaged.get(place)
    if known is not None and rest != known and not one.is_foreign:
        state.found.append(f"{one.number}: I7: {one.kind.value.kind} {one.name} changed where it is not managed")
    state.unmanaged[place] = rest


def _rest_of(kind: Kind, manifest: Json) -> Json:
    body = copy.deepcopy(manifest)
    body.pop("status", None)
    metadata = body["metadata"]
    for key in ("resourceVersion", "generation", "managedFields"):
        metadata.pop(key, None)
    annotations = {
        key: value
        for key, value in (metadata.pop("annotations", None) or {}).items()
        if not key.startswith(f"{GROUP}/") and key != "deployment.kubernetes.io/revision"
    }
    if kind is Kind.VIRTUAL_SERVICE:
        body["spec"]["http"][0].pop("route", None)
    elif kind is Kind.DEPLOYMENT:
        for container in body["spec"]["template"]["spec"]["containers"][:1]:
            container.pop("image", None)
            container.pop("env", None)
    return {**body, "annotations": annotations}


def _canary_weight(manifest: Json) -> int:
    route = manifest["spec"]["http"][0].get("route") or []
    return sum(entry.get("weight", 0) for entry in route if entry["destination"]["host"].endswith("-canary"))


def canary_weights(revisions: Sequence[Revision], name: str) -> list[int]:
    """The weights of the canary, each change once, from its first traffic on."""
    found: list[int] = []
    for one in revisions:
        if one.kind is Kind.VIRTUAL_SERVICE and one.name == name and not one.is_deletion:
            weight = _canary_weight(one.manifest)
            if (found or weight) and found[-1:] != [weight]:
                found.append(weight)
    return found


def footprint(revisions: Sequence[Revision]) -> Counter[tuple[str, str, str]]:
    """How often each object was created and deleted (I5)."""
    seen: set[tuple[Kind, str]] = set()
    counts: Counter[tuple[str, str, str]] = Counter()
    for one in revisions:
        place = (one.kind, one.name)
        if one.kind is Kind.LEASE:
            continue
        if one.is_deletion:
            seen.discard(place)
            counts["delete", one.kind.name, one.name] += 1
        elif place not in seen:
            seen.add(place)
            counts["create", one.kind.name, one.name] += 1
    return counts
