"""Reads request bodies, bounded in size and time, and notices when their sender leaves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from email.message import Message
from itertools import pairwise
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from yolo_serving.errors import BadImage, Overloaded, TooLarge, TooSlow, WrongContentType
from yolo_serving.front import ClientLeft
from yolo_serving.pictures import Encoded
from yolo_serving.settings import InputLimits

Result = TypeVar("Result")

_PICTURE_TYPES = frozenset({"image/jpeg", "image/jpg", "image/png", "application/octet-stream", ""})
_MULTIPART = "multipart/form-data"
# RFC 2046, 5.1.1.
_LONGEST_BOUNDARY = 70
_BLANK_LINE = b"\r\n\r\n"
_OPTION_FIELD = re.compile(rb'\bname="?(conf|iou|max_det|render)"?(?:;|\s|$)', re.IGNORECASE)


class BodyReader:
    """Reads bodies, and bounds how much of them the server holds at once."""

    def __init__(self, limits: InputLimits) -> None:
        self._limits = limits
        self._held_bytes = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, which counts as held until the end of the context.

        Raises TooLarge as soon as it is known, TooSlow when it does not come in time, Overloaded when there is no room
        for it beside the bodies of others, ClientLeft when it will never come.
        """
        most = self._limits.max_body_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            raise TooLarge(f"The body has {declared} bytes; at most {most} are accepted.")
        chunks: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(self._limits.body_timeout_seconds):
                    async for chunk in request.stream():
                        size += len(chunk)
                        self._held_bytes += len(chunk)
                        self._require_room(size)
                        chunks.append(chunk)
            except TimeoutError:
                raise TooSlow(f"The body did not arrive within {self._limits.body_timeout_seconds:g} s.") from None
            except ClientDisconnect:
                raise ClientLeft from None
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            yield body
        finally:
            self._held_bytes -= size

    def _require_room(self, size: int) -> None:
        if size > self._limits.max_body_bytes:
            raise TooLarge(f"The body has more than {self._limits.max_body_bytes} bytes.")
        if self._held_bytes > self._limits.max_held_bytes:
            raise Overloaded(
                f"The server holds {self._held_bytes} bytes of requests and takes at most "
                f"{self._limits.max_held_bytes}; try again later."
            )


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


def pictures_in(request: Request, body: bytes, most: int) -> Sequence[Encoded]:
    """The body itself, or up to `most` files of a form, which are views of it.

    Raises TooLarge for more files, BadImage for a broken form, and WrongContentType unless the body is declared as a
    picture, as bytes, as a form, or not at all.
    """
    declared = declared_type(request)
    if declared == _MULTIPART:
        return _form_files(request.headers["content-type"], body, most)
    if declared not in _PICTURE_TYPES:
        raise WrongContentType(
            f"Content-Type {declared!r} is not served here; send the bytes of a picture as image/jpeg or image/png, "
            f"or files as {_MULTIPART}."
        )
    return [body]


def _form_files(content_type: str, body: bytes, most: int) -> list[memoryview]:
    """The contents of a form's parts (RFC 7578), kept in memory: the body's size is bounded already."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if not boundary or not boundary.isascii() or len(boundary) > _LONGEST_BOUNDARY:
        raise BadImage(f"The {_MULTIPART} body declares no boundary of 1 to {_LONGEST_BOUNDARY} characters.")
    delimiter = b"\r\n--" + boundary.encode("ascii")
    # Counted before they are cut out: a million empty parts take no time to send.
    if (count := body.count(delimiter)) > most:
        raise TooLarge(f"The form has {count} files; at most {most} are accepted.")
    # The first line break may be missing, where the form begins with its boundary.
    positions = [-2] if body.startswith(delimiter[2:]) else []
    position = body.find(delimiter)
    while position >= 0:
        positions.append(position)
        position = body.find(delimiter, position + len(delimiter))
    if len(positions) < 2 or not body.startswith(b"--", positions[-1] + len(delimiter)):
        raise BadImage(f"The {_MULTIPART} body does not end with its boundary.")
    return [_file_in(body, position + len(delimiter), end) for position, end in pairwise(positions)]


def _file_in(body: bytes, start: int, end: int) -> memoryview:
    """What follows the header fields of the part between these positions."""
    blank = body.find(_BLANK_LINE, start, end)
    if blank < 0:
        raise BadImage(f"A part of the {_MULTIPART} body has no end of its headers.")
    if option := _OPTION_FIELD.search(body, start, blank):
        name = option[1].decode("ascii")
        raise BadImage(f"The form has the field {name!r} beside its files; give options in the query: ?{name}=….")
    return memoryview(body)[blank + len(_BLANK_LINE) : end]
