from __future__ import annotations

import json

import numpy as np
import pytest

from yolo_serving.errors import BadTensor
from yolo_serving.tensors import TensorSpec, answer, parse_request

SPEC = TensorSpec("images", "output0", side=2, max_count=3)
VALUES = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)


def request(**changes: object) -> dict[str, object]:
    tensor = {"name": "images", "datatype": "FP32", "shape": [1, 3, 2, 2], "data": VALUES.reshape(-1).tolist()}
    return {"inputs": [{**tensor, **changes}]}


def binary(header: dict[str, object], tail: bytes) -> tuple[bytes, str]:
    head = json.dumps(header).encode()
    return head + tail, str(len(head))


@pytest.mark.parametrize("data", [VALUES.reshape(-1).tolist(), VALUES.tolist()])
def test_json_data_flat_or_nested(data: object) -> None:
    parsed = parse_request(json.dumps({**request(data=data), "id": "a7"}).encode(), None, SPEC)
    assert np.array_equal(VALUES, parsed.values)
    assert (parsed.identifier, parsed.binary) == ("a7", False)


def test_binary_data_behind_the_header() -> None:
    tensor = {"name": "images", "datatype": "FP32", "shape": [1, 3, 2, 2], "parameters": {"binary_data_size": 48}}
    outputs = [{"name": "output0", "parameters": {"binary_data": True}}]
    body, length = binary({"inputs": [tensor], "outputs": outputs}, VALUES.astype("<f4").tobytes())
    parsed = parse_request(body, length, SPEC)
    assert np.array_equal(VALUES, parsed.values)
    assert parsed.binary


@pytest.mark.parametrize(
    ("document", "phrase"),
    [
        ([], "must be a JSON object"),
        ({}, "'inputs' must be a list with the one tensor 'images'"),
        ({"inputs": [1]}, "'inputs' must be"),
        ({"inputs": [*request()["inputs"], *request()["inputs"]]}, "'inputs' must be"),  # type: ignore[misc]
        (request(name="picture"), "must be 'images' with datatype FP32"),
        (request(datatype="FP64"), "must be 'images' with datatype FP32"),
        (request(shape=[1, 3, 2, 3]), r"\[n, 3, 2, 2\] with n from 1 to 3"),
        (request(shape=[4, 3, 2, 2]), "n from 1 to 3"),
        (request(shape=[0, 3, 2, 2]), "n from 1 to 3"),
        (request(shape=[True, 3, 2, 2]), "n from 1 to 3"),
        (request(shape="big"), "n from 1 to 3"),
        (request(data=[1.0] * 11), "does not have the 12 numbers"),
        (request(data=[[1.0], [2.0, 3.0]]), "does not have the 12 numbers"),
        (request(data=["1"] * 12), "not numbers"),
        (request(data=None), "must be a list of numbers"),
        (request(data=[float("nan")] * 12), "not finite"),
        (request(data=[1e300] * 12), "not finite"),
        (request(data=[10**400] * 12), "not numbers"),
        (request(parameters={"binary_data_size": "48"}), "whole number"),
        (request(parameters={"binary_data_size": 48}), "has 0 bytes, declared 48; the shape needs 48"),
        ({**request(), "id": 7}, "'id' must be a string"),
        ({**request(), "outputs": [{"name": "boxes"}]}, "may only name 'output0'"),
        (
            {**request(), "outputs": [{"name": "output0", "parameters": {"classification": 3}}]},
            "'classification' is for models of another kind",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(document: object, phrase: str) -> None:
    with pytest.raises(BadTensor, match=phrase):
        parse_request(json.dumps(document).encode(), None, SPEC)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 1020])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadTensor, match="not JSON"):
        parse_request(body, None, SPEC)


@pytest.mark.parametrize("length", ["-1", "x", "999", "", "9" * 5000])
def test_header_length_outside_of_the_body(length: str) -> None:
    with pytest.raises(BadTensor, match="is not a length within the body"):
        parse_request(b"{}", length, SPEC)


def test_bytes_behind_the_json_need_a_tensor_that_has_them() -> None:
    body, length = binary(request(), bytes(48))
    with pytest.raises(BadTensor, match="48 bytes follow the JSON"):
        parse_request(body, length, SPEC)


def test_an_empty_list_of_outputs_asks_for_all() -> None:
    asked = {**request(), "outputs": [], "parameters": {"binary_data_output": True}}
    assert parse_request(json.dumps(asked).encode(), None, SPEC).binary


def test_nan_in_binary_data_is_refused() -> None:
    tensor = {"name": "images", "datatype": "FP32", "shape": [1, 3, 2, 2], "parameters": {"binary_data_size": 48}}
    body, length = binary({"inputs": [tensor]}, np.full(12, np.nan, "<f4").tobytes())
    with pytest.raises(BadTensor, match="not finite"):
        parse_request(body, length, SPEC)


@pytest.mark.parametrize("wanted", [True, False])
def test_answer(wanted: bool) -> None:
    asked = parse_request(
        json.dumps({**request(), "id": "q", "parameters": {"binary_data_output": wanted}}).encode(), None, SPEC
    )
    head = np.array([[[0.5, 1.5]]], np.float32)
    body, headers = answer({"model_name": "m"}, asked, head, SPEC)
    length = int(headers.get("inference-header-content-length", len(body)))
    document = json.loads(body[:length])
    output = document["outputs"][0]
    assert (document["model_name"], document["id"]) == ("m", "q")
    assert (output["name"], output["datatype"], output["shape"]) == ("output0", "FP32", [1, 1, 2])
    if wanted:
        assert output["parameters"] == {"binary_data_size": 8}
        assert np.frombuffer(body[length:], "<f4").tolist() == [0.5, 1.5]
    else:
        assert output["data"] == [0.5, 1.5]


@pytest.mark.parametrize("piece", [b"[],", b'{"a":1},', b'"",', b"1,"])
def test_more_than_any_request_has_is_refused_before_it_is_read(piece: bytes) -> None:
    with pytest.raises(BadTensor, match=r"The JSON has more than 10\d\d of "):
        parse_request(b"[" + piece * 2000 + b"1]", None, SPEC)
