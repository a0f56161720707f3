from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from serving_process import ServerProcess

RED = (255, 0, 0)
GREEN = (0, 255, 0)


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, format=kind)
    return buffer.getvalue()


def series(exposition: bytes) -> Counter[str]:
    """Samples by name and by the labels that not all of the server's own series share: `name{label=value}`."""
    shared = {"model": "tiny", "version": "v9.8.7", "provider": "cpu"}
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(exposition.decode()):
        for sample in family.samples:
            own = {name: text for name, text in sample.labels.items() if name != "digest" and name not in shared}
            if sample.name.startswith("inference_"):
                assert shared.items() <= sample.labels.items()
                assert len(sample.labels["digest"]) == 12
            found[sample.name + ",".join(f"{{{name}={text}}}" for name, text in own.items())] = sample.value  # type: ignore[assignment]
    return found


def test_boxes_come_back_in_the_pixels_of_the_picture(server: ServerProcess) -> None:
    # 64 x 32 is scaled by 0.5 to 32 x 16 and padded by 8 above and below with grey 114. Mean red of the input:
    # (0.5 * 255 + 0.5 * 114) / 255 = 0.7235, mean green 0.2235 < 0.25. Box 4,4,20,20 becomes 8,-8 -> 0 ,40,24.
    answer = server.predict(picture(RED, (64, 32)), content_type="image/png")
    assert answer.status == 200
    assert answer.json() == {
        "model": "tiny",
        "version": "v9.8.7",
        "width": 64,
        "height": 32,
        "detections": [
            {
                "class_id": 0,
                "class_name": "red",
                "score": pytest.approx(0.7235, abs=2e-4),
                "box": [8.0, 0.0, 40.0, 24.0],
            }
        ],
    }


def test_options_reach_the_detector(server: ServerProcess) -> None:
    both = server.predict(picture(RED), "/predict?iou=0.9").json()["detections"]
    one = server.predict(picture(RED), "/predict?iou=0.9&max_det=1").json()["detections"]
    none = server.predict(picture((128, 0, 0)), "/predict?conf=0.51").json()["detections"]
    # Anchors 0 and 1 overlap by 0.875: the default 0.7 keeps one of them, 0.9 both.
    assert [detection["score"] for detection in both] == pytest.approx([1.0, 0.9], abs=1e-3)  # type: ignore[attr-defined]
    assert len(one) == 1  # type: ignore[arg-type]
    assert none == []


def test_every_answer_says_who_gave_it(server: ServerProcess) -> None:
    answers = [
        server.predict(picture(GREEN)),
        server.predict(b"no picture"),
        server.predict(picture(GREEN), "/predict?conf=7"),
        server.get("/ready"),
        server.get("/nowhere"),
        server.get("/metrics"),
    ]
    assert [answer.status for answer in answers] == [200, 400, 422, 200, 404, 200]
    assert {answer.headers["x-model-version"] for answer in answers} == {"v9.8.7"}
    assert {answer.headers["x-model-name"] for answer in answers} == {"tiny"}
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_request_id_of_the_sender_is_kept_when_it_is_one(server: ServerProcess) -> None:
    kept = server.request("GET", "/health", headers={"x-request-id": "abc-1"})
    replaced = server.request("GET", "/health", headers={"x-request-id": "x" * 200})
    assert kept.headers["x-request-id"] == "abc-1"
    assert re.fullmatch("[0-9a-f]{16}", replaced.headers["x-request-id"])


JPEG = picture(RED, (64, 64), "JPEG")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "phrase"),
    [
        (b"", "image/jpeg", 400, "empty"),
        (b"\xff\xd8\xff\xe0 nothing more", "image/jpeg", 400, "not a readable JPEG or PNG"),
        (JPEG[:200], "image/jpeg", 400, "not a readable JPEG or PNG"),
        (picture(RED, (2000, 1000)), "image/png", 413, "2000 x 1000 pixels; at most 1000000"),
        (b"\0" * 200_001, "image/jpeg", 413, "200001 bytes; at most 200000"),
        (JPEG, "text/plain", 415, "text/plain"),
        (JPEG, "application/x-www-form-urlencoded", 415, "send the bytes of a picture"),
    ],
)
def test_bad_input_gets_a_sentence(
    server: ServerProcess, body: bytes, content_type: str, status: int, phrase: str
) -> None:
    answer = server.predict(body, content_type=content_type)
    assert (answer.status, phrase in answer.error) == (status, True), answer
    assert server.predict(picture(RED)).status == 200


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png; q=1", "application/octet-stream", None])
def test_content_types_that_are_served(server: ServerProcess, content_type: str | None) -> None:
    assert server.predict(JPEG, content_type=content_type).status == 200


