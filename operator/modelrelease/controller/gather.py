"""One look at the world: all reads of a reconciliation happen here, and nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from modelrelease.api.annotations import Request, read_requests, unknown_names
from modelrelease.api.model import GROUP
from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.api.status import Phase, ReleaseStatus
from modelrelease.controller.analyst import Analyst
from modelrelease.controller.contention import Contention
from modelrelease.controller.intake import Pods
from modelrelease.controller.policies import POLICY_KINDS, uncovered
from modelrelease.controller.specification import specification
from modelrelease.controller.workload import deployment_seen, field_owner
from modelrelease.errors import Forbidden, Retryable, Terminal
from modelrelease.ports import Cluster, Key, Kind, Manifest, Traffic, Watched
from modelrelease.rollout.canary import route_reference, stamped_reference
from modelrelease.rollout.guard import SHIFTING, outage
from modelrelease.rollout.labels import FINALIZER, RELEASE, canary_name
from modelrelease.rollout.outcome import departures
from modelrelease.rollout.seen import (
    AnalysisSeen,
    AutoscalerSeen,
    DeploymentSeen,
    RouteReference,
    RouteSeen,
    Seen,
)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen, and the ModelRelease itself, to which writes are guarded."""

    release: Manifest
    seen: Seen
    reference: RouteReference


@dataclass(frozen=True, slots=True)
class Arms:
    """What the analysis must know of the cluster: both Deployments, and the route or why it cannot be read."""

    stable: DeploymentSeen | None
    canary: DeploymentSeen | None
    reference: RouteReference
    route: RouteSeen | tuple[str, str]
    are_read: bool = True
    """False where the Deployments could not be read: nothing follows from their absence."""


