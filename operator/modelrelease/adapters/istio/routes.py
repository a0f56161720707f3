"""The split of one `http` route: pure functions from one VirtualService to another.

Nothing is remembered outside of the object, and yet the original shape comes back to the byte. All that the canary
takes from the user's destination is its `weight`, which most people leave out and some write as 100. Which of the two
it was is kept in the order of the destinations, which means nothing to Istio: the canary stands behind a destination
that had no weight, and in front of one that had.

People edit routes under way: add one, rename one, split stable. What was written by the operator is known by the
canary's host then, in whichever routes that is, so that traffic can be taken off the canary whatever the shape.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from modelrelease.adapters.istio.arms import Arms, arms_of, arms_with_canary, weight_of
from modelrelease.adapters.istio.hosts import spelled_like
from modelrelease.errors import Terminal
from modelrelease.ports import Manifest
from modelrelease.rollout.labels import OPERATOR
from modelrelease.rollout.seen import RouteReference, RouteSeen

_Json = dict[str, Any]
_NO_DESTINATIONS = ("delegate", "redirect", "directResponse")


def read_route(manifest: Manifest, reference: RouteReference) -> RouteSeen:
    """The weights of the managed route, or what there is to take off where it cannot be managed.

    Raises Terminal with the remedy where in addition no route names the canary: RouteMissing, RouteAmbiguous,
    RouteUnsupported.
    """
    named = _named(manifest, reference)
    elsewhere = max((arms.canary_weight for arms in named), default=0)
    problem: tuple[str, str] | None = None
    weight, is_consistent, is_alike = elsewhere, False, False
    try:
        split = _read_split(manifest, reference)
    except Terminal as refusal:
        if not named:
            raise
        problem = refusal.reason, str(refusal)
    else:
        weight = split.canary_weight or elsewhere
        is_consistent = split.is_consistent and not any(one.canary_weight for one in _besides(named, split.route))
        is_alike = split.is_alike
    return RouteSeen(
        resource_version=str(cast(_Json, manifest)["metadata"].get("resourceVersion", "")),
        weight_percent=weight,
        has_canary=bool(named),
        is_consistent=is_consistent,
        is_alike=is_alike,
        problem=problem,
        is_ours=_writers(manifest) == {OPERATOR},
        manifest=manifest,
    )


def _named(manifest: Manifest, reference: RouteReference) -> list[Arms]:
    """The routes through which the canary gets traffic that is stable's.

    A route of its own that leads to nothing but the canary is a user's, for testers say; unless it may be the managed
    one under another name.
    """
    named = arms_with_canary(manifest, reference)
    try:
        managed = _find_route(manifest, reference)
    except Terminal:
        return named
    return [arms for arms in named if arms.route is managed or arms.is_split]


def _besides(named: Sequence[Arms], managed: _Json) -> list[Arms]:
    return [arms for arms in named if arms.route is not managed]


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
    named = _named(changed, reference)
    try:
        split = _read_split(changed, reference)
    except Terminal:
        if weight_percent > 0:
            raise
        _take_off(named)
        return changed
    if weight_percent > 0 and split.arms.others:
        raise split.refuse_others()
    _take_off(_besides(named, split.route))
    if weight_percent == 0 and not split.arms.canaries:
        return changed
    canary = split.wanted_canary(weight_percent)
    was_explicit = split.arms.canary_is_first if split.arms.canaries else "weight" in split.stable
    split.stable["weight"] = 100 - weight_percent - split.arms.others_weight
    managed = [canary, split.stable] if was_explicit else [split.stable, canary]
    split.route["route"] = [*managed, *split.arms.others]
    return changed


def _take_off(named: Sequence[Arms]) -> None:
    for arms in named:
        if arms.canary_weight > 0:
            arms.take_off()


def restored(manifest: Manifest, reference: RouteReference) -> Manifest:
    """A copy in the shape that it had before `with_weight`: all traffic to stable, no canary destination."""
    changed = copy.deepcopy(manifest)
    for arms in _named(changed, reference):
        arms.remove()
    return changed


def stable_subset(manifest: Manifest, reference: RouteReference) -> str | None:
    """The subset of stable's destination, where it has one."""
    subset = (_read_split(manifest, reference).stable.get("destination") or {}).get("subset")
    return str(subset) if subset else None


def split_routes(manifest: Manifest, reference: RouteReference) -> Sequence[Mapping[str, Any]]:
    """The `http` routes whose requests are split: the managed one or, where that is not to be told, those that name the
    canary."""
    try:
        return [_find_route(manifest, reference)]
    except Terminal:
        return [arms.route for arms in arms_with_canary(manifest, reference)]


@dataclass(frozen=True, slots=True)
class _Split:
    """The managed route, which has one destination of stable."""

    where: str
    arms: Arms
    stable: _Json
    canary_host: str

    @property
    def route(self) -> _Json:
        return self.arms.route

    @property
    def canary_weight(self) -> int:
        return self.arms.canary_weight

    @property
    def is_consistent(self) -> bool:
        """Whether the weights are as `with_weight` leaves them."""
        if not self.arms.canaries:
            return True
        weights = sum(map(weight_of, [self.stable, *self.arms.canaries]))
        return not self.arms.others and len(self.arms.canaries) == 1 and weights == 100

    @property
    def is_alike(self) -> bool:
        """Whether the canary's destinations are as `with_weight` leaves them, but for their weights."""
        return all(entry == self.wanted_canary(weight_of(entry)) for entry in self.arms.canaries)

    def wanted_canary(self, weight_percent: int) -> _Json:
        """stable's entry with the other host: same port and headers; no subset, since those are of stable's rule."""
        entry = copy.deepcopy(self.stable)
        entry["destination"].pop("subset", None)
        entry["destination"]["host"] = self.canary_host
        entry["weight"] = weight_percent
        return entry

    def refuse_others(self) -> Terminal:
        names = ", ".join(sorted(str(entry.get("destination", {}).get("host")) for entry in self.arms.others))
        return Terminal(
            "RouteUnsupported",
            f"{self.where} has destinations besides stable ({names}). A release starts only on a route that sends all "
            "its traffic to stable; remove them or name another route in spec.traffic.route.",
        )


def _read_split(manifest: Manifest, reference: RouteReference) -> _Split:
    route = _find_route(manifest, reference)
    where = _where(reference, route)
    entries = _destinations(route, where)
    arms = arms_of(manifest, route, reference)
    stable = _only_stable(arms.stables, entries, where, reference)
    split = _Split(where, arms, stable, spelled_like(reference.canary_host, stable["destination"]["host"]))
    if arms.others and not arms.canaries:
        raise split.refuse_others()
    return split


def _find_route(manifest: Manifest, reference: RouteReference) -> _Json:
    """The managed route: by its name or, where none is given, the only one, or the only one that has a canary."""
    routes: list[_Json] = (cast(_Json, manifest).get("spec") or {}).get("http") or []
    names = ", ".join(repr(route.get("name", "")) for route in routes) or "none"
    owner = f"VirtualService {reference.virtual_service!r}"
    if reference.route is None:
        if not routes:
            raise Terminal("RouteMissing", f"{owner} has no http route; add one that leads to {reference.stable_host}.")
        splits = [arms.route for arms in arms_with_canary(manifest, reference) if arms.is_split]
        if len(routes) > 1 and len(splits) != 1:
            raise Terminal(
                "RouteAmbiguous",
                f"{owner} has {len(routes)} http routes; name the one to split in spec.traffic.route: {names}.",
            )
        return splits[0] if splits else routes[0]
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
