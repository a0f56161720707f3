"""I1 to I5 and I7 of the design, on every revision of a run; I6 and the objects that are left at its end.

Weights that others wrote are not held against the operator.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from faults.kube import Json
from faults.recorder import Revision
from modelrelease.api.durations import parse_duration
from modelrelease.api.model import GROUP
from modelrelease.ports import Kind

LOOK_SECONDS = 2.0
"""Between reading that the canary is available and writing its weight: pods may go meanwhile."""
REACTION_SECONDS = 30.0
"""For so long a canary may keep traffic that it must not have: a killed operator comes back, a Lease runs out."""
EVIDENCE_SECONDS = 6.0
"""For so long what Prometheus said last may still be fresh: lag, lookback and interval of the tests' settings."""
_AGAINST = ("RolledBack", "Failed")
_AT_REST = (None, "Initializing", "Stable", "Succeeded", "RolledBack", "Failed")
_TIME_SLACK_SECONDS = 0.05
_SERVES = (Kind.VIRTUAL_SERVICE, Kind.DEPLOYMENT, Kind.SERVICE)


@dataclass(frozen=True)
class Facts:
    """What a checker has to know of a run beside its revisions.

    name: of Deployment, Service, VirtualService and release.
    blind: unix seconds from and to which Prometheus told no truth.
    look_seconds: how old the operator's knowledge of the canary's pods may be when a weight is stored.
    reaction_seconds: for how long a canary may keep traffic that it must not have; infinite where time is not known.
    evidence_seconds: for how long what Prometheus said last may still be fresh.
    """

    name: str
    declared: frozenset[int] = frozenset({0, 20, 100})
    blind: Sequence[tuple[float, float]] = ()
    look_seconds: float = LOOK_SECONDS
    reaction_seconds: float = REACTION_SECONDS
    evidence_seconds: float = EVIDENCE_SECONDS


