"""Forms, drawn pictures, the Open Inference Protocol, and clients that leave: over HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from serving_process import Answer, ServerProcess
from tiny_detector import SIDE


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (SIDE, SIDE), colour).save(buffer, format="PNG")
    return buffer.getvalue()


RED, GREEN = png((255, 0, 0)), png((0, 255, 0))


def form(server: ServerProcess, path: str, *files: bytes, boundary: str = "xYz") -> Answer:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{number}.png"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for number, content in enumerate(files)
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return server.predict(body, path, f"multipart/form-data; boundary={boundary}")


def classes(answer: Answer) -> list[list[str]]:
    predictions = answer.json()["predictions"]
    assert isinstance(predictions, list)
    return [[detection["class_name"] for detection in prediction["detections"]] for prediction in predictions]


def test_a_form_with_one_file_is_a_prediction(server: ServerProcess) -> None:
    assert form(server, "/predict", RED).json() == server.predict(RED).json()
    assert "has 2 files" in form(server, "/predict", RED, GREEN).error


def test_a_batch_answers_in_order(server: ServerProcess) -> None:
    answer = form(server, "/predict/batch", RED, GREEN, png((0, 0, 255)), RED)
    assert (answer.status, classes(answer)) == (200, [["red"], ["green"], [], ["red"]])


def test_a_batch_is_served_whole_or_not_at_all(server: ServerProcess) -> None:
    answer = form(server, "/predict/batch", RED, b"no picture", GREEN)
    assert (answer.status, "not a readable" in answer.error) == (400, True)
    many = form(server, "/predict/batch", *[RED] * 33)
    assert (many.status, "at most 32" in many.error) == (413, True)


@pytest.mark.parametrize(
    ("content_type", "body", "phrase"),
    [
        ("multipart/form-data", b"x", "no boundary"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nhello", "does not end"),
        ("multipart/form-data; boundary=b", b"--b\r\nno end of headers\r\n--b--", "no end of its headers"),
    ],
)
def test_broken_forms(server: ServerProcess, content_type: str, body: bytes, phrase: str) -> None:
    answer = server.predict(body, "/predict/batch", content_type)
    assert (answer.status, phrase in answer.error) == (400, True), answer


def test_drawn_picture_has_the_frame_where_the_box_is(server: ServerProcess) -> None:
    answer = server.predict(RED, "/predict?render=png")
    assert answer.headers["content-type"] == "image/png"
    with Image.open(BytesIO(answer.body)) as drawn:
        # 32 pixels are drawn ten times as large: box 4,4,20,20 becomes 40,40,200,200.
        assert drawn.size == (320, 320)
        pixels = np.asarray(drawn.convert("RGB"))
    assert pixels[100, 150].tolist() == [255, 0, 0]
    assert pixels[200, 150].tolist() == [230, 25, 75]
    assert server.predict(RED, "/predict?render=gif").status == 422


def test_protocol_metadata(server: ServerProcess) -> None:
    assert server.get("/v2").json() == {
        "name": "yolo-serving",
        "version": "v9.8.7",
        "extensions": ["binary_tensor_data"],
    }
    assert server.get("/v2/models/tiny").json() == {
        "name": "tiny",
        "versions": ["v9.8.7"],
        "platform": "onnx_onnxruntime",
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 3, SIDE, SIDE]}],
        "outputs": [{"name": "output0", "datatype": "FP32", "shape": [-1, 6, -1]}],
    }
    paths = ["health/live", "health/ready", "models/tiny/ready", "models/tiny/versions/v9.8.7/ready"]
    assert [server.get(f"/v2/{path}").status for path in paths] == [200] * 4
    other = server.get("/v2/models/other")
    assert (other.status, "Here is tiny v9.8.7, not other" in other.error) == (404, True)
    assert server.get("/v2/models/tiny/versions/v1").status == 404


def tensor(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    values = np.zeros((count, 3, SIDE, SIDE), np.float32)
    values[:, 0] = np.linspace(0.2, 0.8, count)[:, None, None]
    return values


@pytest.mark.parametrize("count", [1, 9])
def test_inference_as_json_and_binary_give_the_same(server: ServerProcess, count: int) -> None:
    values = tensor(count)
    described = {"name": "images", "datatype": "FP32", "shape": list(values.shape)}
    as_json = server.predict(
        json.dumps(
            {"id": "7", "inputs": [{**described, "data": np.round(values.astype(float), 3).reshape(-1).tolist()}]}
        ).encode(),
        "/v2/models/tiny/infer",
        "application/json",
    )
    head = json.dumps(
        {
            "inputs": [{**described, "parameters": {"binary_data_size": values.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    as_binary = server.request(
        "POST", "/v2/models/tiny/infer", head + values.tobytes(), {"inference-header-content-length": str(len(head))}
    )
    answered = as_json.json()
    assert (as_json.status, answered["model_name"], answered["model_version"], answered["id"]) == (
        200, "tiny", "v9.8.7", "7",
    )  # fmt: skip
    output = answered["outputs"][0]  # type: ignore[index]
    assert output["shape"] == [count, 6, 3]
    text_length = int(as_binary.headers["inference-header-content-length"])
    raw = np.frombuffer(as_binary.body[text_length:], "<f4").reshape(count, 6, 3)
    assert np.allclose(np.array(output["data"]).reshape(raw.shape), raw, atol=1e-3)
    # Anchor 0 scores the mean of the red channel for class 0.
    assert raw[:, 4, 0].tolist() == pytest.approx(np.linspace(0.2, 0.8, count).tolist(), abs=1e-3)


def test_inference_refuses_nan_with_a_sentence(server: ServerProcess) -> None:
    values = [float("nan")] * (3 * SIDE * SIDE)
    described = {"name": "images", "datatype": "FP32", "shape": [1, 3, SIDE, SIDE], "data": values}
    answer = server.predict(json.dumps({"inputs": [described]}).encode(), "/v2/models/tiny/infer", "application/json")
    assert (answer.status, "not finite" in answer.error) == (400, True)


def counts_by_code(server: ServerProcess) -> dict[str, float]:
    text = server.get("/metrics").body.decode()
    return {
        sample.labels["code"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "inference_requests_total"
    }


def test_a_client_that_leaves_frees_its_place(start_server: Callable[..., ServerProcess]) -> None:
    """One place, held by a request that waits for company; its client goes, and the next one is served."""
    server = start_server(QUEUE_SIZE="1", MAX_BATCH="2", MAX_DELAY_MILLISECONDS="2000", DEADLINE_MILLISECONDS="9000")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(RED)}\r\n\r\n"
        connection.sendall(head.encode() + RED)
        time.sleep(0.4)
        assert server.predict(RED).status == 429
    deadline = time.monotonic() + 1.0
    while "499" not in counts_by_code(server) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert counts_by_code(server)["499"] == 1
    answers: list[Answer] = []
    late = threading.Thread(target=lambda: answers.append(server.predict(RED)))
    late.start()
    late.join(20)
    assert [answer.status for answer in answers] == [200]
    assert "Traceback" not in server.log


def test_a_deadline_that_passes_in_the_queue_is_a_503(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server(MAX_BATCH="2", MAX_DELAY_MILLISECONDS="500", DEADLINE_MILLISECONDS="100")
    answer = server.predict(RED)
    assert (answer.status, answer.error) == (503, "There was no answer within 100 ms.")
