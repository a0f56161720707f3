"""A load generator light enough to share two cores with the server: raw sockets, requests made beforehand, one thread.

Many threads would wait for one another's turn in the interpreter, and that would look like a slow server.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

_TIMEOUT_SECONDS = 30.0


@dataclass(slots=True)
class Outcome:
    """What the client saw: status codes (0: no answer), and seconds from when each request was due.

    `answered_seconds_by_code` counts from when a request was sent: what the server is to blame for where the client
    itself is late, by `latest_seconds` at the most.
    """

    codes: Counter[int] = field(default_factory=Counter)
    seconds_by_code: dict[int, list[float]] = field(default_factory=dict)
    answered_seconds_by_code: dict[int, list[float]] = field(default_factory=dict)
    latest_seconds: float = 0.0
    elapsed_seconds: float = 0.0

    def add(self, code: int, seconds: float, late_seconds: float = 0.0) -> None:
        """One answer, and how long after it was due its request was sent."""
        self.codes[code] += 1
        self.seconds_by_code.setdefault(code, []).append(seconds)
        self.answered_seconds_by_code.setdefault(code, []).append(seconds - late_seconds)
        self.latest_seconds = max(self.latest_seconds, late_seconds)

    def rate(self, code: int = 200) -> float:
        """Answers with that code per second."""
        return self.codes[code] / self.elapsed_seconds


def quantile(values: Sequence[float], share: float) -> float:
    """From the values themselves; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def prepared(pictures: Sequence[bytes], path: str = "/predict") -> list[bytes]:
    """The bytes of one request per picture."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: image/jpeg\r\nContent-Length: "
    return [f"{head}{len(picture)}\r\n\r\n".encode() + picture for picture in pictures]


def closed_loop(port: int, requests: Sequence[bytes], connections: int, count: int) -> Outcome:
    """Each connection sends its next request when it has the answer to the last one."""
    return _run(port, requests, connections, count, rate=None)


def open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float, connections: int = 64) -> Outcome:
    """Requests are due at a fixed rate, however long answers take; waiting for a free connection counts as latency."""
    return _run(port, requests, connections, int(rate * seconds), rate=rate)


def _run(port: int, requests: Sequence[bytes], connections: int, count: int, rate: float | None) -> Outcome:
    outcome = Outcome()
    free = [_Connection(port) for _ in range(connections)]
    waiting = selectors.DefaultSelector()
    started = time.monotonic()
    sent = answered = 0
    while answered < count:
        now = time.monotonic()
        while sent < count and free and (due := now if rate is None else started + sent / rate) <= now:
            connection = free.pop()
            if (opened := connection.send(requests[sent % len(requests)], due)) is not None:
                waiting.register(opened, selectors.EVENT_READ, connection)
            else:
                free.append(connection)
                answered += 1
                connection.settle(0, outcome)
            sent += 1
            now = time.monotonic()
        if answered == count:
            break
        pause = _TIMEOUT_SECONDS
        if free and sent < count and rate is not None:
            pause = min(pause, max(0.0, started + sent / rate - now))
        events = waiting.select(pause)
        if not events and pause == _TIMEOUT_SECONDS:
            raise TimeoutError(f"{sent - answered} requests had no answer for {pause:g} s")
        for key, _ in events:
            answering: _Connection = key.data
            code = answering.receive()
            if code is not None:
                waiting.unregister(key.fileobj)
                free.append(answering)
                answered += 1
                answering.settle(code, outcome)
    outcome.elapsed_seconds = time.monotonic() - started
    waiting.close()
    for connection in free:
        connection.close()
    return outcome


class _Connection:
    """One kept-alive connection with at most one request under way; opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._received = b""
        self._length: int | None = None
        self._due = 0.0
        self._sent_at = 0.0

    def send(self, request: bytes, due: float) -> socket.socket | None:
        """Sends a request that was due then (monotonic seconds); says where its answer will come, if anywhere."""
        self._received, self._length = b"", None
        self._due, self._sent_at = due, time.monotonic()
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), _TIMEOUT_SECONDS)
            self._socket.sendall(request)
        except OSError:
            return None
        return self._socket

    def receive(self) -> int | None:
        """To be called when there is something to read: the status when the answer is whole, 0 when none will come."""
        assert self._socket is not None  # noqa: S101  # a request is under way
        try:
            more = self._socket.recv(65536)
        except OSError:
            more = b""
        if not more:
            return 0
        self._received += more
        if self._length is None:
            self._length = _whole_length(self._received)
        if self._length is None or len(self._received) < self._length:
            return None
        return int(self._received[9:12])

    def settle(self, code: int, outcome: Outcome) -> None:
        """Notes the answer that has just come. A connection without one is of no more use."""
        if code == 0:
            self.close()
        outcome.add(code, time.monotonic() - self._due, self._sent_at - self._due)

    def close(self) -> None:
        """Ends the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _whole_length(received: bytes) -> int | None:
    """Bytes of the whole answer, once its headers are here."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    start = received.lower().index(b"content-length:") + 15
    return end + 4 + int(received[start : received.index(b"\r\n", start)])
