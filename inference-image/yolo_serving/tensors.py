"""Tensors of the Open Inference Protocol v2, as JSON and as binary data behind it.

Sources: kserve/open-inference-protocol, `inference_rest.md`; the binary tensor data extension as Triton documents it
(`extension_binary_data.md`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from yolo_serving.errors import BadTensor

HEADER_LENGTH: Final = "inference-header-content-length"
_DATATYPE: Final = "FP32"
# No body has more bytes than that many digits say; Python refuses to read a number of thousands of digits.
_MOST_LENGTH_DIGITS: Final = 12
# Of brackets, quotes and commas beside those of the data.
_MOST_MARKS: Final = 1000


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The one input that the model takes, and its one output."""

    input_name: str
    output_name: str
    side: int
    max_count: int


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """`values` (n, 3, side, side), finite; `identifier` is given back; `binary`: how the answer is wanted."""

    values: NDArray[np.float32]
    identifier: str | None
    binary: bool


def parse_request(body: bytes, header_length: str | None, spec: TensorSpec) -> InferenceRequest:
    """Reads an inference request; raises BadTensor with a sentence for anything that does not fit the model."""
    head, tail = _split(body, header_length)
    _require_small(head, spec)
    document = _object(head)
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadTensor(f"'inputs' must be a list with the one tensor {spec.input_name!r}.")
    values = _values(inputs[0], tail, spec)
    if not np.isfinite(values).all():
        raise BadTensor(f"The tensor {spec.input_name!r} has values that are not finite (NaN or infinity).")
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadTensor("'id' must be a string.")
    return InferenceRequest(values, identifier, _wants_binary(document, spec))


def _split(body: bytes, header_length: str | None) -> tuple[bytes, bytes]:
    if header_length is None:
        return body, b""
    readable = header_length.isdecimal() and len(header_length) <= _MOST_LENGTH_DIGITS
    if not readable or int(header_length) > len(body):
        given = header_length[: _MOST_LENGTH_DIGITS + 1]
        raise BadTensor(f"{HEADER_LENGTH}: {given!r} is not a length within the body of {len(body)} bytes.")
    return body[: int(header_length)], body[int(header_length) :]


def _require_small(text: bytes, spec: TensorSpec) -> None:
    """Raises BadTensor, before anything is made of it, for JSON with more in it than any request for the model needs.

    Reading JSON holds up the whole process: a body of millions of empty lists would for seconds.
    """
    numbers = spec.max_count * 3 * spec.side * spec.side
    lists = spec.max_count * (1 + 3 * (1 + spec.side))
    for mark, most in ((b"[", lists), (b"{", 0), (b'"', 0), (b",", numbers)):
        if text.count(mark) > most + _MOST_MARKS:
            raise BadTensor(f"The JSON has more than {most + _MOST_MARKS} of {mark.decode()}.")


def _object(text: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadTensor(f"The body is not JSON ({str(error)[:100]}).") from None
    if not isinstance(document, dict):
        raise BadTensor("The body must be a JSON object.")
    return document


def _values(tensor: Mapping[str, object], tail: bytes, spec: TensorSpec) -> NDArray[np.float32]:
    if tensor.get("name") != spec.input_name or tensor.get("datatype") != _DATATYPE:
        raise BadTensor(f"The input must be {spec.input_name!r} with datatype {_DATATYPE}.")
    count = _count(tensor.get("shape"), spec)
    shape = (count, 3, spec.side, spec.side)
    size = _binary_size(tensor.get("parameters"))
    if size is None:
        if tail:
            raise BadTensor(f"{len(tail)} bytes follow the JSON, but the tensor declares no 'binary_data_size'.")
        return _from_json(tensor.get("data"), shape)
    expected = 4 * count * 3 * spec.side * spec.side
    if size != expected or len(tail) != expected:
        raise BadTensor(f"The binary data has {len(tail)} bytes, declared {size}; the shape needs {expected}.")
    return np.frombuffer(tail, "<f4").reshape(shape).astype(np.float32)


def _count(shape: object, spec: TensorSpec) -> int:
    match shape:
        case [int(count), 3, spec.side, spec.side] if 1 <= count <= spec.max_count and not isinstance(count, bool):
            return count
        case _:
            raise BadTensor(f"'shape' must be [n, 3, {spec.side}, {spec.side}] with n from 1 to {spec.max_count}.")


def _binary_size(parameters: object) -> int | None:
    if not isinstance(parameters, dict) or "binary_data_size" not in parameters:
        return None
    size = parameters["binary_data_size"]
    if not isinstance(size, int) or isinstance(size, bool):
        raise BadTensor("'binary_data_size' must be a whole number.")
    return size


def _from_json(data: object, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Flat or nested numbers in row-major order."""
    if not isinstance(data, list):
        raise BadTensor("'data' must be a list of numbers, flat or nested as the shape.")
    try:
        # Huge numbers overflow to infinity, which is refused afterwards with its own sentence.
        with np.errstate(over="ignore"):
            wide = np.array(data)
            if wide.dtype.kind not in "iuf":
                raise BadTensor("'data' has elements that are not numbers.")
            return wide.astype(np.float32).reshape(shape)
    except (ValueError, OverflowError, RecursionError):
        raise BadTensor(f"'data' does not have the {np.prod(shape)} numbers of the shape {list(shape)}.") from None


def _wants_binary(document: Mapping[str, object], spec: TensorSpec) -> bool:
    parameters = document.get("parameters")
    by_default = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    outputs = document.get("outputs")
    match outputs:
        case None | []:
            return by_default
        case [{"name": spec.output_name, "parameters": {"classification": _}}]:
            raise BadTensor("'classification' is for models of another kind; this one answers raw detections.")
        case [{"name": spec.output_name, **rest}]:
            own = rest.get("parameters")
            return own.get("binary_data", by_default) is True if isinstance(own, dict) else by_default
        case _:
            raise BadTensor(f"'outputs' may only name {spec.output_name!r}.")


def answer(
    named: Mapping[str, object], request: InferenceRequest, head: NDArray[np.float32], spec: TensorSpec
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the answer: JSON, or JSON followed by the tensor in little-endian bytes."""
    output: dict[str, object] = {"name": spec.output_name, "datatype": _DATATYPE, "shape": list(head.shape)}
    document: dict[str, object] = {**named, "outputs": [output]}
    if request.identifier is not None:
        document["id"] = request.identifier
    if not request.binary:
        output["data"] = head.reshape(-1).tolist()
        return json.dumps(document, separators=(",", ":")).encode(), {"content-type": "application/json"}
    raw = head.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(raw)}
    text = json.dumps(document, separators=(",", ":")).encode()
    return text + raw, {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
