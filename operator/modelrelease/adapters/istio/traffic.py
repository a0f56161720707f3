"""The port `Traffic`, kept with Istio's VirtualServices."""

from __future__ import annotations

from modelrelease.adapters.istio.routes import read_route, restored, with_weight
from modelrelease.errors import Terminal
from modelrelease.ports import Cluster, Kind, Manifest
from modelrelease.rollout.seen import RouteReference, RouteSeen


class IstioTraffic:
    """Implements `ports.Traffic` over any `ports.Cluster`.

    `spec.http` is one atomic list that nobody can own a part of, so the whole object goes back under the
    resourceVersion of what was seen. A crash after the write leaves the new weight, which the next look reads; a write
    that would change nothing is left out, because each one is pushed to every proxy.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def read(self, namespace: str, reference: RouteReference) -> RouteSeen:
        manifest = await self._cluster.get(Kind.VIRTUAL_SERVICE, namespace, reference.virtual_service)
        if manifest is None:
            raise Terminal(
                "RouteMissing",
                f"VirtualService {namespace}/{reference.virtual_service} does not exist; create it, name another in "
                "spec.traffic.virtualService, or have it created by giving spec.traffic.hosts.",
            )
        return read_route(manifest, reference)

    async def set_weight(
        self,
        namespace: str,  # noqa: ARG002 - the manifest in `seen` knows it
        reference: RouteReference,
        seen: RouteSeen,
        weight_percent: int,
    ) -> RouteSeen:
        return await self._store(reference, seen, with_weight(seen.manifest, reference, weight_percent))

    async def restore(self, namespace: str, reference: RouteReference, seen: RouteSeen) -> RouteSeen:  # noqa: ARG002
        return await self._store(reference, seen, restored(seen.manifest, reference))

    async def _store(self, reference: RouteReference, seen: RouteSeen, wanted: Manifest) -> RouteSeen:
        if wanted == seen.manifest:
            return seen
        return read_route(await self._cluster.replace(Kind.VIRTUAL_SERVICE, wanted), reference)
