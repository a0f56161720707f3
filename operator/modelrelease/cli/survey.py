"""What a release would find in the cluster, read once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, TypeVar, cast

from modelrelease.adapters.istio import IstioTraffic
from modelrelease.api.images import image_tag
from modelrelease.api.spec import ModelReleaseSpec, PolicyCoverage
from modelrelease.api.status import Phase, ReleaseStatus
from modelrelease.cli.changes import Present
from modelrelease.cli.findings import Finding, good, problem, remark
from modelrelease.cli.releases import status_of
from modelrelease.controller.contention import Contention
from modelrelease.controller.policies import POLICY_KINDS, uncovered
from modelrelease.controller.workload import deployment_seen
from modelrelease.errors import Forbidden, Terminal
from modelrelease.ports import Cluster, Key, Kind, Manifest
from modelrelease.rollout.canary import canary_deployment, route_reference
from modelrelease.rollout.conditions import gitops_sentence
from modelrelease.rollout.revision import revision_of
from modelrelease.rollout.running import leftovers, runs
from modelrelease.rollout.seen import DeploymentSeen

DEFAULT_STARTUP_SECONDS = 30.0
"""Assumed where no pod of stable shows how long it took to get ready."""


T = TypeVar("T")


class Reader:
    """Remembers what the person may not read; the rest of an answer is of use all the same."""

    def __init__(self) -> None:
        self.unread: list[Kind] = []

    async def read(self, kind: Kind, reading: Awaitable[T], otherwise: T) -> T:
        try:
            return await reading
        except Forbidden:
            self.unread.append(kind)
            return otherwise


@dataclass(frozen=True, slots=True)
class Survey:
    """The cluster as a release would find it."""

    present: Present
    stable: DeploymentSeen | None
    pods: tuple[Manifest, ...]
    route_problem: str
    uncovered: tuple[str, ...]
    status: ReleaseStatus
    """Of the ModelRelease; empty where there is none yet."""
    rival: str
    """Another ModelRelease that has the same Deployment or route; empty where there is none."""
    unread: tuple[Kind, ...] = ()
    """What the person may not read."""

    @property
    def startup_seconds(self) -> float:
        """From a pod's creation until it is available, as stable's pods had it."""
        taken = [seconds for pod in self.pods if (seconds := _startup(pod)) is not None]
        deployment = cast(dict[str, Any], self.present.deployment or {"spec": {}})
        least: float = deployment["spec"].get("minReadySeconds", 0)
        return (median(taken) if taken else DEFAULT_STARTUP_SECONDS) + least


async def survey(cluster: Cluster, namespace: str, name: str, spec: ModelReleaseSpec) -> Survey:
    """Raises Forbidden where ModelReleases may not be read."""
    may = Reader()
    nothing: list[Manifest] = []
    release, deployment, service, autoscalers = await asyncio.gather(
        cluster.get(Kind.MODEL_RELEASE, namespace, name),
        may.read(Kind.DEPLOYMENT, cluster.get(Kind.DEPLOYMENT, namespace, spec.workload.deployment), None),
        may.read(Kind.SERVICE, cluster.get(Kind.SERVICE, namespace, spec.service_name), None),
        may.read(Kind.AUTOSCALER, cluster.list(Kind.AUTOSCALER, namespace), nothing),
    )
    traffic, reference = IstioTraffic(cluster), route_reference(spec)
    virtual_service, route_problem, lacks_policy = None, "", False
    try:
        route = await traffic.read(namespace, reference)
        virtual_service = route.manifest
        missing = traffic.policy_missing(namespace, reference, route)
        lacks_policy = await may.read(Kind.DESTINATION_RULE, missing, False)
    except Forbidden:
        may.unread.append(Kind.VIRTUAL_SERVICE)
    except Terminal as error:
        route_problem = str(error)
    labels = cast(dict[str, Any], deployment)["spec"]["selector"].get("matchLabels") if deployment else None
    pods = await may.read(Kind.POD, cluster.list(Kind.POD, namespace, labels), nothing) if labels else []
    stable = deployment_seen(deployment, pods, spec.workload.container) if deployment is not None else None
    status = status_of(release) if release is not None else ReleaseStatus()
    present = Present(
        release=release,
        deployment=deployment,
        service=service,
        virtual_service=virtual_service,
        autoscaler=next((one for one in autoscalers if _scales(one, spec)), None),
        lacks_policy=lacks_policy,
        dropped=leftovers(spec, stable, status.released_env) if stable is not None else (),
        runs_already=stable is not None and runs(spec, status, stable),
        is_partial=bool({Kind.DEPLOYMENT, Kind.SERVICE} & set(may.unread)),
    )
    rival = await Contention(cluster).rival(Key(namespace, name), spec, Phase.INITIALIZING)
    policies = {kind: await may.read(kind, cluster.list(kind, namespace), nothing) for kind in POLICY_KINDS}
    unguarded = _uncovered(policies, present, spec)
    return Survey(present, stable, tuple(pods), route_problem, unguarded, status, rival, tuple(may.unread))


def _uncovered(policies: Mapping[Kind, list[Manifest]], present: Present, spec: ModelReleaseSpec) -> tuple[str, ...]:
    if present.deployment is None or present.service is None:
        return ()
    try:
        canary = canary_deployment(present.deployment, present.service, spec, release="x", revision="x", replicas=1)
    except Terminal:
        return ()  # said where the changes are made
    found = [(kind, policy) for kind, listed in policies.items() for policy in listed]
    return uncovered(found, _pod_labels(present.deployment), _pod_labels(canary))


def _pod_labels(deployment: Manifest) -> dict[str, str]:
    template = cast(dict[str, Any], deployment)["spec"]["template"]
    return dict((template.get("metadata") or {}).get("labels") or {})


def _scales(autoscaler: Manifest, spec: ModelReleaseSpec) -> bool:
    target = cast(dict[str, Any], autoscaler)["spec"].get("scaleTargetRef") or {}
    return bool(target.get("kind") == "Deployment" and target.get("name") == spec.workload.deployment)


def _startup(pod: Manifest) -> float | None:
    body = cast(dict[str, Any], pod)
    created = body["metadata"].get("creationTimestamp")
    statuses = (body.get("status") or {}).get("containerStatuses") or []
    if not created or any(one.get("restartCount") for one in statuses):
        return None
    for condition in (body.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Ready" and condition["status"] == "True" and condition.get("lastTransitionTime"):
            ready = datetime.fromisoformat(condition["lastTransitionTime"])
            return (ready - datetime.fromisoformat(created)).total_seconds()
    return None


def findings_of(found: Survey, spec: ModelReleaseSpec) -> Iterator[Finding]:
    """Everything that would keep the release from starting, or from lasting."""
    name = spec.workload.deployment
    creates = spec.workload.template is not None
    if found.rival:
        yield problem("release", f"ModelRelease {found.rival} has the same Deployment or route; delete one of the two.")
    if found.unread:
        unread = ", ".join(kind.value.plural for kind in found.unread)
        yield remark(
            "rights",
            f"You may not read {unread}, so they were not looked at; ask for the ClusterRole view, and for reading "
            "Istio's kinds.",
        )
    if Kind.DEPLOYMENT not in found.unread:
        yield _stable(found.stable, name, creates=creates)
    if found.present.service is None and not creates and Kind.SERVICE not in found.unread:
        yield problem("service", f"Service {spec.service_name} does not exist; create it or name another one.")
    if found.route_problem:
        is_made = creates and bool(spec.traffic.hosts) and "does not exist" in found.route_problem
        yield (
            remark("route", "The VirtualService will be created.") if is_made else problem("route", found.route_problem)
        )
    elif Kind.VIRTUAL_SERVICE not in found.unread:
        yield good("route", f"VirtualService {spec.virtual_service_name} has a route that can be split.")
    if found.stable is not None and found.stable.gitops_owner:
        yield problem("gitops", gitops_sentence(found.stable.gitops_owner, name).capitalize())
    if found.uncovered:
        listed = ", ".join(found.uncovered)
        sentence = f"{listed} guard stable's pods but would not guard the canary's; widen their selectors."
        required = spec.strategy.policy_coverage is PolicyCoverage.REQUIRE
        yield problem("policies", sentence) if required else remark("policies", sentence)


def _stable(stable: DeploymentSeen | None, name: str, *, creates: bool) -> Finding:
    if stable is None:
        sentence = f"Deployment {name} does not exist; create it, or give spec.workload.template."
        return remark("stable", f"Deployment {name} will be created.") if creates else problem("stable", sentence)
    if stable.available == 0:
        return problem(
            "stable",
            f"No pod of {name} is available, so there is nothing to compare with; mend it first, or promote in full.",
        )
    return good("stable", f"{name} has {stable.available} of {stable.replicas} pods available.")


def standing(found: Survey, spec: ModelReleaseSpec) -> Iterator[Finding]:
    """What applying the specification would begin and end; nothing where it simply begins a release."""
    status, tag = found.status, image_tag(spec.image)
    is_same = status.revision == revision_of(spec, status.retries)
    if not status.phase.is_at_rest:
        other = f"The release of {image_tag(status.canary.image)} is under way; this takes it back first, then begins."
        same = f"The release of {tag} is under way already; settings apply from the next one on."
        yield remark("release", same if is_same else other)
    elif found.present.runs_already:
        yield remark("release", f"Stable runs {tag} already, so no release begins.")
    elif is_same and status.phase in (Phase.ROLLED_BACK, Phase.FAILED):
        yield remark(
            "release", f"{tag} was tried before ({status.phase}); only `retry` begins it anew, applying does not."
        )
