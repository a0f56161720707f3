"""Types of single fields of a ModelRelease, and what the CRD says about those that hold more than a value."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
Name = Annotated[str, Field(min_length=1, max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
"""DNS subdomain: what most objects can be called."""
ShortName = Annotated[str, Field(min_length=1, max_length=63, pattern=rf"^{_LABEL}$")]
"""DNS label: what Services and containers can be called."""
RouteName = Annotated[str, Field(min_length=1, max_length=253)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=rf"^(\*|(\*\.)?{_LABEL}(\.{_LABEL})*)$")]
Gateway = Annotated[str, Field(min_length=1, max_length=253, pattern=rf"^({_LABEL}/)?{_LABEL}(\.{_LABEL})*$")]
ResponseCode = Annotated[str, Field(max_length=3, pattern=r"^([45][0-9]{2}|[45]xx|0)$")]

SET: dict[str, JsonValue] = {"x-kubernetes-list-type": "set"}

POD_TEMPLATE: dict[str, JsonValue] = {
    "x-kubernetes-preserve-unknown-fields": True,
    "required": ["spec"],
    "properties": {
        "metadata": {
            "type": "object",
            "description": "Labels and annotations of the pods.",
            "x-kubernetes-preserve-unknown-fields": True,
        },
        "spec": {
            "type": "object",
            "description": "What the pods run, as in a Deployment. The image of the released container is replaced.",
            "x-kubernetes-preserve-unknown-fields": True,
            "required": ["containers"],
            "properties": {
                "containers": {
                    "type": "array",
                    "description": "Containers of the pods.",
                    "minItems": 1,
                    "maxItems": 32,
                    "items": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string", "description": "Name of the container.", "maxLength": 63}
                        },
                    },
                }
            },
        },
    },
}
"""As much of a pod template as rules need to see; the rest is the API server's to check when the Deployment is made."""
