"""What the OpenAPI page says about requests whose bodies FastAPI does not parse, and about refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from yolo_serving.answers import ErrorBody
from yolo_serving.tensors import TensorSpec

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The body is no picture that can be decoded."},
    413: {"model": ErrorBody, "description": "More bytes or pixels than accepted."},
    404: {"model": ErrorBody, "description": "Another model or version than is served here."},
    408: {"model": ErrorBody, "description": "The body did not arrive in time."},
    415: {"model": ErrorBody, "description": "A content type that is not served."},
    422: {"model": ErrorBody, "description": "An option out of its range."},
    429: {"model": ErrorBody, "description": "The queue is full; see Retry-After."},
    503: {"model": ErrorBody, "description": "The answer would have come too late."},
}
PICTURE_BODY: dict[str, Any] = {
    "x-example": "curl --data-binary @picture.jpg -H 'content-type: image/jpeg' 'localhost:8000/predict?conf=0.4'\n"
    "curl -F file=@picture.jpg 'localhost:8000/predict?render=png' -o drawn.png",
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    },
}
FORM_BODY: dict[str, Any] = {
    "x-example": "curl -F files=@one.jpg -F files=@two.png localhost:8000/predict/batch",
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "additionalProperties": False,
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            },
        },
    },
}
DRAWN_PICTURE: dict[str, Any] = {
    "description": "What was found; with render=png the picture with the boxes in it.",
    "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
}
EXPOSITION: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_TENSOR_COMMAND: Final = """python3 -c 'import json; print(json.dumps({{"inputs": [{{"name": "{name}",
  "shape": [1, 3, {side}, {side}], "datatype": "FP32", "data": [0.5] * (3 * {side} * {side})}}]}}))' |
curl --data-binary @- -H 'content-type: application/json' localhost:8000/v2/models/{model}/infer"""


def infer_body(spec: TensorSpec, model: str) -> dict[str, Any]:
    """What the model takes: an example with data would be as long as the data, so it is a command that makes them."""
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string", "enum": [spec.input_name]},
            "datatype": {"type": "string", "enum": ["FP32"]},
            "shape": {"type": "array", "minItems": 4, "maxItems": 4, "items": {"type": "integer"}},
            "data": {"type": "array", "items": {}},
            "parameters": {"type": "object"},
        },
    }
    return {
        "x-example": _TENSOR_COMMAND.format(name=spec.input_name, side=spec.side, model=model),
        "requestBody": {
            "description": f"Shape [n, 3, {spec.side}, {spec.side}], data in row-major order, flat or nested. Binary: "
            "the JSON without them, its length in the header `Inference-Header-Content-Length`, and behind it the "
            "little-endian numbers: a third of the bytes, or less.",
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["inputs"],
                        "properties": {
                            "id": {"type": "string"},
                            "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": tensor},
                            "outputs": {"type": "array", "maxItems": 1, "items": {"type": "object"}},
                        },
                    },
                },
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
    }


def name_what_is_served(app: FastAPI, values: Mapping[str, str]) -> None:
    """Writes into the description which values path parameters take here, so that the page can be tried as it is."""
    for operations in app.openapi()["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["schema"]["enum"] = [values[parameter["name"]]]
