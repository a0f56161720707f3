"""The split of one `http` route: pure functions from one VirtualService to another.

Nothing is remembered outside of the object, and yet the original shape comes back to the byte. All that the canary
takes from the user's destination is its `weight`, which most people leave out and some write as 100. Which of the two
it was is kept in the order of the destinations, which means nothing to Istio: the canary stands behind a destination
that had no weight, and in front of one that had.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from modelrelease.adapters.istio.hosts import same_host, spelled_like
from modelrelease.errors import Terminal
from modelrelease.ports import Manifest
from modelrelease.rollout.labels import OPERATOR
from modelrelease.rollout.seen import RouteReference, RouteSeen

_Json = dict[str, Any]
_NO_DESTINATIONS = ("delegate", "redirect", "directResponse")


def read_route(manifest: Manifest, reference: RouteReference) -> RouteSeen:
    """The weights of the managed route.

    Raises Terminal with the remedy: RouteMissing, RouteAmbiguous, RouteUnsupported.
    """
    split = _read_split(manifest, reference)
    return RouteSeen(
        resource_version=str(cast(_Json, manifest)["metadata"].get("resourceVersion", "")),
        weight_percent=split.canary_weight,
        has_canary=bool(split.canaries),
        is_consistent=split.is_consistent,
        is_ours=_writers(manifest) == {OPERATOR},
        manifest=manifest,
    )


def _writers(manifest: Manifest) -> set[str]:
    """Who wrote `spec.http` as it stands. It is one atomic list: whoever changes it takes it over."""
    managed = cast(_Json, manifest)["metadata"].get("managedFields") or []
    return {entry["manager"] for entry in managed if "f:http" in (entry.get("fieldsV1") or {}).get("f:spec", {})}


def with_weight(manifest: Manifest, reference: RouteReference, weight_percent: int) -> Manifest:
    """A copy in which the canary host gets `weight_percent` of the route, and stable the rest of 100.

    At 0 a canary destination that is there stays (with weight 0), and none is added. A third destination that somebody
    added meanwhile keeps its share, so that traffic can be taken off the canary at any time; giving the canary any is
    refused then (Terminal RouteUnsupported).
    """
    if not 0 <= weight_percent <= 100:
        raise ValueError(f"a weight of {weight_percent} % cannot be")
    changed = copy.deepcopy(manifest)
    split = _read_split(changed, reference)
    if weight_percent > 0 and split.others:
        raise split.refuse_others()
    if weight_percent == 0 and not split.canaries:
        return changed
    canary = split.wanted_canary(weight_percent)
    was_explicit = split.canary_is_first if split.canaries else "weight" in split.stable
    split.stable["weight"] = 100 - weight_percent - split.others_weight
    managed = [canary, split.stable] if was_explicit else [split.stable, canary]
    split.route["route"] = [*managed, *split.others]
    return changed


def restored(manifest: Manifest, reference: RouteReference) -> Manifest:
    """A copy in the shape that the route had before `with_weight`: all traffic to stable, no canary destination."""
    changed = copy.deepcopy(manifest)
    split = _read_split(changed, reference)
    if not split.canaries:
        return changed
    if split.others or split.canary_is_first:
        split.stable["weight"] = 100 - split.others_weight
    else:
        split.stable.pop("weight", None)
    split.route["route"] = [split.stable, *split.others]
    return changed


def stable_subset(manifest: Manifest, reference: RouteReference) -> str | None:
    """The subset of stable's destination, where it has one."""
    subset = (_read_split(manifest, reference).stable.get("destination") or {}).get("subset")
    return str(subset) if subset else None


def managed_route(manifest: Manifest, reference: RouteReference) -> Mapping[str, Any]:
    """The `http` route itself. Raises Terminal as `read_route`."""
    return _find_route(cast(_Json, manifest), reference)


@dataclass(frozen=True, slots=True)
class _Split:
    """The destinations of one route, told apart. The entries are those of the manifest, not copies."""

    where: str
    route: _Json
    stable: _Json
    canaries: list[_Json]
    others: list[_Json]
    canary_host: str

    @property
    def canary_weight(self) -> int:
        return sum(_weight(entry) for entry in self.canaries)

    @property
    def others_weight(self) -> int:
        """What third destinations get; never so much that the rest would be negative."""
        return min(100, sum(_weight(entry) for entry in self.others))

    @property
    def canary_is_first(self) -> bool:
        return bool(self.route["route"][0] is self.canaries[0])

    @property
    def is_consistent(self) -> bool:
        """Whether the destinations are as `with_weight` leaves them."""
        if not self.canaries:
            return True
        weight = self.canary_weight
        return (
            not self.others
            and len(self.canaries) == 1
            and _weight(self.stable) + weight == 100
            and {**self.canaries[0], "weight": weight} == self.wanted_canary(weight)
        )

    def wanted_canary(self, weight_percent: int) -> _Json:
        """stable's entry with the other host: same port and headers; no subset, since those are of stable's rule."""
        entry = copy.deepcopy(self.stable)
        entry["destination"].pop("subset", None)
        entry["destination"]["host"] = self.canary_host
        entry["weight"] = weight_percent
        return entry

    def refuse_others(self) -> Terminal:
        names = ", ".join(sorted(str(entry.get("destination", {}).get("host")) for entry in self.others))
        return Terminal(
            "RouteUnsupported",
            f"{self.where} has destinations besides stable ({names}). A release starts only on a route that sends all "
            "its traffic to stable; remove them or name another route in spec.traffic.route.",
        )


