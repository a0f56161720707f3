"""The canary's DestinationRule: what stable's host is given, the canary's host is given, too."""

from __future__ import annotations

import copy
from typing import Any, cast

from modelrelease.ports import Manifest

_COPIED = ("exportTo", "workloadSelector")


def canary_destination_rule(
    rule: Manifest, *, name: str, canary_host: str, subset: str | None, labels: dict[str, str]
) -> Manifest | None:
    """A DestinationRule for the canary's host with the traffic policy that stable's traffic gets; None where none.

    A subset's policy replaces the host's field by field, as Istio merges them (API reference, "Subset"). Subsets
    themselves are not copied: the route asks the canary for none.

    Args:
        rule: the DestinationRule of stable's host.
        name: of the new rule; its namespace is that of `rule`, where it stays visible to the same clients.
        canary_host: in the spelling that `rule` uses for stable's.
        subset: the subset of stable's destination in the route, if any.
        labels: for the new object.
    """
    body = cast(dict[str, Any], rule)
    spec: dict[str, Any] = body.get("spec") or {}
    subsets: list[dict[str, Any]] = spec.get("subsets") or []
    chosen: dict[str, Any] = next((entry for entry in subsets if entry.get("name") == subset), {})
    policy = {**(spec.get("trafficPolicy") or {}), **(chosen.get("trafficPolicy") or {})}
    if not policy:
        return None
    copied = {key: spec[key] for key in _COPIED if key in spec}
    built = {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {"name": name, "namespace": body["metadata"]["namespace"], "labels": dict(labels)},
        "spec": {"host": canary_host, "trafficPolicy": policy, **copied},
    }
    return cast(Manifest, copy.deepcopy(built))
