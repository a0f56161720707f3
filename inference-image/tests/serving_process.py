"""The real server as a process, spoken to over HTTP on 127.0.0.1."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    @property
    def error(self) -> str:
        """The sentence of an error."""
        sentence = self.json()["error"]
        assert isinstance(sentence, str)
        return sentence


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """`python -m yolo_serving` with these environment variables and none of the caller's settings."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.port = free_port()
        with tempfile.NamedTemporaryFile(prefix="server-", suffix=".log", delete=False) as file:
            self._log = Path(file.name)
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
        own = {"HOST": "127.0.0.1", "PORT": str(self.port), "INTRA_OP_THREADS": "1", "PYTHONWARNINGS": "error"}
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "yolo_serving"],
                cwd=PACKAGE_FOLDER,
                env={**inherited, **own, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(encoding="utf-8")

    def wait_until_live(self) -> None:
        """Until /health answers."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            try:
                if self.get("/health").status == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"not live after {_START_SECONDS} s:\n{self.log}")

    def wait_until_ended(self, seconds: float = 30.0) -> int:
        """The exit status."""
        return self.process.wait(seconds)

    def terminate(self) -> None:
        """What a kubelet sends first."""
        self.process.send_signal(signal.SIGTERM)

    def get(self, path: str) -> Answer:
        """One GET."""
        return self.request("GET", path)

    def predict(self, body: bytes, path: str = "/predict", content_type: str | None = "image/jpeg") -> Answer:
        """One prediction."""
        headers = {} if content_type is None else {"content-type": content_type}
        return self.request("POST", path, body, headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def close(self) -> None:
        """Ends the process for good."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._log.unlink(missing_ok=True)
