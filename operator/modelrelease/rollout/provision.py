"""The objects of creation mode, made from the specification alone."""

from __future__ import annotations

from typing import Any, cast

from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.rollout.canary import with_release
from modelrelease.rollout.labels import MANAGED_BY, OPERATOR, RELEASE, TEMPLATE, release_label
from modelrelease.rollout.revision import template_digest
from modelrelease.rollout.seen import Manifest


def created_stable(spec: ModelReleaseSpec, namespace: str, release: str) -> tuple[Manifest, Manifest]:
    """Deployment and Service of creation mode, as `spec.workload.template` asks for them.

    Neither has an ownerReference: deleting the ModelRelease must never take production away. The Deployment has the
    release's label, by which the operator hears of its deletion.
    """
    template = spec.workload.template
    if template is None:
        raise ValueError("creation mode needs spec.workload.template")
    name = spec.workload.deployment
    selector = {"app.kubernetes.io/name": release_label(name)}
    pod = cast(dict[str, Any], with_release(template, spec, spec.image))
    pod.setdefault("metadata", {}).setdefault("labels", {}).update(selector)
    labels = {**selector, MANAGED_BY: OPERATOR}
    port = spec.workload.port or 8000
    deployment: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**labels, RELEASE: release_label(release)},
            "annotations": {TEMPLATE: template_digest(template)},
        },
        "spec": {"replicas": spec.workload.replicas or 1, "selector": {"matchLabels": dict(selector)}, "template": pod},
    }
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": spec.service_name, "namespace": namespace, "labels": dict(labels)},
        "spec": {"selector": dict(selector), "ports": [{"name": "http", "port": port, "targetPort": port}]},
    }
    return deployment, service


def created_virtual_service(spec: ModelReleaseSpec, namespace: str) -> Manifest:
    """VirtualService of creation mode: one route to stable."""
    port = spec.workload.port or 8000
    body: dict[str, Any] = {
        "hosts": list(spec.traffic.hosts),
        "http": [
            {
                "name": spec.traffic.route or "primary",
                "route": [{"destination": {"host": spec.service_name, "port": {"number": port}}}],
            }
        ],
    }
    if spec.traffic.gateways:
        body["gateways"] = list(spec.traffic.gateways)
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": spec.virtual_service_name, "namespace": namespace, "labels": {MANAGED_BY: OPERATOR}},
        "spec": body,
    }
