"""The ModelRelease field by field, from the schema of its CustomResourceDefinition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelrelease.api.durations import PATTERN as DURATION
from modelrelease.api.model import GROUP, PLURAL, VERSION
from modelrelease.api.schema import crd, resource_schema
from modelrelease.api.validations import VALIDATIONS
from modelrelease.cli.reference.markdown import code, table
from modelrelease.cli.reference.markdown import page as whole_page

_Node = Mapping[str, Any]


def page() -> str:
    """All fields of spec and status, the rules across fields, and the columns of `kubectl get`."""
    root: Any = resource_schema()
    properties = root["properties"]
    return whole_page(
        "ModelRelease",
        "operator/modelrelease/api",
        f"`{PLURAL}.{GROUP}`, version `{VERSION}`, short name `mr`, namespaced. `kubectl explain mr.spec` says the "
        "same in the terminal. The API server sets no defaults: what is absent has the default named here.",
        "An editor checks a manifest that begins with this line against the published "
        "[JSON schema](../../crds/modelrelease.schema.json):",
        "```yaml\n# yaml-language-server: $schema=../crds/modelrelease.schema.json\n```",
        "## spec",
        *_sections("spec", properties["spec"]),
        "## Rules that the API server checks",
        "A resource that breaks one of these is refused when it is applied, with the sentence on the right.",
        table(("at", "sentence"), [(code(one.path), one.message) for one in VALIDATIONS]),
        "## status",
        "Written by the operator only. It is all that the operator remembers: where it is lost, the canary of a "
        "release under way is taken away, and the release begins anew.",
        *_sections("status", properties["status"]),
        "## Columns of kubectl get",
        table(("column", "from", "meaning"), _columns()),
    )


def _sections(path: str, node: _Node) -> Iterator[str]:
    """A table for each object, the outer ones first."""
    required = node.get("required", ())
    yield f"### {path}" if "." in path else ""
    yield table(
        ("field", "type", "meaning"),
        (
            (
                code(name) + (" **required**" if name in required and path.startswith("spec") else ""),
                _type(child),
                str(child.get("description", "")),
            )
            for name, child in node["properties"].items()
        ),
    )
    for name, child in node["properties"].items():
        inner, mark = (child["items"], "[]") if "items" in child else (child, "")
        if "properties" in inner:
            yield from _sections(f"{path}.{name}{mark}", inner)


def _type(node: _Node) -> str:
    if "items" in node:
        return f"list of {_type(node['items'])}{_limits(node, 'Items')}"
    if "enum" in node:
        return ", ".join(code(str(value)) for value in node["enum"])
    if node.get("pattern") == DURATION:
        return "duration"
    if node["type"] in ("integer", "number"):
        return str(node["type"]) + _bounds(node)
    return str(node["type"]) + _limits(node, "Length")


def _bounds(node: _Node) -> str:
    parts = []
    if "minimum" in node:
        parts.append(f"{'>' if node.get('exclusiveMinimum') else '≥'} {node['minimum']}")
    if "maximum" in node:
        parts.append(f"{'<' if node.get('exclusiveMaximum') else '≤'} {node['maximum']}")
    return f" {', '.join(parts)}" if parts else ""


def _limits(node: _Node, what: str) -> str:
    unit = "items" if what == "Items" else "characters"
    longest = node.get(f"max{what}")
    return f", at most {longest} {unit}" if longest is not None else ""


def _columns() -> Iterator[tuple[str, str, str]]:
    root: Any = crd()
    for column in root["spec"]["versions"][0]["additionalPrinterColumns"]:
        wide = " Only with `-o wide`." if column.get("priority") else ""
        yield column["name"], code(column["jsonPath"]), column["description"] + wide
