"""The objects of a canary, made from stable's."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any, cast

from modelrelease.api.spec import EnvVar, ModelReleaseSpec
from modelrelease.api.status import HeldAutoscaler
from modelrelease.errors import Terminal
from modelrelease.rollout.labels import (
    AUTOSCALER,
    BEFORE,
    MANAGED_BY,
    OPERATOR,
    RELEASE,
    REVISION,
    ROUTE,
    canary_name,
    expression_holds,
    matches,
    release_label,
    suffixed,
)
from modelrelease.rollout.seen import Manifest, RouteReference
from modelrelease.rollout.stamps import before_stamp

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_DROPPED_ANNOTATIONS = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")


def route_reference(spec: ModelReleaseSpec) -> RouteReference:
    """The managed route and the two hosts, by their short names (same namespace)."""
    return RouteReference(
        virtual_service=spec.virtual_service_name,
        route=spec.traffic.route,
        stable_host=spec.service_name,
        canary_host=canary_name(spec.service_name),
    )


def stamped_reference(canary: Manifest) -> RouteReference | None:
    """The route that a canary was made for, as stamped on it; None where somebody took that off or damaged it."""
    annotations = cast(dict[str, Any], canary)["metadata"].get("annotations") or {}
    try:
        return RouteReference(**json.loads(annotations[ROUTE]))
    except (KeyError, TypeError, ValueError):
        return None


def container_name(template: Manifest, wanted: str | None) -> str:
    """The container whose image a release changes. Raises Terminal(ContainerMissing) naming those there are."""
    body = cast(dict[str, Any], template)
    names = [container["name"] for container in body["spec"]["containers"]]
    annotated = (body.get("metadata", {}).get("annotations") or {}).get(_DEFAULT_CONTAINER)
    name = wanted or (annotated if annotated in names else names[0])
    if name not in names:
        raise Terminal(
            "ContainerMissing",
            f"The pod template has no container {name!r}; set spec.workload.container to one of {', '.join(names)}.",
        )
    return str(name)


def with_release(template: Manifest, spec: ModelReleaseSpec, image: str, dropped: Sequence[EnvVar] = ()) -> Manifest:
    """The pod template with the release's image and environment, without the `dropped` variables of earlier releases,
    and nothing else changed."""
    changed = cast(dict[str, Any], copy.deepcopy(template))
    name = container_name(template, spec.workload.container)
    for container in changed["spec"]["containers"]:
        if container["name"] == name:
            container["image"] = image
            gone = {(variable.name, variable.value) for variable in dropped}
            kept = [one for one in container.get("env") or [] if "valueFrom" in one or _literal(one) not in gone]
            if spec.env or kept != (container.get("env") or []):
                container["env"] = _merged_env(kept, spec.env)
    return changed


def _literal(variable: dict[str, Any]) -> tuple[str, str]:
    """Name and value of a variable; API servers leave an empty value out."""
    return variable["name"], variable.get("value", "")


def _merged_env(present: list[dict[str, Any]], wanted: list[EnvVar]) -> list[dict[str, Any]]:
    values = {variable.name: {"name": variable.name, "value": variable.value} for variable in wanted}
    kept = [values.pop(variable["name"], variable) for variable in present]
    return [*kept, *values.values()]


def selected_keys(stable: Manifest, service: Manifest) -> frozenset[str]:
    """Every label key by which stable's Deployment or Service selects pods."""
    deployment = cast(dict[str, Any], stable)
    selector = deployment["spec"]["selector"]
    keys = set(selector.get("matchLabels") or {})
    keys |= {expression["key"] for expression in selector.get("matchExpressions") or []}
    keys |= set(cast(dict[str, Any], service).get("spec", {}).get("selector") or {})
    return frozenset(keys)


def canary_deployment(  # noqa: PLR0913 - what a canary is made from
    stable: Manifest,
    service: Manifest,
    spec: ModelReleaseSpec,
    *,
    release: str,
    revision: str,
    replicas: int,
    dropped: Sequence[EnvVar] = (),
    held: HeldAutoscaler | None = None,
) -> Manifest:
    """The canary's Deployment: stable's template with the new image, and labels that nothing of stable's selects.

    It has no ownerReference: traffic must be off it before it goes, which garbage collection would not wait for.
    Raises Terminal(SelectorUnsupported) where stable's selector would select canary pods all the same.
    """
    body = cast(dict[str, Any], stable)
    keys, wanted = selected_keys(stable, service), spec.workload.template
    base = body["spec"]["template"] if wanted is None else completed(wanted, body["spec"]["template"], keys)
    template = cast(dict[str, Any], with_release(base, spec, spec.image, dropped))
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    old = {key: labels[key] for key in keys if key in labels}
    new = {key: suffixed(value) for key, value in old.items()}
    labels.update(new)
    labels[RELEASE] = release_label(release)
    _rename_selectors(template["spec"], old, new)
    _refuse_if_selected(body, cast(dict[str, Any], service), labels)
    deployment_spec = {
        key: copy.deepcopy(value)
        for key, value in body["spec"].items()
        if key not in ("selector", "template", "replicas", "paused")
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": canary_name(body["metadata"]["name"]),
            "namespace": body["metadata"]["namespace"],
            "labels": {
                **_suffix_known(body["metadata"].get("labels") or {}, old, new),
                RELEASE: release_label(release),
                MANAGED_BY: OPERATOR,
            },
            "annotations": {
                **_kept_annotations(body["metadata"].get("annotations") or {}),
                RELEASE: release,
                REVISION: revision,
                ROUTE: json.dumps(asdict(route_reference(spec)), separators=(",", ":")),
                BEFORE: before_stamp(
                    stable,
                    container_name(body["spec"]["template"], spec.workload.container),
                    whole=spec.workload.template is not None,
                ),
                **({AUTOSCALER: held.model_dump_json()} if held is not None else {}),
            },
        },
        "spec": {
            **deployment_spec,
            "replicas": replicas,
            "selector": cast(Manifest, {"matchLabels": new}),
            "template": template,
        },
    }


