"""What would take all of the server's time or memory with little effort, over HTTP."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from serving_process import Answer, ServerProcess
from test_serving_hostile import bomb, encoded, peak_resident_bytes, resident_bytes

from yolo_serving.predictor import gather

Start = Callable[..., ServerProcess]
RED = encoded(Image.new("RGB", (32, 32), (255, 0, 0)), "PNG")
LARGEST = bomb(5000, 5000)


@pytest.fixture(scope="module")
def server(start_server: Start) -> ServerProcess:
    return start_server(MODEL_NAME="tiny", MODEL_VERSION="v1", DEADLINE_MILLISECONDS="10000", BODY_TIMEOUT_SECONDS="4")


def form(*files: bytes, fields: bytes = b'name="files"; filename="a.png"') -> bytes:
    parts = [b"--b\r\ncontent-disposition: form-data; " + fields + b"\r\n\r\n" + file + b"\r\n" for file in files]
    return b"".join(parts) + b"--b--\r\n"


def batch(server: ServerProcess, *files: bytes) -> Answer:
    return server.predict(form(*files), "/predict/batch", "multipart/form-data; boundary=b")


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    whole = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True, quality=50)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * scans + whole[-2:]


def test_a_jpeg_that_goes_over_itself_again_and_again_is_refused_at_once(server: ServerProcess) -> None:
    hostile = many_scans(2000, 1500)
    started = time.monotonic()
    answer = server.predict(hostile)
    assert (answer.status, "scans; at most 100" in answer.error) == (413, True)
    assert time.monotonic() - started < 2
    assert server.predict(encoded(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)).status == 200


def test_the_deadline_holds_while_a_picture_is_decoded(start_server: Start) -> None:
    server = start_server(DEADLINE_MILLISECONDS="20")
    answer = server.predict(LARGEST)
    assert (answer.status, answer.error) == (503, "There was no answer within 20 ms.")


def test_a_batch_of_the_largest_pictures_takes_no_memory_for_all_of_them(start_server: Start) -> None:
    server = start_server(SCENARIO="batch", MODEL_NAME="tiny", MODEL_VERSION="v1", DECODE_THREADS="1")
    before = resident_bytes(server)
    assert batch(server, *[LARGEST] * 4).status == 200
    refused = batch(server, *[LARGEST] * 64)
    assert (refused.status, "1600000000 pixels together; at most 100000000" in refused.error) == (413, True)
    assert peak_resident_bytes(server) - before < 220 << 20


async def test_what_fails_keeps_nothing_until_the_garbage_collector_comes() -> None:
    class Picture:
        pass

    async def fail(_picture: Picture) -> None:
        raise ValueError("no picture")

    async def seen() -> weakref.ref[Picture]:
        picture = Picture()
        with suppress(ValueError):
            await gather([fail(picture)])
        return weakref.ref(picture)

    gc.disable()
    try:
        left = await seen()
        await asyncio.sleep(0)
        assert left() is None
    finally:
        gc.enable()


def test_a_drawn_picture_has_a_bounded_size(server: ServerProcess) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 200, 3), dtype=np.uint8)
    answer = server.predict(encoded(Image.fromarray(noise).resize((3000, 4500)), "JPEG"), "/predict?render=png")
    with Image.open(BytesIO(answer.body)) as drawn:
        assert drawn.size == (853, 1280)


def test_bodies_that_come_slowly_keep_nobody_out(server: ServerProcess) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000000\r\n\r\nx"
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(40)]
    try:
        for connection in slow:
            connection.sendall(head)
        time.sleep(0.3)
        assert server.predict(RED).status == 200
        assert slow[0].recv(100).startswith(b"HTTP/1.1 408 ")
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/v2/models/tiny/infer"])
def test_the_deadline_begins_when_the_body_is_here(start_server: Start, path: str) -> None:
    server = start_server(MODEL_NAME="tiny", MODEL_VERSION="v1", DEADLINE_MILLISECONDS="400")
    body = form(RED)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
        time.sleep(1)
        slow.sendall(body[-1:])
        # The open protocol takes no form: that is told, and not that the answer would be late.
        expected = b"HTTP/1.1 400 " if path.startswith("/v2") else b"HTTP/1.1 200 "
        assert slow.recv(100)[: len(expected)] == expected


def test_bodies_are_bounded_together(start_server: Start) -> None:
    server = start_server(MAX_BODY_BYTES="100000", MAX_HELD_BYTES="150000")
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(head + bytes(99_999))
        time.sleep(0.3)
        refused = server.predict(bytes(90_000))
        assert (refused.status, "takes at most 150000" in refused.error) == (429, True)
        assert server.predict(RED).status == 200
    assert server.predict(bytes(90_000)).status == 400


def longest_wait(server: ServerProcess, work: Callable[[], object]) -> float:
    """Seconds that /health needed at most while the work was done in another thread."""
    worker = threading.Thread(target=work)
    worker.start()
    longest = 0.0
    while worker.is_alive():
        started = time.monotonic()
        assert server.get("/health").status == 200
        longest = max(longest, time.monotonic() - started)
        time.sleep(0.005)
    return longest


V2 = "/v2/models/tiny/infer"


@pytest.mark.parametrize(
    ("path", "content_type", "body", "phrase"),
    [
        (V2, "application/json", b"[" + b"[]," * 3_300_000 + b"[]]", "more than"),
        (V2, "application/json", b"[" + b'{"a":1},' * 1_000_000 + b"1]", "more than"),
        (V2, "application/json", b"[" + b'"",' * 3_000_000 + b"1]", "more than"),
        (V2, "application/json", b"[" + b"1," * 5_000_000 + b"1]", "more than"),
        ("/predict", "multipart/form-data; boundary=b", b"--b\r\n\r\n" + b"\r\n--b\r\n\r\n" * 1_000_000, "at most 32"),
    ],
    ids=["lists", "objects", "strings", "numbers", "parts of a form"],
)
def test_millions_of_little_things_hold_up_nobody(
    server: ServerProcess, path: str, content_type: str, body: bytes, phrase: str
) -> None:
    answers: list[Answer] = []
    longest = longest_wait(server, lambda: answers.append(server.predict(body, path, content_type)))
    # The time that a probe waits by default.
    assert longest < 1
    assert answers[0].status in {400, 413}
    assert phrase in answers[0].error


def test_an_option_in_a_form_is_told_where_it_belongs(server: ServerProcess) -> None:
    body = form(RED)[:-7] + form(b"0.9", fields=b'name="conf"')
    answer = server.predict(body, "/predict", "multipart/form-data; boundary=b")
    assert (answer.status, "give options in the query: ?conf=" in answer.error) == (400, True)
