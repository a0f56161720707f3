"""Start, readiness, faults and end of real server processes."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from serving_process import Answer, ServerProcess
from tiny_detector import write_tiny_detector

Start = Callable[..., ServerProcess]


def _png() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (32, 32), (255, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


PNG = _png()


def eventually(happened: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if happened():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"PROVIDER": "cuda"}, "PROVIDER=cuda was asked for, but this build of ONNX Runtime offers only"),
        ({"PROVIDER": "gpu"}, "PROVIDER='gpu' is not one of cpu, cuda"),
        ({"MODEL_PATH": "/nowhere/model.onnx"}, "There is no model file at /nowhere/model.onnx"),
        ({"FAULT": "sometimes"}, "FAULT='sometimes' is not known"),
        ({"MODEL_URI": "s3://bucket/model.onnx"}, "only a path, file:///, http:// or https:// is served"),
        ({"MAX_BATCH": "many"}, "MAX_BATCH='many' is not a number"),
    ],
)
def test_a_start_that_cannot_succeed_ends_with_a_sentence(
    start_server: Start, environment: dict[str, str], sentence: str
) -> None:
    server = start_server(wait=False, **environment)
    assert server.wait_until_ended() == 1
    assert sentence in server.log
    assert "Traceback" not in server.log


def test_a_model_with_another_head_ends_with_a_sentence(start_server: Start, tmp_path: Path) -> None:
    path = write_tiny_detector(tmp_path / "model.onnx", names="{0: 'only'}")
    server = start_server(wait=False, MODEL_PATH=str(path))
    assert server.wait_until_ended() == 1
    assert "cannot start: The model's output has shape (1, 6, 3)" in server.log
    assert "Traceback" not in server.log


def test_model_uri_wins_over_the_path(start_server: Start, tiny_model: Path) -> None:
    (tiny_model.parent / "model.json").write_text('{"version": "v0.0.7"}')
    server = start_server(MODEL_URI=tiny_model.as_uri(), MODEL_PATH="/nowhere/model.onnx")
    assert server.get("/ready").headers["x-model-version"] == "v0.0.7"


def test_sigterm_ends_readiness_first_and_the_service_last(start_server: Start) -> None:
    server = start_server(DRAIN_SECONDS="1.5")
    assert server.get("/ready").status == 200
    server.terminate()
    assert eventually(lambda: server.get("/ready").status == 503, 1.0)
    late = server.predict(PNG)
    assert (late.status, late.headers["connection"]) == (200, "close")
    assert server.get("/health").status == 200
    assert server.process.poll() is None
    assert server.wait_until_ended(10) == 0


def test_requests_under_way_at_the_end_are_answered(start_server: Start) -> None:
    server = start_server(FAULT="slow:1000", DRAIN_SECONDS="0.2")
    answers: list[Answer] = []
    sender = threading.Thread(target=lambda: answers.append(server.predict(PNG)))
    sender.start()
    time.sleep(0.3)
    server.terminate()
    sender.join(20)
    assert [answer.status for answer in answers] == [200]
    assert server.wait_until_ended(10) == 0


def test_no_request_is_lost_while_a_server_ends_under_load(start_server: Start) -> None:
    """A client that stops using the server once it is not ready, as a proxy does, sees no error."""
    server = start_server(DRAIN_SECONDS="1")
    failures: list[object] = []
    served = 0
    stop = threading.Event()

    def send() -> None:
        nonlocal served
        while not stop.is_set():
            try:
                answer = server.predict(PNG)
                if answer.status == 200:
                    served += 1
                else:
                    failures.append(answer)
            except OSError as error:
                failures.append(error)

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    time.sleep(0.5)
    server.terminate()
    assert eventually(lambda: server.get("/ready").status == 503, 0.5)
    time.sleep(0.3)
    stop.set()
    for sender in senders:
        sender.join(20)
    assert failures == []
    assert served > 10
    assert server.wait_until_ended(10) == 0


def test_sigterm_during_the_start_ends_it(start_server: Start) -> None:
    server = start_server(wait=False)
    time.sleep(0.15)
    server.terminate()
    assert server.wait_until_ended(10) in {0, -signal.SIGTERM}


def test_sigint_ends_at_once(start_server: Start) -> None:
    server = start_server(DRAIN_SECONDS="60")
    server.process.send_signal(signal.SIGINT)
    server.wait_until_ended(5)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)


def test_fault_errors(start_server: Start) -> None:
    server = start_server(FAULT="errors", MODEL_VERSION="v1.2.0-errors")
    answers = [server.predict(PNG) for _ in range(5)]
    assert [answer.status for answer in answers] == [500] * 5
    assert answers[0].headers["x-model-version"] == "v1.2.0-errors"
    assert answers[0].json()["version"] == "v1.2.0-errors"
    assert server.get("/ready").status == 200
    assert re.search(rb'inference_requests_total\{code="500",[^}]*\} 5.0\n', server.get("/metrics").body)


def test_fault_slow(start_server: Start) -> None:
    server = start_server(FAULT="slow:300")
    started = time.monotonic()
    assert server.predict(PNG).status == 200
    assert time.monotonic() - started >= 0.3


def test_fault_crash(start_server: Start) -> None:
    server = start_server(FAULT="crash:1")
    assert server.get("/ready").status == 200
    assert server.wait_until_ended(10) == 70


def test_fault_crash_after_requests(start_server: Start) -> None:
    server = start_server(FAULT="crash-after:3")
    assert [server.predict(PNG).status for _ in range(2)] == [200, 200]
    with pytest.raises(OSError, match=r"closed|reset"):
        server.predict(PNG)
    assert server.wait_until_ended(5) == 70


def test_fault_never_ready(start_server: Start) -> None:
    server = start_server(FAULT="never-ready")
    ready = server.get("/ready")
    assert (ready.status, ready.json()["status"]) == (503, "starting")
    assert server.get("/health").status == 200


@pytest.fixture
def fault_file(tmp_path: Path) -> Path:
    return tmp_path / "errors"


def test_fault_follows_a_file(start_server: Start, fault_file: Path) -> None:
    server = start_server(FAULT=f"errors-when-file:{fault_file}")
    assert server.predict(PNG).status == 200
    fault_file.touch()
    assert eventually(lambda: server.predict(PNG).status == 500)
    fault_file.unlink()
    assert eventually(lambda: server.predict(PNG).status == 200)


def test_queue_that_is_full_refuses_at_once(start_server: Start) -> None:
    server = start_server(QUEUE_SIZE="1", MAX_DELAY_MILLISECONDS="3000", MAX_BATCH="8", DEADLINE_MILLISECONDS="9000")
    answers: list[Answer] = []
    first = threading.Thread(target=lambda: answers.append(server.predict(PNG)))
    first.start()
    waits = re.compile(rb"inference_queue_depth\{[^}]*\} 1.0\n")
    assert eventually(lambda: waits.search(server.get("/metrics").body) is not None)
    refused = server.predict(PNG)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert answers == [], "it was told while the first one still waited"
    first.join(20)
    assert [answer.status for answer in answers] == [200]
