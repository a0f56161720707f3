"""I1 to I5 of the design, checked on every revision of every object of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from modelrelease.ports import Kind, Manifest
from simulation.world import canary_share

DECLARED = frozenset({0, 1, 5, 20, 50, 100})
_AGAINST = ("RollingBack", "RolledBack", "Failed")


def violations(
    history: Sequence[tuple[str, Kind, Manifest]], deleted_by_hand: frozenset[str] = frozenset()
) -> list[str]:
    """A sentence per violation, over all revisions in the order in which the API server stored them.

    What others wrote (verb `put`) is not held against the operator; nor are Deployments whose uid is in
    `deleted_by_hand`.
    """
    found: list[str] = []
    available, weight = 0, 0
    revision, condemned = "", set[str]()
    for verb, kind, manifest in history:
        body = cast(dict[str, Any], manifest)
        if kind is Kind.DEPLOYMENT and body["metadata"]["name"].endswith("-canary"):
            gone = verb == "delete"
            available = 0 if gone else int((body.get("status") or {}).get("availableReplicas", 0))
            if gone and weight > 0 and body["metadata"]["uid"] not in deleted_by_hand:
                found.append(f"the canary was deleted at weight {weight}")
        elif kind is Kind.MODEL_RELEASE:
            status = body.get("status") or {}
            # Another object by the same name is another release, also of the same revision.
            revision = f"{status.get('revision', '')} of {body['metadata']['uid']}"
            if status.get("phase") in _AGAINST and status.get("outcome") in ("RolledBack", "Failed"):
                condemned.add(revision)
        elif kind is Kind.VIRTUAL_SERVICE and verb in ("put", "delete"):
            weight = 0 if verb == "delete" else _weight(body, [])
        elif kind is Kind.VIRTUAL_SERVICE:
            before, weight = weight, _weight(body, found)
            if weight > 0 and available == 0:
                found.append(f"I2: weight {weight} without an available canary")
            if weight > before and revision in condemned:
                found.append(f"I3: weight {before} -> {weight} after a verdict in revision {revision}")
    return found


def _weight(body: dict[str, Any], found: list[str]) -> int:
    """The most that any route gives the canary."""
    shares = [0]
    for route in body["spec"]["http"]:
        entries = route.get("route", [])
        weights = [entry.get("weight", 100 if len(entries) == 1 else 0) for entry in entries]
        shares.append(canary_share(route))
        if entries and sum(weights) != 100:
            found.append(f"I1: weights add up to {sum(weights)}")
        if shares[-1] not in DECLARED:
            found.append(f"I1: {shares[-1]} is not a declared weight")
    return max(shares)


def footprint(history: Sequence[tuple[str, Kind, Manifest]]) -> Counter[tuple[str, str, str]]:
    """How often each object was created and deleted (I5)."""
    return Counter(
        (verb, kind.name, str(cast(dict[str, Any], manifest)["metadata"]["name"]))
        for verb, kind, manifest in history
        if verb in ("create", "delete") and kind is not Kind.EVENT
    )
