"""The outermost layer: identity and request id on every answer, faults, metrics, the log of what went wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from yolo_serving.instance import Instance
from yolo_serving.readiness import Phase

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

CLIENT_LEFT: Final = 499
_PREDICTION_PATHS: Final = re.compile(r"/predict(/batch)?|/v2/models/[^/]+(/versions/[^/]+)?/infer")
_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
# Request ids are this and a number: unlike random bytes for each they cost no system call.
_PROCESS_ID: Final = os.urandom(4).hex().encode("ascii")
_FAILURES_LOGGED_PER_SECOND: Final = 10
_request_numbers = itertools.count(1)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Exchange:
    """One request and its answer so far."""

    path: str
    request_id: bytes
    started_at: float
    is_prediction: bool
    status: int = CLIENT_LEFT


class _Allowance:
    """Lines of log in a second: under overload each refusal would cost more to write down than to make."""

    def __init__(self) -> None:
        self._second = 0
        self._left = 0

    def may_log(self) -> bool:
        if (second := int(time.monotonic())) != self._second:
            self._second, self._left = second, _FAILURES_LOGGED_PER_SECOND
        self._left -= 1
        return self._left >= 0


class Front:
    """Wraps an ASGI application."""

    def __init__(self, app: Asgi, instance: Instance, *, access_log: bool) -> None:
        self._app = app
        self._identity = instance.identity
        self._metrics = instance.metrics
        self._faults = instance.faults
        self._readiness = instance.readiness
        self._access_log = access_log
        self._failures = _Allowance()
        self._headers = [
            (b"x-model-name", _header(self._identity.model)),
            (b"x-model-version", _header(self._identity.version)),
        ]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serves one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        is_prediction = path == "/predict" or _PREDICTION_PATHS.fullmatch(path) is not None
        exchange = _Exchange(path, _request_id(scope["headers"]), time.monotonic(), is_prediction)

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", []), *self._marks(exchange)]
            await send(message)

        try:
            await self._serve(exchange, scope, receive, send_marked)
        finally:
            self._record(exchange)

    async def _serve(self, exchange: _Exchange, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            if exchange.is_prediction and await self._fault():
                await self._answer_fault(send)
                return
            await self._app(scope, receive, send)
        except ClientLeft:
            exchange.status = CLIENT_LEFT
        except Exception:
            # The supervisor of one request: its failure is its own. The application has answered already; where it
            # has not come to the end of its answer, uvicorn closes the connection.
            log.exception("request failed", extra={"request_id": exchange.request_id.decode("ascii")})

    async def _fault(self) -> bool:
        """Applies the image's faults; true when this prediction must fail."""
        self._faults.begin_prediction()
        if (delay := self._faults.extra_delay_seconds()) > 0:
            await asyncio.sleep(delay)
        return self._faults.fails()

    async def _answer_fault(self, send: Send) -> None:
        body = self._error("This version of the model is built to fail.")
        fields = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 500, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def refusal(self, status: int, sentence: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Headers and body of the answer to what is no request; it leaves a line in the log."""
        request_id = _request_id([])
        if self._failures.may_log():
            log.warning("%s", sentence, extra={"request_id": request_id.decode("ascii"), "status": status})
        headers = [(b"content-type", b"application/json"), *self._headers, (b"x-request-id", request_id)]
        return headers, self._error(sentence)

    def _error(self, sentence: str) -> bytes:
        named = {"model": self._identity.model, "version": self._identity.version, "error": sentence}
        return json.dumps(named, separators=(",", ":")).encode()

    def _marks(self, exchange: _Exchange) -> list[tuple[bytes, bytes]]:
        marks = [*self._headers, (b"x-request-id", exchange.request_id)]
        if self._readiness.phase is Phase.DRAINING:
            # A kept-alive connection would go on bringing requests to a process that is about to end.
            marks.append((b"connection", b"close"))
        return marks

    def _record(self, exchange: _Exchange) -> None:
        if not exchange.is_prediction:
            return
        seconds = time.monotonic() - exchange.started_at
        self._metrics.request(exchange.status, seconds)
        failed = exchange.status >= 400
        if self._access_log or (failed and self._failures.may_log()):
            extra = {
                "request_id": exchange.request_id.decode("ascii"),
                "path": exchange.path,
                "status": exchange.status,
                "seconds": round(seconds, 6),
            }
            log.log(logging.WARNING if failed else logging.INFO, "prediction", extra=extra)


class ClientLeft(Exception):
    """The client closed its connection before it had an answer; nobody is left to answer."""


def _header(text: str) -> bytes:
    """A header value: visible ASCII only."""
    return re.sub(r"[^\x21-\x7e]", "_", text).encode("ascii")


def _request_id(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The sender's `x-request-id` when it is one, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value
    return b"%s%08x" % (_PROCESS_ID, next(_request_numbers) & 0xFFFFFFFF)
