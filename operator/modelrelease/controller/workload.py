"""Deployments and pods as the API server shows them, reduced to what decisions need. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, cast

from modelrelease.errors import Terminal
from modelrelease.ports import Manifest
from modelrelease.rollout.canary import container_name
from modelrelease.rollout.labels import REVISION, VERDICT
from modelrelease.rollout.seen import DeploymentSeen, PodTrouble

CRASH_LOOP_RESTARTS = 3
"""Restarts of a canary's container after which it counts as a crash loop, even while the kubelet still tries."""

GITOPS_MANAGERS = ("argocd", "kustomize-controller", "helm-controller", "flux", "gotk", "helm")
"""How their field managers begin, in lower case; `helm` is what Helm itself and other programs embedding it use."""

_PULLING = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName")
_RPC = re.compile(r"rpc error: code = \w+ desc = ")
_PULL_STEP = re.compile(
    r"Back-off pulling image|ErrImagePull|failed to pull and unpack|failed to resolve|failed to do re"
)
_HARMLESS_WAITING = ("ContainerCreating", "PodInitializing")


def deployment_seen(manifest: Manifest, pods: Sequence[Manifest], container: str | None) -> DeploymentSeen:
    """One arm, from its Deployment and its pods (those being deleted do not count)."""
    body = cast(dict[str, Any], manifest)
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    annotations = metadata.get("annotations") or {}
    chosen = _container(spec["template"], container)
    living = [cast(dict[str, Any], pod) for pod in pods if not _metadata(pod).get("deletionTimestamp")]
    ready = [pod for pod in living if _ready_since(pod) is not None]
    since = [moment for pod in ready if (moment := _ready_since(pod)) is not None]
    name = chosen.get("name", "")
    digests = tuple(sorted({digest for pod in living if (digest := _digest(pod, name))}))
    image = chosen.get("image", "")
    ready_digests = sorted({digest for pod in ready if _repository(digest := _digest(pod, name)) == _repository(image)})
    asked_to_go = _asked_to_go(pods)
    changes = sorted([*since, *asked_to_go])
    replicas = spec.get("replicas", 1)
    restarts = sum(_restarts(pod) for pod in living)
    return DeploymentSeen(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        resource_version=metadata.get("resourceVersion", ""),
        replicas=replicas,
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        is_rolled_out=_is_rolled_out(metadata, status, replicas),
        image=image,
        env=tuple((item["name"], item.get("value", "")) for item in chosen.get("env") or [] if "valueFrom" not in item),
        digest=ready_digests[0] if ready_digests else "",
        digests=digests,
        pods_changed_at_seconds=max(changes, default=None),
        pod_changes_seconds=tuple(changes),
        serving_since_seconds=min(since, default=None),
        asked_to_go_seconds=tuple(asked_to_go),
        created_seconds=tuple(sorted(moment for pod in living if (moment := _created(pod)) is not None)),
        has_crashed=any(_has_crashed(pod) for pod in living),
        crash_loop=any(_is_crash_looping(pod) for pod in living),
        restarts=restarts,
        trouble=_trouble(living) or _replica_failure(status),
        revision=annotations.get(REVISION, ""),
        verdict=annotations.get(VERDICT, ""),
        gitops_owner=_image_owner(metadata.get("managedFields") or [], name),
        manifest=manifest,
    )


def _container(template: dict[str, Any], wanted: str | None) -> dict[str, Any]:
    try:
        name = container_name(template, wanted)
    except Terminal:
        return {}  # said by the rule that checks the container; nothing is read from another one
    return next(item for item in template["spec"]["containers"] if item["name"] == name)


def _metadata(manifest: Manifest) -> dict[str, Any]:
    return cast(dict[str, Any], manifest).get("metadata") or {}