@dataclass
class Checker:
    """Told of every revision in order; `found` holds a sentence per violation."""

    facts: Facts
    found: list[str] = field(default_factory=list)
    _available: dict[str, int] = field(default_factory=dict)
    _lost_at: float = -math.inf
    _weight: int = 0
    _is_own_weight: bool = False
    _is_routed: bool = False
    _revision: str = ""
    _condemned: set[str] = field(default_factory=set)
    _status: Json = field(default_factory=dict)
    _exists: bool = False
    _brought: set[str] = field(default_factory=set)
    _unmanaged: dict[tuple[Kind, str], Any] = field(default_factory=dict)
    _wrong_since: dict[str, float] = field(default_factory=dict)

    @property
    def _canary(self) -> str:
        return f"{self.facts.name}-canary"

    def see(self, one: Revision) -> None:
        self.elapse(one.at)
        if one.kind is Kind.DEPLOYMENT:
            self._see_deployment(one)
        elif one.kind is Kind.SERVICE:
            self._see_service(one)
        elif one.kind is Kind.VIRTUAL_SERVICE and one.name == self.facts.name:
            self._see_route(one)
        elif one.kind is Kind.MODEL_RELEASE and one.name == self.facts.name:
            self._see_release(one)
        if one.kind in _SERVES and one.name != self._canary:
            self._see_unmanaged(one)
        self._note_wrongs(one.at)

    def elapse(self, now: float) -> None:
        """Nothing more was stored until `now` (unix seconds): what is wrong by then has been so for too long."""
        for wrong, since in self._wrong_since.items():
            if now - since > self.facts.reaction_seconds:
                self.found.append(f"{wrong} for {now - since:.0f} s")
                self._wrong_since[wrong] = math.inf

    def _note_wrongs(self, now: float) -> None:
        runs = self._exists and self._is_own_weight and self._weight > 0
        stable_serves = self._available.get(self.facts.name, 0) > 0
        # While stable is being replaced the canary keeps the traffic until stable's old version serves again.
        is_covering = bool(self._status.get("stableTemplate"))
        wrongs = {
            "I2: the canary keeps traffic without an available pod": runs
            and stable_serves
            and self._available.get(self._canary, 0) == 0
            and self._status.get("phase") not in _AT_REST,
            "I3: the canary keeps traffic after a verdict": runs
            and self._revision in self._condemned
            and not is_covering,
        }
        for wrong, holds in wrongs.items():
            if not holds:
                self._wrong_since.pop(wrong, None)
            else:
                self._wrong_since.setdefault(wrong, now)

    def _tell(self, one: Revision, sentence: str) -> None:
        self.found.append(f"{one.number}: {sentence}")

    def _see_deployment(self, one: Revision) -> None:
        available = 0 if one.is_deletion else int((one.manifest.get("status") or {}).get("availableReplicas", 0))
        if one.name == self._canary and available == 0 and self._available.get(one.name, 0) > 0:
            self._lost_at = one.at
        self._available[one.name] = available
        if one.name == self._canary and one.is_deletion and self._weight > 0 and not one.is_foreign:
            self._tell(one, f"the canary was deleted at weight {self._weight}")

    def _see_service(self, one: Revision) -> None:
        if one.name == self._canary and one.is_deletion and not one.is_foreign and self._is_routed:
            self._tell(one, "the canary's Service was deleted while the route names it")

    def _see_route(self, one: Revision) -> None:
        before, self._weight = self._weight, 0 if one.is_deletion else _canary_weight(one.manifest)
        self._is_own_weight = not one.is_foreign
        self._is_routed = not one.is_deletion and any(map(_is_canary, _route(one.manifest)))
        if one.is_foreign or one.is_deletion:
            return
        weights = [entry.get("weight", 100 if len(_route(one.manifest)) == 1 else 0) for entry in _route(one.manifest)]
        rise = f"weight {before} -> {self._weight}"
        if sum(weights) != 100:
            self._tell(one, f"I1: weights add up to {sum(weights)}")
        if self._weight not in self.facts.declared:
            self._tell(one, f"I1: {self._weight} is not a declared weight")
        is_blind = one.at - self._lost_at >= self.facts.look_seconds
        if self._weight > 0 and self._available.get(self._canary, 0) == 0 and is_blind:
            self._tell(one, f"I2: {rise} without an available canary")
        if self._weight > before and self._revision in self._condemned:
            self._tell(one, f"I3: {rise} after a verdict in {self._revision}")
        if self._weight > before and self._weight > self._status.get("weight", 0):
            self._tell(one, f"I4: {rise} where status says {self._status.get('weight', 0)}")

    def _see_release(self, one: Revision) -> None:
        status = {} if one.is_deletion else one.manifest.get("status") or {}
        before, self._status, self._exists = self._status, status, not one.is_deletion
        self._brought |= {entry["name"] for entry in one.manifest["spec"].get("env") or []}
        # Another object by the same name is another release, also of the same revision.
        known, self._revision = self._revision, f"{status.get('revision', '')} of {one.manifest['metadata']['uid']}"
        if status.get("outcome") in _AGAINST:
            self._condemned.add(self._revision)
        if known == self._revision and not one.is_deletion:
            self._see_step(one, before, status)

    def _see_step(self, one: Revision, before: Json, status: Json) -> None:
        """I4: one step at a time, not before its time, and not without evidence or a person's word."""
        left, entered = before.get("step", 0), status.get("step", 0)
        if entered <= left or status.get("weight", 0) <= before.get("weight", 0):
            return
        where = f"I4: step {left} -> {entered}"
        if before.get("phase") == "Paused":
            self._tell(one, f"{where} while paused")
        if _is_promoted(before, status):
            return
        if entered - left > 1:
            self._tell(one, f"{where} at once")
        if left == 0:
            return  # the first step needs a canary, not evidence
        step = _step(status, left)
        if step.get("approval"):
            self._tell(one, f"{where} without the approval that it asks for")
        began, ended = _seconds(before.get("stepStartedAt")), _seconds(status.get("stepStartedAt"))
        least = parse_duration(step.get("minDuration", "0s"))
        if began is not None and ended is not None and ended - began < least - _TIME_SLACK_SECONDS:
            self._tell(one, f"{where} after {ended - began:.2f} s of at least {least:g} s")
        if any(start + self.facts.evidence_seconds < one.at < end for start, end in self.facts.blind):
            self._tell(one, f"{where} without metrics")
        lacking = _lacking(status)
        if lacking:
            self._tell(one, f"{where} without evidence: {lacking}")

    def _see_unmanaged(self, one: Revision) -> None:
        """I7: what others wrote stands; what the operator writes differs from it only where it manages something."""
        place, what = (one.kind, one.name), f"{one.kind.value.kind} {one.name}"
        if one.is_deletion:
            if self._unmanaged.pop(place, None) is not None and not one.is_foreign:
                self._tell(one, f"I7: {what} was deleted")
            return
        rest = _whole(one.manifest)
        if one.name == self.facts.name:
            rest = _rest_of(one.kind, rest, self._brought)
        known = self._unmanaged.get(place)
        if not one.is_foreign and known is not None:
            if one.name == self.facts.name and one.kind is Kind.DEPLOYMENT:
                known = _rest_of(one.kind, known, self._brought)
            if rest != known:
                self._tell(one, f"I7: {what} changed where it is not managed")
        self._unmanaged[place] = rest


