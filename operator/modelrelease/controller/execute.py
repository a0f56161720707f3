"""Effects: absolute, repeatable, each at most one write."""

from __future__ import annotations

import copy
from typing import Any, assert_never, cast

from modelrelease.api.annotations import Request
from modelrelease.controller.gather import Look
from modelrelease.errors import Conflict, Terminal
from modelrelease.ports import Cluster, Kind, Manifest, Traffic
from modelrelease.rollout.canary import canary_service, owner_reference
from modelrelease.rollout.decision import (
    AddFinalizer,
    ConsumeRequests,
    CreateCanaryRule,
    CreateCanaryService,
    CreateDeployment,
    CreateService,
    CreateVirtualService,
    DeleteCanary,
    Effect,
    RemoveFinalizer,
    RestoreRoute,
    ScaleCanary,
    ScaleStable,
    SetAutoscalerMinimum,
    SetStableTemplate,
    SetWeight,
    StampCanary,
)
from modelrelease.rollout.labels import FINALIZER, MANAGED_BY, OPERATOR, RELEASE, TEMPLATE, release_label
from modelrelease.rollout.seen import DeploymentSeen, RouteSeen


class Executor:
    """Carries out one effect of a decision on what was seen.

    A crash before, within or after any of these leaves something that the next look recognises: what exists already is
    not created again, what has the wanted value is not written again.
    """

    def __init__(self, cluster: Cluster, traffic: Traffic) -> None:
        self._cluster = cluster
        self._traffic = traffic

    async def carry_out(self, effect: Effect, look: Look) -> None:  # noqa: PLR0912 - one line per effect
        """Raises what the cluster raises; Conflict where the world is not as it was seen."""
        namespace = look.seen.namespace
        match effect:
            case SetWeight(percent):
                await self._traffic.set_weight(namespace, look.reference, _route(look), percent)
            case RestoreRoute():
                await self._traffic.restore(namespace, look.reference, _route(look))
            case CreateDeployment(manifest):
                await self._create(Kind.DEPLOYMENT, manifest)
            case CreateService(manifest):
                await self._create(Kind.SERVICE, manifest)
            case CreateVirtualService(manifest):
                await self._create(Kind.VIRTUAL_SERVICE, manifest)
            case CreateCanaryService():
                await self._create_canary_service(look)
            case CreateCanaryRule():
                await self._create_canary_rule(look)
            case ScaleCanary(replicas):
                await self._patch_canary(look, {"spec": {"replicas": replicas}})
            case ScaleStable(replicas):
                await self._scale_stable(look, replicas)
            case StampCanary(annotation, value):
                await self._patch_canary(look, {"metadata": {"annotations": {annotation: value}}})
            case DeleteCanary(uid):
                await self._delete_canary(look, uid)
            case SetStableTemplate(template, mark):
                await self._set_stable_template(look, template, mark)
            case SetAutoscalerMinimum(name, minimum):
                await self._cluster.patch(Kind.AUTOSCALER, namespace, name, {"spec": {"minReplicas": minimum}})
            case AddFinalizer():
                await self._patch_release(look.release, {"finalizers": _finalizers(look.release, with_ours=True)})
            case RemoveFinalizer():
                await self.remove_finalizer(look.release)
            case ConsumeRequests(requests):
                await self._consume(look, requests)
            case _:
                assert_never(effect)

    async def remove_finalizer(self, release: Manifest) -> None:
        """Let a ModelRelease go that is being deleted."""
        await self._patch_release(release, {"finalizers": _finalizers(release, with_ours=False)})

    async def _create(self, kind: Kind, manifest: Manifest) -> None:
        try:
            await self._cluster.create(kind, manifest)
        except Conflict as conflict:
            metadata = cast(dict[str, Any], manifest)["metadata"]
            found = await self._cluster.get(kind, metadata["namespace"], metadata["name"])
            if found is not None and not _is_ours(found, manifest):
                raise Terminal(
                    "NameTaken",
                    f"{kind.value.kind} {metadata['name']!r} exists already and is not the operator's; rename or "
                    "delete it.",
                ) from conflict
            raise

    async def _create_canary_service(self, look: Look) -> None:
        if look.seen.stable_service is None:
            raise Conflict("stable's Service has just gone")
        await self._create(Kind.SERVICE, canary_service(look.seen.stable_service, _canary(look).manifest))

    async def _create_canary_rule(self, look: Look) -> None:
        owner = owner_reference(_canary(look).manifest)
        labels = {RELEASE: release_label(look.seen.name), MANAGED_BY: OPERATOR}
        await self._traffic.copy_policy(look.seen.namespace, look.reference, _route(look), owner, labels)

    async def _delete_canary(self, look: Look, uid: str) -> None:
        """Only once the route certainly sends it nothing: one that was read late may be that of before the release."""
        route, status = look.seen.route, look.seen.status
        if route is not None and (status.ever_weighted or status.phase.is_at_rest):
            await self._traffic.confirm(route)
        await self._cluster.delete(Kind.DEPLOYMENT, look.seen.namespace, _canary(look).name, uid=uid)

    async def _patch_canary(self, look: Look, patch: Manifest) -> None:
        canary = _canary(look)
        metadata = cast(dict[str, Any], patch).setdefault("metadata", {})
        metadata["uid"] = canary.uid
        await self._cluster.patch(Kind.DEPLOYMENT, look.seen.namespace, canary.name, patch)

    async def _scale_stable(self, look: Look, replicas: int) -> None:
        if look.seen.stable is None:
            raise Conflict("stable's Deployment has just gone")
        patch: Manifest = {"metadata": {"uid": look.seen.stable.uid}, "spec": {"replicas": replicas}}
        await self._cluster.patch(Kind.DEPLOYMENT, look.seen.namespace, look.seen.stable.name, patch)

    async def _set_stable_template(self, look: Look, template: Manifest, mark: str) -> None:
        stable = look.seen.stable
        if stable is None:
            raise Conflict("stable's Deployment has just gone")
        manifest = cast(dict[str, Any], copy.deepcopy(stable.manifest))
        manifest["spec"]["template"] = template
        annotations = manifest["metadata"].get("annotations") or {}
        if mark:
            manifest["metadata"]["annotations"] = {**annotations, TEMPLATE: mark}
        else:
            annotations.pop(TEMPLATE, None)  # none before: a promotion that is taken back must leave none
        await self._cluster.replace(Kind.DEPLOYMENT, manifest)

    async def _patch_release(self, release: Manifest, metadata: Manifest) -> None:
        present = cast(dict[str, Any], release)["metadata"]
        patch: Manifest = {"metadata": {**metadata, "resourceVersion": present["resourceVersion"]}}
        await self._cluster.patch(Kind.MODEL_RELEASE, present["namespace"], present["name"], patch)

    async def _consume(self, look: Look, requests: tuple[Request, ...]) -> None:
        """Guarded by resourceVersion: a value that somebody has just changed is not thrown away unread."""
        annotations: Manifest = {request.action.annotation: None for request in requests}
        await self._patch_release(look.release, {"annotations": annotations})


def _route(look: Look) -> RouteSeen:
    if look.seen.route is None:
        raise Conflict("the route cannot be read at present")
    return look.seen.route


def _canary(look: Look) -> DeploymentSeen:
    if look.seen.canary is None:
        raise Conflict("the canary's Deployment has just gone")
    return look.seen.canary


def _finalizers(release: Manifest, *, with_ours: bool) -> list[Any]:
    present = cast(dict[str, Any], release)["metadata"].get("finalizers") or []
    others = [name for name in present if name != FINALIZER]
    return [*others, FINALIZER] if with_ours else others


def _is_ours(found: Manifest, wanted: Manifest) -> bool:
    """Whether an object that exists already was made by this operator for the same release."""
    labels = cast(dict[str, Any], found)["metadata"].get("labels") or {}
    expected = cast(dict[str, Any], wanted)["metadata"]["labels"]
    return labels.get(MANAGED_BY) == OPERATOR and labels.get(RELEASE) == expected.get(RELEASE)
