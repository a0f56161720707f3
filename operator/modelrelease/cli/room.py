"""Whether a canary's pods find room: what nodes have, less what pods ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from modelrelease.ports import Manifest

_SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
"""Kubernetes API reference, "Quantity"."""
_ENDED = ("Succeeded", "Failed")
_KEEPS_AWAY = ("NoSchedule", "NoExecute")


def quantity(text: object) -> float:
    """The number that a Kubernetes quantity such as 500m, 1Gi or 2 stands for."""
    written = str(text)
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if written.endswith(suffix):
            return float(written.removesuffix(suffix)) * _SUFFIXES[suffix]
    return float(written)


def asked_by(pod_spec: Mapping[str, Any]) -> dict[str, float]:
    """What one pod asks for by resource (Kubernetes, "Resource sharing within containers"): its containers and
    sidecars together, or an init container with the sidecars started before it where that is more; what is set for the
    pod as a whole goes before that, and the overhead of its runtime class comes on top.

    An extended resource such as nvidia.com/gpu may be given as a limit only, which then is the request, too.
    """
    running: dict[str, float] = {}
    most: dict[str, float] = {}
    for container in pod_spec.get("initContainers") or []:
        together = _sum(running, _requests(container))
        most = {name: max(amount, most.get(name, 0.0)) for name, amount in {**most, **together}.items()}
        if container.get("restartPolicy") == "Always":
            running = together
    for container in pod_spec.get("containers") or []:
        running = _sum(running, _requests(container))
    total = {name: max(running.get(name, 0.0), most.get(name, 0.0)) for name in {**running, **most}}
    total |= _requests(pod_spec)
    overhead = {name: quantity(amount) for name, amount in (pod_spec.get("overhead") or {}).items()}
    return _sum(total, overhead)


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def _requests(holder: Mapping[str, Any]) -> dict[str, float]:
    """Of a container, or of a pod as a whole."""
    resources = holder.get("resources") or {}
    written = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: quantity(amount) for name, amount in written.items()}


def fitting(pod_spec: Mapping[str, Any], nodes: Sequence[Manifest], pods: Sequence[Manifest]) -> int:
    """How many more pods like this one the nodes have room for.

    Node selectors and taints are heeded; affinity, spreading and quotas are not, so that this is an upper bound.
    """
    wanted = {name: amount for name, amount in asked_by(pod_spec).items() if amount > 0} | {"pods": 1.0}
    used: dict[str, dict[str, float]] = {}
    for pod in pods:
        body = cast(dict[str, Any], pod)
        node, phase = body["spec"].get("nodeName"), (body.get("status") or {}).get("phase")
        if not node or phase in _ENDED:
            continue
        taken = used.setdefault(node, {})
        for name, amount in (asked_by(body["spec"]) | {"pods": 1.0}).items():
            taken[name] = taken.get(name, 0.0) + amount
    return sum(_on_node(cast(dict[str, Any], node), pod_spec, wanted, used) for node in nodes)


def _on_node(
    node: dict[str, Any], pod_spec: Mapping[str, Any], wanted: Mapping[str, float], used: Mapping[str, dict[str, float]]
) -> int:
    metadata, spec = node["metadata"], node.get("spec") or {}
    labels = metadata.get("labels") or {}
    selected = all(labels.get(key) == value for key, value in (pod_spec.get("nodeSelector") or {}).items())
    if not selected or spec.get("unschedulable") or not _tolerates(pod_spec, spec.get("taints") or []):
        return 0
    has = {name: quantity(amount) for name, amount in ((node.get("status") or {}).get("allocatable") or {}).items()}
    taken = used.get(metadata["name"], {})
    return max(0, min(int((has.get(name, 0.0) - taken.get(name, 0.0)) / amount) for name, amount in wanted.items()))


def _tolerates(pod_spec: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> bool:
    tolerations = pod_spec.get("tolerations") or []
    return all(
        any(_matches(toleration, taint) for toleration in tolerations)
        for taint in taints
        if taint.get("effect") in _KEEPS_AWAY
    )


def _matches(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and toleration.get("value", "") == taint.get("value", "")
