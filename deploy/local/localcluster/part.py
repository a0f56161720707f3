"""One process of a cluster: how it is started and when it is ready."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localcluster.ports import Listen

Probe = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Part:
    """A pure description; whoever holds it decides how to run it."""

    name: str
    argv: tuple[str, ...]
    ready: Probe
    listens: tuple[Listen, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    ready_seconds: float = 60.0
    stop_seconds: float = 10.0


def answers(listen: Listen, path: str, *, authority: Path | None = None) -> Probe:
    """Ready when GET `path` is answered with 2xx within two seconds; over TLS where an authority is given."""

    def probe() -> bool:
        context = ssl.create_default_context(cafile=str(authority)) if authority else None
        connection: http.client.HTTPConnection
        if context:
            connection = http.client.HTTPSConnection(listen.address, listen.port, timeout=2, context=context)
        else:
            connection = http.client.HTTPConnection(listen.address, listen.port, timeout=2)
        try:
            connection.request("GET", path)
            return 200 <= connection.getresponse().status < 300
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def accepts(path: Path) -> Probe:
    """Ready when something accepts connections on the unix socket."""

    def probe() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            try:
                client.connect(str(path))
            except OSError:
                return False
        return True

    return probe


def wait_until(probe: Probe, timeout_seconds: float, pause_seconds: float = 0.1, alive: Probe | None = None) -> bool:
    """True as soon as the probe is; False when the time is over, or at once when `alive` says waiting is in vain."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        if probe():
            return True
        if time.monotonic() > deadline or (alive is not None and not alive()):
            return False
        time.sleep(pause_seconds)