def violations(revisions: Sequence[Revision], facts: Facts) -> list[str]:
    """A sentence per violation."""
    checker = Checker(facts)
    for one in revisions:
        checker.see(one)
    return checker.found


def _is_promoted(before: Json, status: Json) -> bool:
    """Whether the operator was told by a person, in this release, to leave the step."""
    is_approved = max(before.get("approvedStep", 0), status.get("approvedStep", 0)) > before.get("step", 0)
    return is_approved and any(
        handled["name"] == f"{GROUP}/promote" and handled.get("revision") == status.get("revision")
        for handled in status.get("lastHandled") or []
    )


def _strategy(status: Json) -> Json:
    return (status.get("snapshot") or {}).get("strategy") or {}


def _step(status: Json, number: int) -> Json:
    steps = _strategy(status).get("steps") or []
    return steps[number - 1] if number <= len(steps) else {}


def _lacking(status: Json) -> str:
    """Which evidence the step that was left lacked, by the figures in status; empty where it needs none."""
    strategy = _strategy(status)
    if strategy.get("advance", "Evidence") != "Evidence" or strategy.get("onStepDeadline") == "Promote":
        return ""
    metrics = (status.get("analysis") or {}).get("metrics") or []
    if not metrics:
        return "nothing was compared"
    # What cannot be resolved says so in its message, and is not compared.
    compared = ((one["name"], one.get("promotionEvidence", 0)) for one in metrics if not one.get("message"))
    return ", ".join(f"{name} {evidence:g}" for name, evidence in compared if evidence < 1)


def _seconds(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _whole(manifest: Json) -> Json:
    """An object without what the API server keeps in it."""
    body = copy.deepcopy(manifest)
    body.pop("status", None)
    metadata = body["metadata"]
    for key in ("resourceVersion", "generation", "managedFields"):
        metadata.pop(key, None)
    metadata["annotations"] = {
        key: value
        for key, value in (metadata.pop("annotations", None) or {}).items()
        if not key.startswith(f"{GROUP}/") and key != "deployment.kubernetes.io/revision"
    }
    return body


def _rest_of(kind: Kind, whole: Json, brought: set[str]) -> Json:
    """What is left without the parts that the operator manages; `brought` are the variables that releases bring."""
    body = copy.deepcopy(whole)
    if kind is Kind.VIRTUAL_SERVICE:
        route = _route(body)
        body["spec"]["http"][0]["route"] = [
            {key: value for key, value in entry.items() if key != "weight"} for entry in route if not _is_canary(entry)
        ]
    elif kind is Kind.DEPLOYMENT:
        for container in body["spec"]["template"]["spec"]["containers"][:1]:
            container.pop("image", None)
            container["env"] = [entry for entry in container.get("env") or [] if entry["name"] not in brought]
    return body


def _route(manifest: Json) -> list[Json]:
    """Destinations of the managed route."""
    return manifest["spec"]["http"][0].get("route") or []


def _is_canary(entry: Json) -> bool:
    return str(entry["destination"]["host"]).partition(".")[0].endswith("-canary")


def _canary_weight(manifest: Json) -> int:
    return sum(entry.get("weight", 0) for entry in _route(manifest) if _is_canary(entry))


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
