"""The operator's configuration file, from its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from modelrelease.api.durations import PATTERN as DURATION
from modelrelease.api.durations import format_duration
from modelrelease.cli.reference.markdown import code, table
from modelrelease.cli.reference.markdown import page as whole_page
from modelrelease.settings import Settings

_Node = Mapping[str, Any]


def page() -> str:
    """All fields, the top ones first."""
    schema = Settings.model_json_schema(by_alias=True)
    return whole_page(
        "Configuration of the operator",
        "operator/modelrelease/settings.py",
        "One YAML file, in the ConfigMap `modelrelease-config` under the key `config.yaml`. It is read once, when the "
        "operator starts; after an edit, restart it: "
        "`kubectl -n modelrelease-system rollout restart deployment/modelrelease-operator`. An unknown or wrong field "
        "ends the process with a sentence that names it.",
        "An editor checks the file against the published [JSON schema](../../deploy/base/config.schema.json) where it "
        "begins with `# yaml-language-server: $schema=` and the schema's address.",
        "## Top",
        _fields(schema, schema["$defs"]),
        *_sections(schema["$defs"]),
    )


def _sections(definitions: Mapping[str, _Node]) -> Iterator[str]:
    for name, definition in definitions.items():
        if "properties" in definition:
            yield f"## {name}"
            yield str(definition.get("description", ""))
            yield _fields(definition, definitions)


def _fields(node: _Node, definitions: Mapping[str, _Node]) -> str:
    required = node.get("required", ())
    rows = []
    for name, field in node["properties"].items():
        referred = definitions.get(str(field.get("$ref", "")).rpartition("/")[2], {})
        meaning = str(field.get("description") or referred.get("description", ""))
        default = "**required**" if name in required else _default(field)
        rows.append((code(name), _type(field, definitions), default, meaning))
    return table(("field", "type", "default", "meaning"), rows)


def _type(field: _Node, definitions: Mapping[str, _Node]) -> str:
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    if options:
        return " or ".join(_type(option, definitions) for option in options)
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        values = definitions[name].get("enum")
        return ", ".join(map(code, values)) if values else f"[{name}](#{name.lower()})"
    if field.get("pattern") == DURATION:
        return "duration"
    if "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'], definitions)}"
    if field.get("type") == "array":
        return f"list of {_type(field['items'], definitions)}"
    return str(field.get("type", "string"))


def _default(field: _Node) -> str:
    value = field.get("default")
    if value is None or isinstance(value, dict):
        return ""
    if field.get("pattern") == DURATION:
        return code(format_duration(value))
    if isinstance(value, list):
        return ", ".join(code(str(item)) for item in value)
    return code(str(value).lower() if isinstance(value, bool) else str(value))
