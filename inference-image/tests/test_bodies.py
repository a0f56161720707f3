from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from yolo_serving.bodies import BodyReader, pictures_in
from yolo_serving.errors import BadImage
from yolo_serving.settings import InputLimits

MIB = 1 << 20
SIZE = 8 * MIB


def request(body: bytes = b"", chunk: int = 1 << 16) -> Request:
    scope = {"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=b")]}
    position = 0

    async def receive() -> MutableMapping[str, Any]:
        nonlocal position
        position += chunk
        more = position < len(body)
        return {"type": "http.request", "body": body[position - chunk : position], "more_body": more}

    return Request(scope, receive)


def test_a_form_is_held_once() -> None:
    """The chunks it came in are gone when it is joined, and its files are views of it."""
    form = b"--b\r\nname: a\r\n\r\n" + bytes(SIZE) + b"\r\n--b--\r\n"

    async def held_bytes() -> int:
        reader = BodyReader(InputLimits(2 * SIZE, 2 * SIZE, 1, 10.0))
        tracemalloc.start()
        try:
            async with reader.read(request(form)) as body:
                files = pictures_in(request(), body, 4)
                assert [len(file) for file in files] == [SIZE]
                return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert asyncio.run(held_bytes()) < 1.2 * SIZE


@pytest.mark.parametrize("before", [b"", b"\r\n", b"a preamble\r\n"])
def test_the_files_of_a_form(before: bytes) -> None:
    form = before + b"--b\r\nx: y\r\n\r\none\r\n--b\r\n\r\ntwo\r\n\r\nlines\r\n--b--and more"
    assert [bytes(file) for file in pictures_in(request(), form, 4)] == [b"one", b"two\r\n\r\nlines"]


@pytest.mark.parametrize("form", [b"", b"--b--", b"--b\r\n\r\none\r\n--b", b"--b\r\n\r\none", b"\r\n--b\r\n\r\none"])
def test_a_form_without_its_end(form: bytes) -> None:
    with pytest.raises(BadImage, match="does not end with its boundary"):
        pictures_in(request(), form, 4)
