"""Reads request bodies, bounded in size and time, and notices when their sender leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from email.message import Message
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from yolo_serving.errors import BadImage, TooLarge, WrongContentType
from yolo_serving.front import ClientLeft
from yolo_serving.settings import InputLimits

Result = TypeVar("Result")

_PICTURE_TYPES = frozenset({"image/jpeg", "image/jpg", "image/png", "application/octet-stream", ""})
_MULTIPART = "multipart/form-data"


async def read_body(request: Request, limits: InputLimits) -> bytes:
    """The whole body.

    Raises TooLarge as soon as it is known, BadImage when it does not come in time, ClientLeft when it never will.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.max_body_bytes:
        raise TooLarge(f"The body has {declared} bytes; at most {limits.max_body_bytes} are accepted.")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_timeout_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.max_body_bytes:
                    raise TooLarge(f"The body has more than {limits.max_body_bytes} bytes.")
                chunks.append(chunk)
    except TimeoutError:
        raise BadImage(f"The body did not arrive within {limits.body_timeout_seconds:g} s.") from None
    except ClientDisconnect:
        raise ClientLeft from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the work, which is cancelled when the client closes its connection (ClientLeft).

    To be called when the whole body was read.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # a coroutine that runs
    departure = asyncio.ensure_future(_departure(request))
    over = False

    def leave(departed: asyncio.Future[None]) -> None:
        if not over and not departed.cancelled():
            task.cancel()

    departure.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        # As asyncio.timeout does: a cancellation of its own becomes an error, one from outside stays what it is.
        if departure.done() and task.uncancel() == 0:
            raise ClientLeft from None
        raise
    finally:
        over = True
        departure.cancel()


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def declared_type(request: Request) -> str:
    """The content type without its parameters, in lower case; empty when none is declared."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def pictures_in(request: Request, body: bytes) -> list[bytes]:
    """The body itself, or the files of a form.

    Raises WrongContentType unless the body is declared as a picture, as bytes, as a form, or not at all.
    """
    declared = declared_type(request)
    if declared == _MULTIPART:
        return _form_files(request.headers["content-type"], body)
    if declared not in _PICTURE_TYPES:
        raise WrongContentType(
            f"Content-Type {declared!r} is not served here; send the bytes of a picture as image/jpeg or image/png, "
            f"or files as {_MULTIPART}."
        )
    return [body]


def _form_files(content_type: str, body: bytes) -> list[bytes]:
    """The contents of a form's parts (RFC 7578), kept in memory: the body's size is bounded already."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary or not boundary.isascii():
        raise BadImage(f"The {_MULTIPART} body declares no boundary.")
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("ascii"))
    if len(parts) < 3 or not parts[-1].startswith(b"--"):
        raise BadImage(f"The {_MULTIPART} body does not end with its boundary.")
    files = []
    for part in parts[1:-1]:
        _, separator, content = part.partition(b"\r\n\r\n")
        if not separator:
            raise BadImage(f"A part of the {_MULTIPART} body has no end of its headers.")
        files.append(content)
    return files
