"""A real Prometheus with one target: an exporter that says what a test counts, in Istio's words."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import Literal

import pytest

from fakes.metrics import BOUNDS_MS

_CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: gateway
  static_configs: [{{targets: ["127.0.0.1:{port}"], labels: {{pod: gateway-0}}}}]
"""
_START_SECONDS = 30.0

Name = Literal["istio_requests_total", "istio_request_duration_milliseconds_bucket"]


class Exporter:
    """Counters of a gateway; thread-safe, since Prometheus asks whenever it likes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[tuple[Name, str, str, str], float] = {}
        self._served = 0
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Scrapes are no news."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def count(self, host: str, requests: int, *, code: str, latency_ms: float) -> None:
        with self._lock:
            self._add(("istio_requests_total", host, code, ""), requests)
            for bound in BOUNDS_MS:
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                within = requests if latency_ms <= bound else 0
                self._add(("istio_request_duration_milliseconds_bucket", host, code, le), within)

    def restart(self) -> None:
        with self._lock:
            self._counters = dict.fromkeys(self._counters, 0.0)

    def text(self) -> str:
        with self._lock:
            self._served += 1
            return "".join(
                f'{name}{{reporter="source",destination_service="{host}",response_code="{code}",response_flags="-"'
                + (f',le="{le}"' if le else "")
                + f"}} {value}\n"
                for (name, host, code, le), value in self._counters.items()
            )

    async def scraped(self) -> None:
        """Wait until what is counted now is stored: a scrape that began later, and the beginning of the next."""
        wanted = self._served + 3
        async with asyncio.timeout(30):
            while self._served < wanted:  # noqa: ASYNC110 - the counter moves in another thread
                await asyncio.sleep(0.02)

    def _add(self, counter: tuple[Name, str, str, str], amount: float) -> None:
        self._counters[counter] = self._counters.get(counter, 0.0) + amount


@contextmanager
def prometheus(folder: Path, exporter: Exporter) -> Iterator[str]:
    """The address of a Prometheus that scrapes `exporter` five times a second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.fail("there is no prometheus on this machine; `apt-get install prometheus`")
    (folder / "prometheus.yml").write_text(_CONFIG.format(port=exporter.port), encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as placeholder:
        port = placeholder.server_address[1]
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + _START_SECONDS
    while monotonic() < deadline:
        assert process.poll() is None, "prometheus ended"
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=1):  # noqa: S310 - our own process
                return
        except OSError:
            sleep(0.1)
    pytest.fail(f"prometheus was not ready within {_START_SECONDS} s")