class Gatherer:
    """Reads everything that `decide` may look at, concurrently and straight from the API server."""

    def __init__(self, cluster: Cluster, traffic: Traffic, analyst: Analyst, contention: Contention) -> None:
        self._cluster = cluster
        self._traffic = traffic
        self._analyst = analyst
        self._contention = contention

    async def look(self, key: Key, release: Manifest, status: ReleaseStatus, now: float) -> Look:
        """`status` is the release's, with times by the clock of `now`. Raises InvalidResource where there is no
        specification to go by, and what the cluster raises."""
        spec, spec_problem = specification(release, status)
        reference = route_reference(spec)
        self._contention.remember(key, spec)
        settled = status.phase.is_at_rest and status.phase is not Phase.INITIALIZING
        shifting = status.phase in SHIFTING
        stable, canary, service, canary_service, route = await asyncio.gather(
            self._stable(key.namespace, spec, with_pods=not settled),
            self._canary(key, spec),
            _done_without(shifting, self._cluster.get(Kind.SERVICE, key.namespace, spec.service_name)),
            _done_without(shifting, self._canary_service(key, spec)) if not settled else _nothing(),
            self._route(key.namespace, reference),
        )
        stamped = stamped_reference(canary.manifest) if canary is not None else None
        if stamped is not None and stamped != reference:
            # The release goes on with the route it began with: an edit of spec.traffic must not leave that split.
            reference = stamped
            route = await self._route(key.namespace, reference)
        preparing = status.phase is Phase.PREPARING
        seen = replace(
            _bare(key, release, status, spec),
            is_glance=False,
            spec_problem=spec_problem,
            stable=stable,
            canary=canary,
            stable_service=service,
            canary_service=canary_service,
            policy_missing=await self._policy_missing(key.namespace, reference, route) if preparing else False,
            route=route if isinstance(route, RouteSeen) else None,
            route_problem=route.problem if isinstance(route, RouteSeen) else route,
            autoscaler=await _done_without(shifting, self._autoscaler(key.namespace, spec, status)),
            analysis=await self._analysis(key, spec, status, Arms(stable, canary, reference, route), now),
            canary_taken=await self._canary_taken(key, spec) if canary is None and _has_canary(route) else False,
            conflict=await self._contention.rival(key, spec, status.phase),
            uncovered_policies=await self._uncovered(key.namespace, stable, canary) if preparing else (),
            metrics_problem=self._analyst.problem(spec.analysis.provider, spec.analysis.source),
        )
        return Look(release, seen, reference)

    async def glance(self, key: Key, release: Manifest, status: ReleaseStatus, now: float) -> Look | None:
        """Only what it takes to take traffic off the canary: the release, its route and Prometheus.

        For when the rest cannot be read: both Deployments look as if they were not there, from which nothing follows.
        None where the release gave the canary none, or stable is being replaced. Raises as `look` does.
        """
        if status.phase not in (*SHIFTING, Phase.ROLLING_BACK) or not status.ever_weighted:
            return None
        spec, spec_problem = specification(release, status)
        # The stamp on the canary cannot be read; the route that the release began with is the same.
        reference = route_reference((status.snapshot.spec if status.snapshot is not None else None) or spec)
        route = await self._route(key.namespace, reference)
        seen = replace(
            _bare(key, release, status, spec),
            spec_problem=spec_problem,
            route=route if isinstance(route, RouteSeen) else None,
            route_problem=route.problem if isinstance(route, RouteSeen) else route,
            analysis=await self._analysis(key, spec, status, Arms(None, None, reference, route, are_read=False), now),
        )
        return Look(release, seen, reference)

    async def _stable(self, namespace: str, spec: ModelReleaseSpec, *, with_pods: bool) -> DeploymentSeen | None:
        """Its pods matter only to a release; between releases they would be the dearest part of each look."""
        manifest = await self._cluster.get(Kind.DEPLOYMENT, namespace, spec.workload.deployment)
        if manifest is None:
            return None
        pods = await self._pods(manifest) if with_pods else []
        return deployment_seen(manifest, pods, spec.workload.container)

    async def _canary(self, key: Key, spec: ModelReleaseSpec) -> DeploymentSeen | None:
        """This release's canary; one that only has its name is somebody else's and is neither used nor removed."""
        name = canary_name(spec.workload.deployment)
        manifest = await self._cluster.get(Kind.DEPLOYMENT, key.namespace, name)
        if manifest is None or not _is_of(manifest, key):
            return None
        return deployment_seen(manifest, await self._pods(manifest), spec.workload.container)

    async def _canary_service(self, key: Key, spec: ModelReleaseSpec) -> Manifest | None:
        manifest = await self._cluster.get(Kind.SERVICE, key.namespace, canary_name(spec.service_name))
        return manifest if manifest is not None and _is_of(manifest, key) else None

    async def _canary_taken(self, key: Key, spec: ModelReleaseSpec) -> bool:
        names = (Kind.DEPLOYMENT, spec.workload.deployment), (Kind.SERVICE, spec.service_name)
        found = [await self._cluster.get(kind, key.namespace, canary_name(name)) for kind, name in names]
        return any(one is not None and not _is_of(one, key) for one in found)

    async def _pods(self, deployment: Manifest) -> list[Manifest]:
        body = cast(dict[str, Any], deployment)
        selector = body["spec"]["selector"].get("matchLabels") or {}
        return await self._cluster.list(Kind.POD, body["metadata"]["namespace"], selector) if selector else []

    async def _route(self, namespace: str, reference: RouteReference) -> RouteSeen | tuple[str, str]:
        try:
            return await self._traffic.read(namespace, reference)
        except Terminal as problem:
            return problem.reason, str(problem)

    async def _policy_missing(
        self, namespace: str, reference: RouteReference, route: RouteSeen | tuple[str, str]
    ) -> bool:
        if not isinstance(route, RouteSeen) or route.problem is not None:
            return False
        return await self._traffic.policy_missing(namespace, reference, route)

    async def _autoscaler(self, namespace: str, spec: ModelReleaseSpec, status: ReleaseStatus) -> AutoscalerSeen | None:
        """The HorizontalPodAutoscaler of stable; needed only where it is to be held or put back."""
        if status.phase is not Phase.PREPARING and status.held_autoscaler is None:
            return None
        for manifest in await self._cluster.list(Kind.AUTOSCALER, namespace):
            body = cast(dict[str, Any], manifest)
            target = body["spec"].get("scaleTargetRef") or {}
            if target.get("kind") == "Deployment" and target.get("name") == spec.workload.deployment:
                return AutoscalerSeen(
                    name=body["metadata"]["name"],
                    min_replicas=body["spec"].get("minReplicas", 1),
                    max_replicas=body["spec"]["maxReplicas"],
                )
        return None

    async def _uncovered(
        self, namespace: str, stable: DeploymentSeen | None, canary: DeploymentSeen | None
    ) -> tuple[str, ...]:
        if stable is None or canary is None:
            return ()
        lists = await asyncio.gather(*(self._cluster.list(kind, namespace) for kind in POLICY_KINDS))
        found = [(kind, policy) for kind, policies in zip(POLICY_KINDS, lists, strict=True) for policy in policies]
        return uncovered(found, _pod_labels(stable), _pod_labels(canary))

    async def _analysis(
        self, key: Key, spec: ModelReleaseSpec, status: ReleaseStatus, arms: Arms, now: float
    ) -> AnalysisSeen | None:
        if status.phase.is_at_rest or status.snapshot is None:
            self._analyst.forget(key)
            return None
        if not isinstance(arms.route, RouteSeen):
            return self._analyst.blind(key, status, "The route cannot be read.")
        try:
            senders = await self._traffic.senders(key.namespace, arms.reference, arms.route)
        except Retryable as failure:
            return self._analyst.blind(key, status, str(failure))
        watched = Watched(
            namespace=key.namespace,
            stable_service=spec.service_name,
            canary_service=canary_name(spec.service_name),
            source=status.snapshot.analysis.source,
            error_codes=tuple(status.snapshot.analysis.error_rate.codes),
            senders=senders,
        )
        pods = Pods(
            stable_since_seconds=arms.stable.serving_since_seconds if arms.stable is not None else None,
            canary_changes_seconds=(
                *(arms.canary.pod_changes_seconds if arms.canary is not None else ()),
                *departures(status, arms.canary),
            ),
            outage=outage(status, arms.canary, now) if arms.are_read else None,
            are_read=arms.are_read,
        )
        return self._analyst.look(key, watched, status, pods, now)