def _is_rolled_out(metadata: dict[str, Any], status: dict[str, Any], replicas: int) -> bool:
    if status.get("observedGeneration", 0) < metadata.get("generation", 0):
        return False
    counts = (status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas"))
    return all(count == replicas for count in counts)


def _created(pod: dict[str, Any]) -> float | None:
    created = _metadata(cast(Manifest, pod)).get("creationTimestamp")
    return datetime.fromisoformat(created).timestamp() if created else None


def _conditions(pod: dict[str, Any]) -> Iterable[dict[str, Any]]:
    return (pod.get("status") or {}).get("conditions") or []


def _ready_since(pod: dict[str, Any]) -> float | None:
    for condition in _conditions(pod):
        if condition["type"] == "Ready" and condition["status"] == "True":
            since = condition.get("lastTransitionTime")
            return datetime.fromisoformat(since).timestamp() if since else 0.0
    return None


def _asked_to_go(pods: Sequence[Manifest]) -> list[float]:
    """When pods that are being deleted were asked to go; requests that still reach them, or nobody, are their last.

    Their deletionTimestamp is when they have to be gone: later by the time that they get for that.
    """
    going = [metadata for pod in pods if (metadata := _metadata(pod)).get("deletionTimestamp")]
    return [
        datetime.fromisoformat(one["deletionTimestamp"]).timestamp() - one.get("deletionGracePeriodSeconds", 0)
        for one in going
    ]


def _container_statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _restarts(pod: dict[str, Any]) -> int:
    return sum(item.get("restartCount", 0) for item in _container_statuses(pod))


def _has_crashed(pod: dict[str, Any]) -> bool:
    return any(
        item.get("restartCount", 0) > 0 or (item.get("state") or {}).get("terminated", {}).get("exitCode", 0) != 0
        for item in _container_statuses(pod)
    )


def _is_crash_looping(pod: dict[str, Any]) -> bool:
    return any(
        (item.get("state") or {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
        or item.get("restartCount", 0) >= CRASH_LOOP_RESTARTS
        for item in _container_statuses(pod)
    )


def _digest(pod: dict[str, Any], container: str) -> str:
    """`repository@sha256:…` as the kubelet reports it; an image imported by hand has none."""
    for item in (pod.get("status") or {}).get("containerStatuses") or []:
        if item["name"] == container:
            reported = str(item.get("imageID", "")).removeprefix("docker-pullable://")
            return reported if "@sha256:" in reported else ""
    return ""


def _repository(reference: str) -> str:
    """The repository of an image in full. An image imported by hand reports a digest in one that nobody can pull."""
    name = reference.partition("@")[0]
    path, slash, last = name.rpartition("/")
    name = f"{path}{slash}{last.partition(':')[0]}"
    first = name.partition("/")[0]
    if "/" not in name:
        return f"docker.io/library/{name}"
    return name if "." in first or ":" in first or first == "localhost" else f"docker.io/{name}"


def _trouble(pods: list[dict[str, Any]]) -> PodTrouble | None:
    for pod in pods:
        trouble = _container_trouble(pod) or _scheduling_trouble(pod)
        if trouble is not None:
            return trouble
    return None


def _container_trouble(pod: dict[str, Any]) -> PodTrouble | None:
    for item in _container_statuses(pod):
        waiting = (item.get("state") or {}).get("waiting") or {}
        last = (item.get("lastState") or {}).get("terminated") or {}
        if waiting.get("reason") and waiting["reason"] not in _HARMLESS_WAITING:
            detail = waiting.get("message", "")
            if waiting["reason"] in _PULLING:
                return PodTrouble(waiting["reason"], _pull_failure(detail))
            if last:
                detail = f"{detail} (last exit: {last.get('reason', '')} {last.get('exitCode', '')})".strip()
            return PodTrouble(waiting["reason"], detail)
        terminated = (item.get("state") or {}).get("terminated") or {}
        if terminated.get("exitCode"):
            return PodTrouble(terminated.get("reason") or "Error", f"exit code {terminated['exitCode']}")
        if last and not item.get("ready"):
            return PodTrouble(last.get("reason") or "Error", f"restarted after exit code {last.get('exitCode')}")
    return None


def _pull_failure(message: str) -> str:
    """Why an image cannot be had. The kubelet repeats what the runtime said, which names the image thrice."""
    parts = [part for part in _RPC.sub("", message).split(": ") if not _PULL_STEP.match(part)]
    why = ": ".join(dict.fromkeys(parts)) or message
    return f"{why}; check that the image exists and that the pods' imagePullSecrets may pull it"


def _scheduling_trouble(pod: dict[str, Any]) -> PodTrouble | None:
    for condition in _conditions(pod):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return PodTrouble(condition.get("reason") or "Unschedulable", condition.get("message", ""))
    return None


def _replica_failure(status: dict[str, Any]) -> PodTrouble | None:
    """Quota and admission refuse pods before they exist: only the Deployment tells."""
    for condition in status.get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return PodTrouble(condition.get("reason") or "ReplicaFailure", condition.get("message", ""))
    return None


def is_gitops(manager: str) -> bool:
    return manager.lower().startswith(GITOPS_MANAGERS)


def _image_owner(managed_fields: list[dict[str, Any]], container: str) -> str:
    path = ("f:spec", "f:template", "f:spec", "f:containers", f'k:{{"name":"{container}"}}', "f:image")
    return field_owner(managed_fields, path)


def field_owner(managed_fields: list[dict[str, Any]], path: Sequence[str]) -> str:
    """The GitOps tool that owns a field, from `metadata.managedFields`; empty where none does."""
    for entry in managed_fields:
        node: Any = entry.get("fieldsV1") or {}
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if node is not None and is_gitops(entry.get("manager", "")):
            return str(entry["manager"])
    return ""
