"""A load generator light enough to share two cores with the server: raw sockets, requests made beforehand."""

from __future__ import annotations

import itertools
import socket
import threading
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

    def quantile_ms(self, share: float, code: int = 200) -> float:
        """Quantile of the latency in milliseconds, from the values themselves."""
        values = sorted(self.seconds_by_code.get(code, []))
        return 1000 * values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


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
    numbers = itertools.count()
    lock = threading.Lock()
    started = time.monotonic()

    def work() -> None:
        connection: socket.socket | None = None
        while (number := next(numbers)) < count:
            due = time.monotonic() if rate is None else started + number / rate
            if (early := due - time.monotonic()) > 0:
                time.sleep(early)
            late = max(0.0, time.monotonic() - due)
            try:
                connection = connection or socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS)
                code = _exchange(connection, requests[number % len(requests)])
            except OSError:
                code = 0
            if code == 0 and connection is not None:
                connection.close()
                connection = None
            seconds = time.monotonic() - due
            with lock:
                outcome.add(code, seconds, late)
        if connection is not None:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.elapsed_seconds = time.monotonic() - started
    return outcome


def _exchange(connection: socket.socket, request: bytes) -> int:
    """Sends a request, reads its whole answer, and returns the status; 0 when the connection ended instead."""
    connection.sendall(request)
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        if not (more := connection.recv(65536)):
            return 0
        received += more
    start = received.lower().index(b"content-length:") + 15
    left = int(received[start : received.index(b"\r\n", start)]) - (len(received) - end - 4)
    while left > 0:
        if not (more := connection.recv(65536)):
            return 0
        left -= len(more)
    return int(received[9:12])
