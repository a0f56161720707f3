from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo_serving import model_location
from yolo_serving.errors import BadSetting, ModelNotUsable
from yolo_serving.model_location import ModelSource, find_model

CONTENT = b"weights" * 1000


class Store(http.server.BaseHTTPRequestHandler):
    """/model.onnx is the model, /short ends early the first time, anything else is not there."""

    short_answers = 0

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path not in {"/model.onnx", "/short"}:
            self.send_error(404)
            return
        content = CONTENT
        if path == "/short" and not Store.short_answers:
            Store.short_answers += 1
            content = CONTENT[:100]
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(model_location, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    Store.short_answers = 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def source(location: str, version: str | None = "v1", sha256: str | None = None, max_bytes: int = 10**6) -> ModelSource:
    return ModelSource(location, version, sha256, max_bytes)


@pytest.mark.parametrize("path", ["/model.onnx?signature=secret", "/short"])
def test_an_address_is_fetched_whole(store: str, path: str) -> None:
    found = find_model(source(store + path, sha256=hashlib.sha256(CONTENT).hexdigest().upper()))
    assert (found.path.read_bytes(), found.version) == (CONTENT, "v1")


def test_refusals_say_why_and_keep_secrets(store: str) -> None:
    with pytest.raises(ModelNotUsable) as refused:
        find_model(source(f"{store}/none?signature=secret"))
    assert str(refused.value) == f"{store}/none answers 404 Not Found."
    with pytest.raises(ModelNotUsable, match="has more than 500 bytes"):
        find_model(source(f"{store}/model.onnx", max_bytes=500))
    with pytest.raises(ModelNotUsable, match="MODEL_SHA256 is abc, but the model file hashes to"):
        find_model(source(f"{store}/model.onnx", sha256="abc"))


@pytest.mark.usefixtures("store")
def test_nobody_answers() -> None:
    with pytest.raises(ModelNotUsable, match="cannot be fetched"):
        find_model(source("http://127.0.0.1:9/model.onnx"))


@pytest.mark.parametrize("location", ["http://[bad/x", "http://h:abc/x", "http://h:99999/x"])
def test_an_address_that_cannot_be_read_is_a_bad_setting(location: str) -> None:
    with pytest.raises(BadSetting, match="MODEL_URI is no address that can be read"):
        find_model(source(location))


def test_a_password_in_the_address_is_refused_and_not_told() -> None:
    with pytest.raises(BadSetting, match="a user or a password") as refused:
        find_model(source("https://user:secret@127.0.0.1/model.onnx"))
    assert "secret" not in str(refused.value)


def test_a_download_has_an_end(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_location, "_DOWNLOAD_SECONDS", 0.0)
    with pytest.raises(ModelNotUsable, match="did not come within 0 s"):
        find_model(source(f"{store}/model.onnx"))


def test_paths_and_file_addresses(tmp_path: Path) -> None:
    model = tmp_path / "my model.onnx"
    model.write_bytes(CONTENT)
    assert find_model(source(str(model))).path == model
    assert find_model(source(model.as_uri())).path == model
    with pytest.raises(BadSetting, match=r"MODEL_URI='s3://bucket/x.onnx'"):
        find_model(source("s3://bucket/x.onnx?key=secret"))


def test_version_of_the_card_beside_the_file(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    assert find_model(source(str(model), version=None)).version == "unknown"
    (tmp_path / "model.json").write_text('{"version": "v7"}')
    assert find_model(source(str(model), version=None)).version == "v7"
    assert find_model(source(str(model), version="v8")).version == "v8"
    (tmp_path / "model.json").write_text("no")
    with pytest.raises(ModelNotUsable, match="not readable JSON"):
        find_model(source(str(model), version=None))
