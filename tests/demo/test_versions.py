"""What report.json says it was made with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from demo.images import Image
from demo.versions import pinned, versions


@pytest.fixture
def prometheus_url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/api/v1/status/buildinfo"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"status": "success", "data": {"version": "2.42.0"}}).encode())

        def log_message(self, *_: object) -> None:
            """No news."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(timeout=5)


def test_parts_packages_and_digests_are_named(prometheus_url: str) -> None:
    found = versions(prometheus_url, {"v1.1.0": Image("shapes:v1.1.0", "sha256:abc")})
    assert found["prometheus"] == "2.42.0"
    assert found["image v1.1.0"] == "shapes:v1.1.0@sha256:abc"
    for part in ("kubernetes", "istio", "envoy", "package kopf", "package kubernetes", "package prometheus-api-client",
                 "package onnxruntime", "package ultralytics"):  # fmt: skip
        assert found[part].lstrip("v")[0].isdigit(), part


def test_a_package_that_is_not_pinned_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("kopf==1.45.2 \\\n    --hash=sha256:1\n")
    assert pinned(file, ("kopf",)) == [("kopf", "1.45.2")]
    with pytest.raises(KeyError, match="kubernetes"):
        pinned(file, ("kubernetes",))