_Found = TypeVar("_Found")


async def _done_without(while_shifting: bool, read: Coroutine[Any, Any, _Found | None]) -> _Found | None:
    """What only the phases without traffic on the canary need. While there is some, a permission that is missing for it
    must not stand between a verdict and weight 0; the phase that needs it says what is missing."""
    try:
        return await read
    except Forbidden:
        if not while_shifting:
            raise
        return None


async def _nothing() -> None:
    return None


def _bare(key: Key, release: Manifest, status: ReleaseStatus, spec: ModelReleaseSpec) -> Seen:
    """What the ModelRelease itself says, and nothing of the rest of the world."""
    metadata = cast(dict[str, Any], release)["metadata"]
    requests, gitops = _requests(metadata)
    return Seen(
        is_glance=True,
        namespace=key.namespace,
        name=key.name,
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        is_deleting="deletionTimestamp" in metadata,
        has_finalizer=FINALIZER in (metadata.get("finalizers") or []),
        spec=spec,
        spec_problem="",
        status=status,
        requests=requests,
        gitops_requests=gitops,
        unknown_annotations=unknown_names(metadata.get("annotations") or {}),
        stable=None,
        canary=None,
        stable_service=None,
        canary_service=None,
        policy_missing=False,
        route=None,
        route_problem=None,
        autoscaler=None,
        analysis=None,
        canary_taken=False,
        conflict="",
        uncovered_policies=(),
        metrics_problem=None,
    )


def _has_canary(route: RouteSeen | tuple[str, str]) -> bool:
    return isinstance(route, RouteSeen) and route.has_canary


def _is_of(manifest: Manifest, key: Key) -> bool:
    """Whether an object was made for this release."""
    annotations = cast(dict[str, Any], manifest)["metadata"].get("annotations") or {}
    return bool(annotations.get(RELEASE) == key.name)


def _pod_labels(deployment: DeploymentSeen) -> Mapping[str, str]:
    template = cast(dict[str, Any], deployment.manifest)["spec"]["template"]
    return cast(Mapping[str, str], (template.get("metadata") or {}).get("labels") or {})


def _requests(metadata: dict[str, Any]) -> tuple[tuple[Request, ...], tuple[Request, ...]]:
    """Steering annotations, those of people and those that a GitOps tool owns."""
    found = read_requests(metadata.get("annotations") or {})
    managed = metadata.get("managedFields") or []
    owned = tuple(
        request
        for request in found
        if field_owner(managed, ("f:metadata", "f:annotations", f"f:{GROUP}/{request.action.value}"))
    )
    return tuple(request for request in found if request not in owned), owned