def _read_split(manifest: Manifest, reference: RouteReference) -> _Split:
    body = cast(_Json, manifest)
    namespace = str(body["metadata"].get("namespace", ""))
    route = _find_route(body, reference)
    where = _where(reference, route)
    entries = _destinations(route, where)
    stables, canaries, others = [], [], []
    for entry in entries:
        host = str((entry.get("destination") or {}).get("host", ""))
        if same_host(host, reference.canary_host, namespace):
            canaries.append(entry)
        elif same_host(host, reference.stable_host, namespace):
            stables.append(entry)
        else:
            others.append(entry)
    stable = _only_stable(stables, entries, where, reference)
    canary_host = spelled_like(reference.canary_host, stable["destination"]["host"])
    split = _Split(where, route, stable, canaries, others, canary_host)
    if others and not canaries:
        raise split.refuse_others()
    return split


def _find_route(body: _Json, reference: RouteReference) -> _Json:
    routes: list[_Json] = (body.get("spec") or {}).get("http") or []
    names = ", ".join(repr(route.get("name", "")) for route in routes) or "none"
    owner = f"VirtualService {reference.virtual_service!r}"
    if reference.route is None:
        if not routes:
            raise Terminal("RouteMissing", f"{owner} has no http route; add one that leads to {reference.stable_host}.")
        if len(routes) > 1:
            raise Terminal(
                "RouteAmbiguous",
                f"{owner} has {len(routes)} http routes; name the one to split in spec.traffic.route: {names}.",
            )
        return routes[0]
    matching = [route for route in routes if route.get("name") == reference.route]
    if not matching:
        raise Terminal(
            "RouteMissing",
            f"{owner} has no http route named {reference.route!r}; set spec.traffic.route to one that it has: {names}.",
        )
    if len(matching) > 1:
        raise Terminal(
            "RouteAmbiguous",
            f"{owner} has {len(matching)} http routes named {reference.route!r}; give each a name of its own.",
        )
    return matching[0]


def _where(reference: RouteReference, route: _Json) -> str:
    name = route.get("name")
    return (
        f"http route {name!r} of VirtualService {reference.virtual_service!r}"
        if name
        else (f"the http route of VirtualService {reference.virtual_service!r}")
    )


def _destinations(route: _Json, where: str) -> list[_Json]:
    for kind in _NO_DESTINATIONS:
        if route.get(kind):
            raise Terminal(
                "RouteUnsupported",
                f"{where} is a {kind} and has no destinations to split; name a route with destinations in "
                "spec.traffic.route" + (" (that of the delegate VirtualService)." if kind == "delegate" else "."),
            )
    entries: list[_Json] = route.get("route") or []
    if not entries:
        raise Terminal("RouteUnsupported", f"{where} has no destinations; add stable's Service as its destination.")
    return entries


def _only_stable(stables: list[_Json], entries: list[_Json], where: str, reference: RouteReference) -> _Json:
    if not stables:
        hosts = ", ".join(sorted({str((entry.get("destination") or {}).get("host")) for entry in entries}))
        raise Terminal(
            "RouteUnsupported",
            f"{where} does not lead to {reference.stable_host} but to {hosts}; set spec.workload.service or "
            "spec.traffic.route so that they fit.",
        )
    if len(stables) > 1:
        subsets = ", ".join(sorted(str(entry["destination"].get("subset", "none")) for entry in stables))
        raise Terminal(
            "RouteUnsupported",
            f"{where} splits its traffic over {len(stables)} destinations of {reference.stable_host} (subsets: "
            f"{subsets}); send all of it to one of them.",
        )
    return stables[0]


def _weight(entry: _Json) -> int:
    """An absent weight is 0 where there are several destinations (protobuf's default; the API reference of Istio)."""
    weight = entry.get("weight", 0)
    return weight if isinstance(weight, int) else 0
