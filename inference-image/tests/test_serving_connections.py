"""Connections that bring no request, too much of one, or too slowly."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from PIL import Image
from serving_process import ServerProcess


@pytest.fixture(scope="module")
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server(MODEL_NAME="tiny", MODEL_VERSION="v1", HEAD_TIMEOUT_SECONDS="1", MAX_CONNECTIONS="8")


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as opened:
        yield opened


def answer_on(connection: socket.socket) -> tuple[int, bytes, dict[str, object]]:
    """Status, head and body of an answer after which the connection ends."""
    whole = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = whole.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, json.loads(body)


def is_served(connection: socket.socket) -> bool:
    """One request on a connection that is kept."""
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b'"ok"}'):
        answer += connection.recv(4096)
    return answer.startswith(b"HTTP/1.1 200 ")


def send_until_cut(connection: socket.socket, piece: bytes, times: int) -> int:
    """How often it was sent before the other side had enough."""
    for sent in range(times):
        try:
            connection.sendall(piece)
        except OSError:
            return sent
    return times


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"x-a: " + b"a" * 60_000 + b"\r\n"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nx-a: ", b"a" * 60_000),
        (b"GET /", b"a" * 60_000),
        (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"x-a: " + b"a" * 60_000 + b"\r\n"),
    ],
    ids=["headers", "one header", "address", "trailers"],
)
def test_a_head_is_bounded(connection: socket.socket, begin: bytes, piece: bytes) -> None:
    connection.sendall(begin)
    assert send_until_cut(connection, piece, 500) < 500


def test_too_long_a_head_is_told(connection: socket.socket, server: ServerProcess) -> None:
    connection.sendall(b"GET /" + b"a" * 70_000)
    status, head, body = answer_on(connection)
    assert (status, body["version"], "more than 65536 bytes" in str(body["error"])) == (431, "v1", True)
    assert b"x-request-id: " in head
    assert server.get("/health").status == 200


@pytest.mark.parametrize("begin", [b"", b"GET /health HTTP/1.1\r\nHost:", b"\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(connection: socket.socket, begin: bytes) -> None:
    started = time.monotonic()
    connection.sendall(begin)
    assert answer_on(connection)[0] == 408
    assert 0.9 < time.monotonic() - started < 5


def test_the_second_request_has_the_time_of_the_first(connection: socket.socket) -> None:
    for _ in range(2):
        time.sleep(0.7)
        assert is_served(connection)
    # Between requests the time of the keep-alive counts.
    time.sleep(1.5)
    assert is_served(connection)
    connection.sendall(b"GET /health HTT")
    assert answer_on(connection)[0] == 408


def test_what_is_no_http_is_answered_as_anything_else(connection: socket.socket) -> None:
    connection.sendall(b"this is not HTTP\r\n\r\n")
    status, head, body = answer_on(connection)
    assert (status, body) == (400, {"model": "tiny", "version": "v1", "error": "Invalid HTTP request received."})
    assert b"x-request-id: " in head


def test_one_connection_too_many_closes_the_one_that_is_idle_the_longest(server: ServerProcess) -> None:
    kept = []
    for _ in range(8):
        kept.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        assert is_served(kept[-1])
    try:
        assert server.get("/health").status == 200
        assert kept[0].recv(10) == b""
        assert is_served(kept[-1])
    finally:
        for connection in kept:
            connection.close()


def test_an_upgrade_that_is_not_served_is_a_request_without_advice_in_the_log(server: ServerProcess) -> None:
    headers = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-key": "x", "sec-websocket-version": "13"}
    assert server.request("GET", "/health", headers=headers).status == 200
    assert "pip install" not in server.log


def test_a_client_that_does_not_take_its_answer_loses_its_connection(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server(SEND_TIMEOUT_SECONDS="1", DEADLINE_MILLISECONDS="10000")
    noise = BytesIO()
    Image.frombytes("RGB", (1280, 1280), os.urandom(3 * 1280**2)).save(noise, "JPEG", quality=60)
    body = noise.getvalue()
    head = f"POST /predict?render=png HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(10)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(head.encode() + body)
        assert slow.recv(15).startswith(b"HTTP/1.1 200")
        time.sleep(2)
        taken = len(b"".join(iter(lambda: slow.recv(1 << 20), b"")))
    whole = server.predict(body, "/predict?render=png")
    assert whole.status == 200
    # What the kernel had already comes, and the end of the connection long before the end of the picture.
    assert taken < 0.9 * len(whole.body)
