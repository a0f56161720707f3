"""A real Prometheus and its targets: exporters that say what a test counts, in Istio's words."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import Literal, Protocol

import pytest

from contract.native_exposition import CONTENT_TYPE, page
from fakes.metrics import BOUNDS_MS

_CONFIG = """
global: {{scrape_interval: {scrape}, scrape_timeout: {scrape}}}
scrape_configs:
- job_name: proxies
  static_configs:
"""
_TARGET = '  - {{targets: ["127.0.0.1:{port}"], labels: {{pod: {pod}}}}}\n'
_START_SECONDS = 30.0

Name = Literal["istio_requests_total", "istio_request_duration_milliseconds_bucket"]


class Target(Protocol):
    """What can be scraped on 127.0.0.1."""

    port: int
    pod: str


class Exporter:
    """Counters of one proxy; thread-safe, since Prometheus asks whenever it likes."""

    def __init__(self, pod: str) -> None:
        self.pod = pod
        self._lock = threading.Lock()
        self._counters: dict[tuple[Name, str, str], float] = {}
        self._native = b""
        self._served = 0
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = exporter.page()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a busy machine: the scrape has timed out
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
        self._thread.join(10)

    def count(self, requests: int, latency_ms: float, **labels: str) -> None:
        """Add requests; `labels` are those of Istio's metrics."""
        text = ",".join(f'{name}="{value}"' for name, value in {"response_flags": "-", **labels}.items())
        with self._lock:
            self._add(("istio_requests_total", text, ""), requests)
            for bound in BOUNDS_MS:
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                within = requests if latency_ms <= bound else 0
                self._add(("istio_request_duration_milliseconds_bucket", text, le), within)

    def forget(self, namespace: str) -> None:
        """The hosts of one namespace are no targets any more."""
        with self._lock:
            self._counters = {key: value for key, value in self._counters.items() if f".{namespace}." not in key[1]}

    def restart(self) -> None:
        with self._lock:
            self._counters = dict.fromkeys(self._counters, 0.0)

    def observe(self, latencies_ms: Sequence[float], **labels: str) -> None:
        """From now on show a native histogram of these, and nothing else."""
        with self._lock:
            self._native = page("istio_request_duration_milliseconds", labels, latencies_ms)

    def page(self) -> tuple[str, bytes]:
        """Content type and content of an answer."""
        with self._lock:
            self._served += 1
            if self._native:
                return CONTENT_TYPE, self._native
            text = "".join(
                f"{name}{{{labels}" + (f',le="{le}"' if le else "") + f"}} {value}\n"
                for (name, labels, le), value in self._counters.items()
            )
            return "text/plain; version=0.0.4", text.encode()

    async def scraped(self) -> None:
        """Wait until what is counted now is stored: a scrape that began later, and the beginning of the next."""
        wanted = self._served + 3
        async with asyncio.timeout(30):
            while self._served < wanted:  # noqa: ASYNC110 - the counter moves in another thread
                await asyncio.sleep(0.02)

    def _add(self, counter: tuple[Name, str, str], amount: float) -> None:
        self._counters[counter] = self._counters.get(counter, 0.0) + amount


@contextmanager
def prometheus(folder: Path, exporters: Sequence[Target], scrape: str = "200ms") -> Iterator[str]:
    """The address of a Prometheus that scrapes `exporters` so often, which is also how long it waits for them."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.fail("there is no prometheus on this machine; `apt-get install prometheus`")
    targets = [_TARGET.format(port=exporter.port, pod=exporter.pod) for exporter in exporters]
    (folder / "prometheus.yml").write_text(_CONFIG.format(scrape=scrape) + "".join(targets), encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as placeholder:
        port = placeholder.server_address[1]
    process = subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=native-histograms",
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
