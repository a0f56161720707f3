"""A registry and a vulnerability service on 127.0.0.1, the programs that publish, and a small image to publish."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from localcluster.folders import Cache
from localcluster.progress import Silent
from localcluster.provision import go

LABELS = {"org.opencontainers.image.version": "v1.1.0", "dev.modelrelease.model.sha256": "abc"}


@dataclass(frozen=True, slots=True)
class Programs:
    """The real crane and cosign, and the environment to run them in."""

    environment: dict[str, str]

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip


@dataclass(slots=True)
class VulnerabilityService:
    """Answers as OSV's API does: what is `known` has a vulnerability, all else has none."""

    address: str
    known: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    assert shutil.which("pip-audit"), "run it as `make publish-check`"
    folder = go.build(Cache.from_environment(), go.SIGNING, Silent())
    home = tmp_path_factory.mktemp("home")
    path = f"{folder}:{os.environ['PATH']}"
    return Programs({"PATH": path, "HOME": str(home), "COSIGN_PASSWORD": "of the test"})


@pytest.fixture
def registry(programs: Programs, tmp_path: Path) -> Iterator[str]:
    """Host and port of an empty registry."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (tmp_path / "registry").mkdir()
    process = subprocess.Popen(
        ["crane", "registry", "serve", "--address", address, "--disk", tmp_path / "registry"],
        env=programs.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while programs.run("crane", "catalog", address).returncode != 0:
        assert time.monotonic() < deadline, "the registry does not answer"
        time.sleep(0.1)
    yield address
    process.terminate()
    process.wait(20)


@pytest.fixture
def vulnerabilities() -> Iterator[VulnerabilityService]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            package = f"{question['package']['name']}=={question['version']}"
            service.asked.add(package)
            body = json.dumps(_advisory(question["package"]["name"]) if package in service.known else {}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = VulnerabilityService(f"http://127.0.0.1:{server.server_port}/")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield service
    server.shutdown()
    server.server_close()


def _advisory(name: str) -> dict[str, object]:
    """In OSV's format (ossf.github.io/osv-schema)."""
    affected = {
        "package": {"name": name, "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999"}]}],
    }
    return {"vulns": [{"id": "TEST-1", "published": "2026-01-01T00:00:00Z", "details": "", "affected": [affected]}]}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What of a build context is read: arguments and locked packages."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "image.json").write_text(json.dumps({"MODEL_VERSION": "v1.1.0", "MODEL_DIGEST": "abc"}))
    (folder / "requirements-serve-cpu.txt").write_text(
        f"pillow==13.0.0 --hash=sha256:{'0' * 64}\nnumpy==2.4.6 --hash=sha256:{'1' * 64}\n"
    )
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "image.tar", LABELS)


def write_archive(path: Path, labels: dict[str, str]) -> Path:
    """A docker archive of one layer with a bill of materials (the format of `docker save`)."""
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    layer = _tar({"model/sbom.cdx.json": json.dumps(bill).encode()})
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": labels}, "rootfs": {"type": "layers"}}
    manifest = [{"Config": "config.json", "RepoTags": ["test:latest"], "Layers": ["layer.tar"]}]
    content = {
        "layer.tar": layer,
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    path.write_bytes(_tar(content))
    return path


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
