"""JSON schema of the operator's configuration, for editors, for the documentation and for the chart."""

from __future__ import annotations

from typing import Any

from modelrelease.api.durations import format_duration
from modelrelease.settings import OWN_NAMESPACE, Settings

DRAFT = "http://json-schema.org/draft-07/schema#"


def configuration_schema() -> dict[str, Any]:
    """Of the whole file; its sections are in `$defs`."""
    document = Settings.model_json_schema(by_alias=True)
    for section in [document, *document["$defs"].values()]:
        for field in section.get("properties", {}).values():
            field.pop("title", None)
            if field.get("type") == "string" and isinstance(field.get("default"), float):
                field["default"] = format_duration(field["default"])
    # It may be written so, and is read as the namespace that the operator runs in.
    watched = document["properties"]["watchNamespace"]["anyOf"]
    watched.append({"type": "string", "enum": ["", OWN_NAMESPACE]})
    return document
