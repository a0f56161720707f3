"""The CustomResourceDefinition, derived from the models that the operator reads and writes with.

Decisions that are not visible in the output:
- No default is set by the API server. It would write two dozen lines into every object, which GitOps tools then show
  as drift, and it would freeze today's defaults into stored objects. `kubectl explain` says each default instead.
- `spec` is strict, `status` is not: nothing but this operator writes it, and an operator that is newer or older than
  the CRD must never be kept from writing a status, because intent is recorded there before each effect.
- Unknown fields are pruned (and named by kubectl's own validation), except inside pod templates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue

from modelrelease.api.durations import format_duration
from modelrelease.api.model import GROUP, KIND, PLURAL, VERSION, Model
from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.api.status import ReleaseStatus
from modelrelease.api.validations import VALIDATIONS

Schema = dict[str, JsonValue]

PRESERVE = "x-kubernetes-preserve-unknown-fields"
_LIST_TYPE = "x-kubernetes-list-type"
_LIST_KEYS = "x-kubernetes-list-map-keys"
_ANNOTATIONS = ("type", "description", "format")
_BOUNDS = ("enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern")
_EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}

_READY = '.status.conditions[?(@.type=="Ready")].status'
_DESCRIPTION = (
    "ModelRelease names the Deployment that serves a model and the image that it should serve with. The operator "
    "runs the new image beside the stable one, moves traffic to it in steps while the evidence says that it is no "
    "worse, and takes it off the air when it is."
)


def crd() -> Schema:
    """The whole CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/name": "modelrelease"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["mr"],
                # `kubectl get all` shows the canary's Deployment and Service; what made them belongs beside them.
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "selectableFields": [{"jsonPath": ".spec.workload.deployment"}, {"jsonPath": ".status.phase"}],
                    "schema": {"openAPIV3Schema": resource_schema()},
                }
            ],
        },
    }


def resource_schema() -> Schema:
    """The OpenAPI schema of a ModelRelease."""
    root: Schema = {
        "type": "object",
        "description": _DESCRIPTION,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"Always {KIND}."},
            "metadata": {"type": "object"},
            "spec": structural(ModelReleaseSpec, strict=True),
            "status": structural(ReleaseStatus, strict=False),
        },
    }
    for validation in VALIDATIONS:
        rules = _at(root, validation.path).setdefault("x-kubernetes-validations", [])
        cast(list[JsonValue], rules).append({"rule": validation.rule, "message": validation.message})
    return root


def editor_schema() -> Schema:
    """JSON schema of what a user writes: unknown fields are errors, status and Kubernetes extensions are left out."""
    root = resource_schema()
    properties = cast(dict[str, Schema], root["properties"])
    del properties["status"]
    properties["apiVersion"] |= {"const": f"{GROUP}/{VERSION}"}
    properties["kind"] |= {"const": KIND}
    properties["metadata"][PRESERVE] = True
    root["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return _plain(root)


def structural(model: type[Model], *, strict: bool) -> Schema:
    """A model as a structural schema: one tree without references, unions, titles and defaults.

    With `strict` bounds, enumerations and required fields are kept; without, only shape and description are.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    definitions = cast(dict[str, Schema], schema.get("$defs", {}))
    return _convert(schema, definitions, strict)


def _convert(node: Mapping[str, JsonValue], definitions: Mapping[str, Schema], strict: bool) -> Schema:
    node = _resolve(node, definitions)
    result: Schema = {key: node[key] for key in _ANNOTATIONS if key in node}
    if strict:
        result |= _bounds(node)
        _say_default(result, node.get("default"))
    if strict or node.get(_LIST_TYPE) == "map":
        result |= {key: node[key] for key in (_LIST_TYPE, _LIST_KEYS) if key in node}
    if PRESERVE in node:
        result[PRESERVE] = node[PRESERVE]
    if "additionalProperties" in node:
        result[PRESERVE] = True
    properties = cast(dict[str, Schema], node.get("properties", {}))
    if properties:
        result["properties"] = {name: _convert(each, definitions, strict) for name, each in properties.items()}
    if strict and node.get("required"):
        result["required"] = node["required"]
    if "items" in node:
        items = _convert(cast(Schema, node["items"]), definitions, strict)
        if _LIST_KEYS in result and "required" not in items:
            items["required"] = result[_LIST_KEYS]
        result["items"] = items
    return result


def _resolve(node: Mapping[str, JsonValue], definitions: Mapping[str, Schema]) -> Schema:
    """Without `$ref` and without the null of an optional field; what stands beside a reference wins."""
    if "anyOf" in node:
        options = [option for option in cast(list[Schema], node["anyOf"]) if option.get("type") != "null"]
        if len(options) != 1:
            raise ValueError(f"a structural schema knows no unions: {options}")
        beside = {key: value for key, value in node.items() if key != "anyOf"}
        return _resolve(options[0] | beside, definitions)
    if "$ref" in node:
        name = str(node["$ref"]).rpartition("/")[2]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _resolve(definitions[name] | beside, definitions)
    return dict(node)


def _bounds(node: Mapping[str, JsonValue]) -> Schema:
    bounds: Schema = {key: node[key] for key in _BOUNDS if key in node}
    for exclusive, bound in _EXCLUSIVE.items():
        if exclusive in node:
            bounds |= {bound: node[exclusive], exclusive: True}
    return bounds


def _say_default(result: Schema, default: JsonValue) -> None:
    description = str(result.get("description", ""))
    if default is None or isinstance(default, list | dict) or "Default" in description or default == "":
        return
    if result.get("type") == "string" and isinstance(default, int | float):
        default = format_duration(default)
    text = str(default).lower() if isinstance(default, bool) else str(default)
    result["description"] = f"{description} Default: {text}."


def _plain(node: Schema) -> Schema:
    """JSON schema (draft 7) of an OpenAPI schema; exclusive bounds are numbers there."""
    plain: Schema = {key: value for key, value in node.items() if not key.startswith("x-kubernetes")}
    for exclusive, bound in _EXCLUSIVE.items():
        if plain.get(exclusive) is True:
            plain[exclusive] = plain.pop(bound)
    if "properties" in node:
        plain["properties"] = {name: _plain(each) for name, each in cast(dict[str, Schema], node["properties"]).items()}
        plain["additionalProperties"] = PRESERVE in node
    if "items" in node:
        plain["items"] = _plain(cast(Schema, node["items"]))
    return plain


def _at(root: Schema, path: str) -> Schema:
    node = root
    for part in path.split("."):
        name = part.removesuffix("[]")
        node = cast(dict[str, Schema], node["properties"])[name]
        if part.endswith("[]"):
            node = cast(Schema, node["items"])
    return node


def _columns() -> list[JsonValue]:
    def column(name: str, kind: str, path: str, description: str, **more: int) -> Schema:
        return {"name": name, "type": kind, "jsonPath": path, "description": description, **more}

    return [
        column("Image", "string", ".status.tag", "Tag, or shortened digest, of the image that phase is about."),
        column("Phase", "string", ".status.phase", "Where the release is."),
        column("Step", "string", ".status.progress", "Current step, and number of steps."),
        column("Weight", "integer", ".status.weight", "Share of the traffic, in per cent, meant for the canary."),
        column("Message", "string", ".status.message", "What it does or waits for."),
        column("Age", "date", ".metadata.creationTimestamp", "Age of the resource."),
        column("Ready", "string", _READY, "Whether all is well: stable serves what it should.", priority=1),
        column("Full Image", "string", ".spec.image", "The image to release, in full.", priority=1),
    ]
