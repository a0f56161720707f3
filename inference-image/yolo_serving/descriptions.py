"""What the OpenAPI page says about requests whose bodies FastAPI does not parse, and about refusals."""

from __future__ import annotations

from typing import Any

from yolo_serving.answers import ErrorBody

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The body is no picture that can be decoded."},
    413: {"model": ErrorBody, "description": "More bytes or pixels than accepted."},
    404: {"model": ErrorBody, "description": "Another model or version than is served here."},
    415: {"model": ErrorBody, "description": "A content type that is not served."},
    422: {"model": ErrorBody, "description": "An option out of its range."},
    429: {"model": ErrorBody, "description": "The queue is full; see Retry-After."},
    503: {"model": ErrorBody, "description": "The answer would have come too late."},
}
PICTURE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
            },
        },
    }
}
FORM_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        },
    }
}
INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["inputs"], "properties": {"inputs": {"type": "array"}}},
                "example": {
                    "id": "1",
                    "inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 3, 160, 160], "data": [0.5]}],
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
