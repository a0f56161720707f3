"""The destinations of an `http` route told apart, and how the canary's are taken out of it whatever else is in there.

A release can only be judged and go forward on a route of a known shape. Traffic must come off the canary on any.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

from modelrelease.adapters.istio.hosts import same_host, spelled_like
from modelrelease.ports import Manifest
from modelrelease.rollout.seen import RouteReference

_Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arms:
    """The entries are those of the manifest, not copies."""

    reference: RouteReference
    route: _Json
    stables: list[_Json]
    canaries: list[_Json]
    others: list[_Json]

    @property
    def is_split(self) -> bool:
        """Whether the canary is one destination of several. The operator never leaves it alone in a route."""
        return bool(self.canaries) and bool(self.stables or self.others)

    @property
    def canary_weight(self) -> int:
        """In per cent; an only destination has all, whatever weight it bears."""
        weight = sum(map(weight_of, self.canaries))
        return min(100, weight) if self.is_split or not self.canaries else 100

    @property
    def others_weight(self) -> int:
        """What third destinations get; never so much that the rest would be negative."""
        return min(100, sum(map(weight_of, self.others)))

    @property
    def canary_is_first(self) -> bool:
        return bool(self.canaries) and self.route["route"][0] is self.canaries[0]

    def take_off(self) -> None:
        """Weight 0 for the canary. Stable's destinations get its share, in the ratio that they have; where there is
        none, the others; where the canary is alone, stable's host takes its place."""
        if not self.is_split:
            self.stables.append(self._stable_instead())
            self.route["route"].append(self.stables[0])
        if self.stables:
            _share_out(100 - self.others_weight, self.stables)
        else:
            _share_out(100, self.others)
        for entry in self.canaries:
            entry["weight"] = 0

    def remove(self) -> None:
        """No canary: the shape that the route had before, see `routes`."""
        was_explicit = self.canary_is_first
        self.take_off()
        left = [*self.stables, *self.others]
        self.route["route"] = [entry for entry in self.route["route"] if any(entry is one for one in left)]
        if len(left) == 1 and not was_explicit:
            left[0].pop("weight", None)

    def _stable_instead(self) -> _Json:
        entry = copy.deepcopy(self.canaries[0])
        entry["destination"]["host"] = spelled_like(self.reference.stable_host, entry["destination"]["host"])
        return entry


def arms_of(manifest: Manifest, route: _Json, reference: RouteReference) -> Arms:
    """The destinations of one `http` route of a VirtualService; none where it redirects or delegates."""
    namespace = str(cast(_Json, manifest)["metadata"].get("namespace", ""))
    arms = Arms(reference, route, [], [], [])
    for entry in route.get("route") or []:
        host = str((entry.get("destination") or {}).get("host", ""))
        if same_host(host, reference.canary_host, namespace):
            arms.canaries.append(entry)
        elif same_host(host, reference.stable_host, namespace):
            arms.stables.append(entry)
        else:
            arms.others.append(entry)
    return arms


def arms_with_canary(manifest: Manifest, reference: RouteReference) -> list[Arms]:
    """All `http` routes that name the canary's host as a destination."""
    routes: list[_Json] = (cast(_Json, manifest).get("spec") or {}).get("http") or []
    found = (arms_of(manifest, route, reference) for route in routes)
    return [arms for arms in found if arms.canaries]


def weight_of(entry: _Json) -> int:
    """An absent weight is 0 where there are several destinations (protobuf's default; the API reference of Istio)."""
    weight = entry.get("weight", 0)
    return weight if isinstance(weight, int) else 0


def _share_out(percent: int, entries: list[_Json]) -> None:
    """Make the weights of `entries` add up to `percent` in their ratio; what rounding leaves goes to the first."""
    present = sum(map(weight_of, entries))
    weights = [weight_of(entry) * percent // present if present else 0 for entry in entries]
    weights[0] += percent - sum(weights)
    for entry, weight in zip(entries, weights, strict=True):
        entry["weight"] = weight
