"""uvicorn's HTTP/1.1 connections, bounded: how many, how long a head may be, how long it and an answer may take.

uvicorn leaves that to a proxy in front. A pod is reached without one as well.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Request line, header fields, and what else comes without being body.
_MOST_HEAD_BYTES: Final = 64 << 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections, and the seconds within which a request's head must be here and an answer be taken."""

    connections: int
    head_seconds: float
    send_seconds: float


# Headers and body of the answer to what is no request: a status and a sentence come in.
Refusal = Callable[[int, str], tuple[list[tuple[bytes, bytes]], bytes]]


class BoundedConfig(uvicorn.Config):
    """What a `BoundedConnection` has to know besides."""

    def __init__(self, *, limits: ConnectionLimits, refusal: Refusal, **options: Any) -> None:
        super().__init__(http=BoundedConnection, **options)
        self.limits = limits
        self.refusal = refusal


class BoundedConnection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, config: BoundedConfig, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self._limits = config.limits
        self._refusal = config.refusal
        self._useful = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._last_heard = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Makes room by closing the connection that is idle the longest: this one, where all others are busy."""
        super().connection_made(transport)
        self._last_heard = time.monotonic()
        self._await_head()
        if len(self.connections) > self._limits.connections:
            idle = [other for other in self.connections if isinstance(other, BoundedConnection) and not other.busy]
            min(idle, key=lambda other: other._last_heard).close()

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def close(self) -> None:
        """Ends the connection now."""
        self.connections.discard(self)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer outlives the connection."""
        self._head_is_here()
        self._answer_is_taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes an answer more slowly than it is given: it waits here, in memory that nobody counts."""
        self._send_timer = self.loop.call_later(self._limits.send_seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client took nearly all."""
        self._answer_is_taken()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Ends the connection when too much came that leads to no request and no body."""
        self._useful = False
        self._last_heard = time.monotonic()
        super().data_received(data)
        if self._useful or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MOST_HEAD_BYTES:
            self._refuse(431, f"The head of the request has more than {_MOST_HEAD_BYTES} bytes.")
        elif self._head_timer is None and not self.busy:
            self._await_head()

    def on_headers_complete(self) -> None:
        """A request begins."""
        self._useful = True
        self._head_bytes = 0
        self._head_is_here()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A request's body goes on."""
        self._useful = True
        self._head_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an answer like any other."""
        self._refuse(400, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever asks for a WebSocket gets HTTP, as RFC 9110 (7.8) allows; there is nothing to install."""

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.head_seconds, self._head_is_late)

    def _head_is_here(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _answer_is_taken(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and not self.busy:
            self._refuse(408, f"No request arrived within {self._limits.head_seconds:g} s.")

    def _refuse(self, status: int, sentence: str) -> None:
        """The answer, unless another is on its way, and the end of the connection."""
        if not self.busy:
            headers, body = self._refusal(status, sentence)
            fields = [*headers, (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
            self.transport.write(head + b"".join(b"%s: %s\r\n" % field for field in fields) + b"\r\n" + body)
        self.transport.close()
