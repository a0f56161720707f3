"""The port `Traffic`, kept with Istio's VirtualServices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from modelrelease.adapters.istio.gateways import Gateways
from modelrelease.adapters.istio.hosts import same_host, spelled_like
from modelrelease.adapters.istio.routes import read_route, restored, split_routes, stable_subset, with_weight
from modelrelease.adapters.istio.rules import canary_destination_rule
from modelrelease.errors import Terminal
from modelrelease.ports import Cluster, Kind, Manifest, Senders
from modelrelease.rollout.labels import canary_name
from modelrelease.rollout.seen import RouteReference, RouteSeen


class IstioTraffic:
    """Implements `ports.Traffic` over any `ports.Cluster`.

    `spec.http` is one atomic list that nobody can own a part of, so the whole object goes back under the
    resourceVersion of what was seen. A crash after the write leaves the new weight, which the next look reads; a write
    that would change nothing is left out, because each one is pushed to every proxy.
    """

    def __init__(self, cluster: Cluster, gateways: Gateways | None = None) -> None:
        self._cluster = cluster
        self._gateways = gateways or Gateways(cluster)
        self._stored: dict[tuple[str, str], str] = {}
        """resourceVersion of each VirtualService as it was last written from here."""

    async def read(self, namespace: str, reference: RouteReference) -> RouteSeen:
        manifest = await self._cluster.get(Kind.VIRTUAL_SERVICE, namespace, reference.virtual_service)
        if manifest is None:
            raise Terminal(
                "VirtualServiceMissing",
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
        return read_route(await self._store(seen, with_weight(seen.manifest, reference, weight_percent)), reference)

    async def restore(self, namespace: str, reference: RouteReference, seen: RouteSeen) -> None:  # noqa: ARG002
        await self._store(seen, restored(seen.manifest, reference))

    async def confirm(self, seen: RouteSeen) -> None:
        """What was stored from here last is the newest that this operator knows of. All else is confirmed by a write
        that changes nothing: the API server compares its resourceVersion, stores nothing and tells no proxy."""
        if self._stored.get(_identity(seen.manifest)) != seen.resource_version:
            await self._cluster.replace(Kind.VIRTUAL_SERVICE, seen.manifest)

    async def senders(self, namespace: str, reference: RouteReference, seen: RouteSeen) -> Senders:  # noqa: ARG002
        return await self._gateways.senders(seen.manifest, split_routes(seen.manifest, reference))

    async def policy_missing(self, namespace: str, reference: RouteReference, seen: RouteSeen) -> bool:
        return await self._missing_rule(namespace, reference, seen, {}) is not None

    async def copy_policy(
        self, namespace: str, reference: RouteReference, seen: RouteSeen, owner: Manifest, labels: Mapping[str, str]
    ) -> None:
        rule = await self._missing_rule(namespace, reference, seen, labels)
        if rule is not None:
            cast(dict[str, Any], rule)["metadata"]["ownerReferences"] = [owner]
            await self._cluster.create(Kind.DESTINATION_RULE, rule)

    async def _missing_rule(
        self, namespace: str, reference: RouteReference, seen: RouteSeen, labels: Mapping[str, str]
    ) -> Manifest | None:
        """The DestinationRule that the canary's host needs and does not have, from the first rule of stable's host."""
        found: Manifest | None = None
        for rule in await self._cluster.list(Kind.DESTINATION_RULE, namespace):
            body = cast(dict[str, Any], rule)
            host = str((body.get("spec") or {}).get("host", ""))
            if same_host(host, reference.canary_host, namespace):
                return None
            if found is None and same_host(host, reference.stable_host, namespace):
                found = canary_destination_rule(
                    rule,
                    name=canary_name(body["metadata"]["name"]),
                    canary_host=spelled_like(reference.canary_host, host),
                    subset=stable_subset(seen.manifest, reference),
                    labels=dict(labels),
                )
        return found

    async def _store(self, seen: RouteSeen, wanted: Manifest) -> Manifest:
        if wanted == seen.manifest:
            return wanted
        stored = await self._cluster.replace(Kind.VIRTUAL_SERVICE, wanted)
        self._stored[_identity(stored)] = str(cast(dict[str, Any], stored)["metadata"]["resourceVersion"])
        return stored


def _identity(virtual_service: Manifest) -> tuple[str, str]:
    metadata = cast(dict[str, Any], virtual_service)["metadata"]
    return metadata["namespace"], metadata["name"]
