"""Whose requests a route splits: the workloads behind the gateways that its VirtualService names, or the whole mesh."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from modelrelease.errors import Retryable, Terminal
from modelrelease.ports import Cluster, Kind, Manifest, Senders, Workload

MESH = "mesh"
"""The reserved name for all sidecars; also what no gateways at all stands for (API reference of VirtualService)."""

REMEMBERED_SECONDS = 60.0
"""Gateways and their workloads change by hand and rarely; a release is looked at each second."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The workloads of one Gateway; None and a clause that says why where nobody can tell."""

    workloads: tuple[Workload, ...] | None
    problem: str
    until_seconds: float


class Gateways:
    """Resolves gateways to the workloads that serve them.

    A Gateway selects pods by labels, and Istio's metrics name workloads, so it is read and its pods are listed. What
    the operator cannot see (another cluster, a proxy outside of it, an installation for one namespace) is told by its
    configuration.
    """

    def __init__(
        self,
        cluster: Cluster,
        known: Mapping[str, Sequence[Workload]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`known`: workloads by `namespace/name` of the Gateway, which is not looked up then."""
        self._cluster = cluster
        self._known = known or {}
        self._monotonic = monotonic
        self._found: dict[str, _Found] = {}

    async def senders(self, virtual_service: Manifest, routes: Sequence[Mapping[str, Any]]) -> Senders:
        """Raises Retryable where a Gateway was never read and cannot be now."""
        names = {name for route in routes for name in gateway_names(virtual_service, route)}
        if MESH in names:
            return Senders()
        found = [await self._workloads(name) for name in sorted(names)]
        unknown = [one.problem for one in found if one.workloads is None]
        if unknown:
            return Senders(
                problem=f"Requests from everywhere are counted, also those that the route does not split, because "
                f"{' and '.join(unknown)}. Name its workloads in the operator's configuration, in `gateways`."
            )
        return Senders(tuple(sorted({workload for one in found for workload in one.workloads or ()})))

    async def _workloads(self, name: str) -> _Found:
        if name in self._known:
            return _Found(tuple(self._known[name]), "", 0.0)
        remembered, now = self._found.get(name), self._monotonic()
        if remembered is not None and now < remembered.until_seconds:
            return remembered
        try:
            workloads, problem = await self._read(name)
        except Terminal as refusal:
            workloads, problem = None, f"Gateway {name} cannot be read ({str(refusal).rstrip('.')})"
        except Retryable:
            if remembered is None:
                raise
            return remembered
        self._found[name] = found = _Found(workloads, problem, now + REMEMBERED_SECONDS)
        return found

    async def _read(self, name: str) -> tuple[tuple[Workload, ...] | None, str]:
        namespace, _, own_name = name.partition("/")
        gateway = await self._cluster.get(Kind.GATEWAY, namespace, own_name)
        if gateway is None:
            return None, f"Gateway {name} does not exist"
        selector = (cast(dict[str, Any], gateway).get("spec") or {}).get("selector") or {}
        pods = await self._cluster.list(Kind.POD, None, selector) if selector else []
        workloads = tuple(sorted(set(map(workload_of, pods))))
        return (workloads, "") if workloads else (None, f"no pods of Gateway {name} are to be seen")


def gateway_names(virtual_service: Manifest, route: Mapping[str, Any]) -> set[str]:
    """`namespace/name` of all gateways that the route applies to, and MESH; a match may name its own.

    Names without a namespace are of the VirtualService's; the old spelling `name.namespace.svc.…` is read, too (Istio's
    `resolveGatewayName`).
    """
    body = cast(dict[str, Any], virtual_service)
    common = (body.get("spec") or {}).get("gateways") or [MESH]
    matches: Sequence[Mapping[str, Any]] = route.get("match") or [{}]
    names: Iterable[str] = {str(name) for match in matches for name in match.get("gateways") or common}
    return {_full_name(name, str(body["metadata"].get("namespace", ""))) for name in names}


def _full_name(name: str, namespace: str) -> str:
    if name == MESH:
        return MESH
    if "/" in name:
        return name.replace("./", f"{namespace}/", 1) if name.startswith("./") else name
    own_name, *rest = name.split(".")
    return f"{rest[0] if rest else namespace}/{own_name}"


def workload_of(pod: Manifest) -> Workload:
    """The workload that Istio's metrics name for a pod: its controller, and a ReplicaSet's Deployment."""
    metadata = cast(dict[str, Any], pod)["metadata"]
    owner: Mapping[str, Any] = next(
        (one for one in metadata.get("ownerReferences") or [] if one.get("controller")), {"name": metadata["name"]}
    )
    suffix = f"-{(metadata.get('labels') or {}).get('pod-template-hash', '')}"
    name = str(owner["name"])
    return Workload(str(metadata["namespace"]), name.removesuffix(suffix) if len(suffix) > 1 else name)
