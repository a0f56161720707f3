"""What somebody would send to bring the server down, over HTTP, with the limits that it has by default."""

from __future__ import annotations

import http.client
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving_process import ServerProcess
from tiny_detector import SIDE

GIGABYTE = 1 << 30
MOST_GROWTH_BYTES = 300 << 20


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A whole grey PNG of any size in few bytes, made row by row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pack = zlib.compressobj(9)
    row = bytes(width + 1)
    data = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.new("RGB", (64, 32), (255, 0, 0)), "JPEG", exif=exif)


RED = encoded(Image.new("RGB", (32, 32), (255, 0, 0)), "PNG")
NOISE = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)), "JPEG")


@pytest.fixture(scope="module")
def server(start_server: Callable[..., ServerProcess]) -> Iterator[ServerProcess]:
    """Lives through everything in this module and has not grown beyond measure in the end."""
    started = start_server(MODEL_NAME="tiny", MODEL_VERSION="v1")
    before = resident_bytes(started)
    yield started
    assert started.predict(RED).status == 200
    assert started.process.poll() is None
    assert "request failed" not in started.log
    assert peak_resident_bytes(started) - before < MOST_GROWTH_BYTES


def memory(server: ServerProcess, name: str) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def resident_bytes(server: ServerProcess) -> int:
    return memory(server, "VmRSS:")


def peak_resident_bytes(server: ServerProcess) -> int:
    return memory(server, "VmHWM:")


@pytest.mark.parametrize(
    ("body", "status", "phrase"),
    [
        (b"", 400, "empty"),
        (b"GIF89a" + bytes(500), 400, "unknown format"),
        (NOISE[: len(NOISE) // 2], 400, "truncated"),
        (bomb(20_000, 10_000), 413, "20000 x 10000 pixels; at most 25000000"),
        (bytes(11 << 20), 413, "at most 10485760"),
    ],
    ids=["nothing", "no picture", "half a JPEG", "200 megapixels", "11 MB"],
)
def test_bad_pictures_are_refused_with_a_sentence(server: ServerProcess, body: bytes, status: int, phrase: str) -> None:
    answer = server.predict(body)
    assert (answer.status, phrase in answer.error) == (status, True), answer


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (encoded(Image.new("CMYK", (48, 32), (0, 255, 255, 0)), "JPEG"), (48, 32)),
        (encoded(Image.new("I;16", (48, 32), 0x8000), "PNG"), (48, 32)),
        (rotated(), (32, 64)),
        (bomb(5000, 5000), (5000, 5000)),
    ],
    ids=["CMYK", "16 bits", "EXIF rotation", "as large as accepted"],
)
def test_unusual_pictures_are_served(server: ServerProcess, body: bytes, size: tuple[int, int]) -> None:
    answer = server.predict(body)
    assert answer.status == 200, answer
    assert (answer.json()["width"], answer.json()["height"]) == size


def test_a_declared_gigabyte_is_refused_before_it_is_sent(server: ServerProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.putrequest("POST", "/predict")
        connection.putheader("content-type", "image/jpeg")
        connection.putheader("content-length", str(GIGABYTE))
        connection.endheaders()
        response = connection.getresponse()
        assert (response.status, "1073741824 bytes" in json.loads(response.read())["error"]) == (413, True)
    finally:
        connection.close()


def test_a_gigabyte_without_a_declared_length_is_refused_when_it_is_too_much(server: ServerProcess) -> None:
    """Sent until the server has enough of it; nobody holds what came before."""
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        while sent < GIGABYTE:
            sent += 1 << 20
            yield bytes(1 << 20)

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        try:
            connection.request("POST", "/predict", chunks(), {"content-type": "image/jpeg"}, encode_chunked=True)
        except (BrokenPipeError, ConnectionResetError):
            assert sent < GIGABYTE
            return
        response = connection.getresponse()
        assert (response.status, "more than 10485760 bytes" in json.loads(response.read())["error"]) == (413, True)
    finally:
        connection.close()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused_in_binary_tensors(server: ServerProcess, value: float) -> None:
    values = np.full((1, 3, SIDE, SIDE), value, "<f4")
    described = {"name": "images", "datatype": "FP32", "shape": [1, 3, SIDE, SIDE]}
    head = json.dumps({"inputs": [{**described, "parameters": {"binary_data_size": values.nbytes}}]}).encode()
    fields = {"inference-header-content-length": str(len(head))}
    answer = server.request("POST", "/v2/models/tiny/infer", head + values.tobytes(), fields)
    assert (answer.status, "not finite" in answer.error) == (400, True)


def test_a_wrong_content_type_is_named(server: ServerProcess) -> None:
    answer = server.predict(RED, content_type="application/pdf")
    assert (answer.status, "application/pdf" in answer.error) == (415, True)