def completed(wanted: Manifest, present: Manifest, selected: Collection[str]) -> Manifest:
    """A template of creation mode with the labels of the pods there are.

    selected: keys that Deployment or Service select by. A selector is immutable: of these, the labels there are win.
    """
    changed = cast(dict[str, Any], copy.deepcopy(wanted))
    metadata = changed.setdefault("metadata", {})
    labels: dict[str, str] = cast(dict[str, Any], present).get("metadata", {}).get("labels") or {}
    kept = {key: value for key, value in labels.items() if key in selected}
    metadata["labels"] = {**labels, **(metadata.get("labels") or {}), **kept}
    return changed


def _kept_annotations(annotations: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key not in _DROPPED_ANNOTATIONS}


def _suffix_known(labels: dict[str, str], old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    return {key: new[key] if old.get(key) == value else value for key, value in labels.items()}


def _rename_selectors(node: Any, old: dict[str, str], new: dict[str, str]) -> None:
    """Make affinity and topology rules that speak of stable's pods speak of the canary's."""
    if isinstance(node, list):
        for item in node:
            _rename_selectors(item, old, new)
    elif isinstance(node, dict):
        selector = node.get("labelSelector")
        if isinstance(selector, dict):
            labels = selector.get("matchLabels") or {}
            selector.update({"matchLabels": _suffix_known(labels, old, new)} if labels else {})
            for expression in selector.get("matchExpressions") or []:
                key = expression["key"]
                expression["values"] = [
                    new[key] if old.get(key) == value else value for value in expression.get("values") or []
                ] or expression.get("values")
                if expression["values"] is None:
                    del expression["values"]
        for value in node.values():
            _rename_selectors(value, old, new)


def _refuse_if_selected(stable: dict[str, Any], service: dict[str, Any], labels: dict[str, str]) -> None:
    service_selector = service.get("spec", {}).get("selector") or {}
    if not service_selector or matches(service_selector, labels):
        raise Terminal(
            "SelectorUnsupported",
            f"Service {service.get('metadata', {}).get('name')!r} would select the canary's pods as well; give it a "
            "selector with at least one label of stable's pods.",
        )
    selector = stable["spec"]["selector"]
    expressions = selector.get("matchExpressions") or []
    if matches(selector.get("matchLabels") or {}, labels) and all(
        expression_holds(item, labels) for item in expressions
    ):
        raise Terminal(
            "SelectorUnsupported",
            f"Deployment {stable['metadata']['name']!r} would select the canary's pods as well; use matchLabels or an "
            "In expression in its selector.",
        )


def canary_service(service: Manifest, canary: Manifest) -> Manifest:
    """The canary's Service: stable's labels and ports, the canary's pods.

    Owned by the canary's Deployment, so that both go by one deletion, after traffic has left.
    """
    body, deployment = cast(dict[str, Any], service), cast(dict[str, Any], canary)
    ports = [
        {key: value for key, value in port.items() if key != "nodePort"} for port in body["spec"].get("ports") or []
    ]
    pod_labels = deployment["spec"]["template"]["metadata"]["labels"]
    spec: dict[str, Any] = {
        "ports": ports,
        "selector": {key: pod_labels[key] for key in body["spec"]["selector"] if key in pod_labels},
    }
    if body["spec"].get("clusterIP") == "None":
        spec["clusterIP"] = "None"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": canary_name(body["metadata"]["name"]),
            "namespace": body["metadata"]["namespace"],
            "labels": {
                **(body["metadata"].get("labels") or {}),
                RELEASE: deployment["metadata"]["labels"][RELEASE],
                MANAGED_BY: OPERATOR,
            },
            "annotations": {RELEASE: deployment["metadata"]["annotations"][RELEASE]},
            "ownerReferences": [owner_reference(canary)],
        },
        "spec": spec,
    }


def owner_reference(deployment: Manifest) -> Manifest:
    """An ownerReference to a Deployment of the canary."""
    metadata = cast(dict[str, Any], deployment)["metadata"]
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"], "uid": metadata["uid"]}