def test_endless_body_without_a_declared_length_is_refused(server: ServerProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        chunks = (b"\0" * 10_000 for _ in range(100))
        connection.request("POST", "/predict", chunks, {"content-type": "image/jpeg"}, encode_chunked=True)
        response = connection.getresponse()
        assert response.status == 413
        assert "more than 200000 bytes" in json.loads(response.read())["error"]
    finally:
        connection.close()


def test_wrong_method_and_broken_http(server: ServerProcess) -> None:
    assert server.get("/predict").status == 405
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"this is not HTTP\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert server.get("/health").status == 200


def test_metrics_count_what_happened(server: ServerProcess) -> None:
    before = series(server.get("/metrics").body)
    server.predict(picture(RED))
    server.predict(picture(GREEN))
    server.predict(picture((0, 0, 255)))
    server.predict(b"no picture")
    server.get("/health")
    after = series(server.get("/metrics").body)
    expected = {
        "inference_requests_total{code=200}": 3,
        "inference_requests_total{code=400}": 1,
        "inference_requests_total{code=500}": 0,
        "inference_request_duration_seconds_count{code=200}": 3,
        "inference_request_duration_seconds_count{code=400}": 1,
        "inference_stage_duration_seconds_count{stage=inference}": 3,
        "inference_detections_total{class=red}": 1,
        "inference_detections_total{class=green}": 1,
        "inference_empty_images_total": 1,
        "inference_batch_size_bucket{le=1.0}": 3,
        "inference_confidence_bucket{le=+Inf}": 2,
    }
    assert {name: after[name] - before[name] for name in expected} == expected
    assert (after["inference_ready"], after["inference_model_info"]) == (1, 1)
    assert after["process_resident_memory_bytes"] > 0


def test_scores_below_the_default_threshold_are_told_apart(server: ServerProcess) -> None:
    before = series(server.get("/metrics").body)
    server.predict(picture((20, 0, 0)), "/predict?conf=0.01")
    after = series(server.get("/metrics").body)
    found = {
        bound: after[name] - before[name]
        for bound in ("0.05", "0.1")
        if (name := f"inference_confidence_bucket{{le={bound}}}")
    }
    assert found == {"0.05": 0, "0.1": 1}


def test_prepared_inputs_are_in_the_stages(server: ServerProcess) -> None:
    tensor = {"name": "images", "datatype": "FP32", "shape": [2, 3, 32, 32], "data": [0.5] * (2 * 3 * 32 * 32)}
    names = [f"inference_stage_duration_seconds_count{{stage={stage}}}" for stage in ("queue", "inference", "decode")]
    before = series(server.get("/metrics").body)
    assert server.predict(json.dumps({"inputs": [tensor]}).encode(), "/v2/models/tiny/infer").status == 200
    after = series(server.get("/metrics").body)
    assert [after[name] - before[name] for name in names] == [2, 2, 0]


def test_an_option_that_is_none_is_refused(server: ServerProcess) -> None:
    answer = server.predict(picture(RED), "/predict?confidence=0.9")
    assert (answer.status, "confidence" in answer.error) == (422, True)


def test_a_refusal_leaves_a_line_and_many_leave_few(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    assert server.predict(picture(RED)).status == 200
    started = time.monotonic()
    refused = [server.predict(b"no picture") for _ in range(60)]
    seconds = time.monotonic() - started
    lines = [json.loads(line) for line in server.log.splitlines() if '"prediction"' in line]
    assert {line["status"] for line in lines} == {400}
    assert lines[0]["request_id"] == refused[0].headers["x-request-id"]
    assert len(lines) <= 10 * (seconds + 2)


def test_codes_that_matter_are_counted_from_zero(start_server: Callable[..., ServerProcess]) -> None:
    """A series that first appears with 1 hides its first event from `rate`."""
    found = series(start_server(MODEL_NAME="tiny", MODEL_VERSION="v9.8.7").get("/metrics").body)
    assert {name: count for name, count in found.items() if name.startswith("inference_requests_total")} == {
        f"inference_requests_total{{code={code}}}": 0 for code in (200, 429, 500, 503)
    }


def test_openapi_describes_the_picture_and_the_answer(server: ServerProcess) -> None:
    description = json.loads(server.get("/openapi.json").body)
    operation = description["paths"]["/predict"]["post"]
    assert set(operation["requestBody"]["content"]) == {"image/jpeg", "image/png", "multipart/form-data"}
    assert {parameter["name"] for parameter in operation["parameters"]} == {"conf", "iou", "max_det", "render"}
    assert {"200", "400", "413", "415", "422", "429", "503"} <= set(operation["responses"])
    fields = description["components"]["schemas"]["DetectionBody"]["properties"]
    assert all(field["examples"] for field in fields.values())
