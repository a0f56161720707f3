"""Reads request bodies, bounded in size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from yolo_serving.errors import BadImage, TooLarge, WrongContentType
from yolo_serving.front import ClientLeft
from yolo_serving.settings import InputLimits

_PICTURE_TYPES = frozenset({"image/jpeg", "image/jpg", "image/png", "application/octet-stream", ""})


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


def require_picture_type(request: Request) -> None:
    """Raises WrongContentType unless the body is declared as a picture, as bytes, or not at all."""
    declared = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if declared not in _PICTURE_TYPES:
        raise WrongContentType(
            f"Content-Type {declared!r} is not served here; send the bytes of a picture as image/jpeg or image/png."
        )
