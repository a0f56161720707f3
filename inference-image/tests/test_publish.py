"""The order of the steps, and what each failure leaves undone.

The programs are stand-ins that note how they are called; `make publish-check` does the same with the real ones.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

import publish

IMAGE = "registry.example.com/vision/detect@sha256:abc"
STAND_IN = """#!/bin/sh
name="${0##*/}"
echo "$name $*" >> "$CALLS"
for word; do case "$word" in */sbom.cdx.json) cp "$word" "$CALLS.bill";; esac; done
case "$name $1" in "$FAILING") echo "the reason"; exit 3;; esac
case "$name $1" in
"crane push") echo "$IMAGE" ;;
"crane config") echo "$CONFIG" ;;
esac
"""


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def write_archive(path: Path, *layers: dict[str, bytes]) -> Path:
    """What of a docker archive is read."""
    files = {f"{number}/layer.tar": tar(layer) for number, layer in enumerate(layers)}
    manifest = json.dumps([{"Layers": list(files)}]).encode()
    path.write_bytes(tar({**files, "manifest.json": manifest}))
    return path


class Calls:
    """What was called so far, without what differs from run to run."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def programs(self) -> list[str]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [" ".join(line.split()[:2]) for line in lines]

    def words(self, start: str) -> list[str]:
        [line] = [line for line in self._log.read_text().splitlines() if line.startswith(start)]
        return line.split()


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("pip-audit", "crane", "cosign"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("IMAGE", IMAGE)
    labels = {"org.opencontainers.image.version": "v1", "dev.modelrelease.model.sha256": "f00"}
    monkeypatch.setenv("CONFIG", json.dumps({"config": {"Labels": labels}}))
    monkeypatch.setenv("FAILING", "nothing")
    return Calls(tmp_path / "calls")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    context = tmp_path / "context"
    context.mkdir()
    (context / "image.json").write_text(json.dumps({"MODEL_VERSION": "v1", "MODEL_DIGEST": "f00"}))
    archive = write_archive(tmp_path / "image.tar", {"model/sbom.cdx.json": b"older"}, {"model/sbom.cdx.json": b"bill"})
    return [str(archive), "registry.example.com/vision/detect:v1", "--context", str(context), "--key", "cosign.key"]


def test_the_image_is_scanned_before_it_is_pushed_and_meant_by_its_digest_afterwards(
    calls: Calls, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish.main(words) == 0
    assert calls.programs == [
        "pip-audit --strict",
        "crane push",
        "crane config",
        "cosign signing-config",
        "cosign public-key",
        "cosign sign",
        "cosign attest",
        "cosign verify",
        "cosign verify-attestation",
    ]
    assert {calls.words(f"cosign {step} ")[-1] for step in ("sign", "attest", "verify", "verify-attestation")} == {
        IMAGE
    }
    assert calls.words("pip-audit")[-1].endswith("context/requirements-serve-cpu.txt")
    assert json.loads(capsys.readouterr().out) == {"spec": {"image": IMAGE}}


def test_what_is_attested_is_the_bill_of_materials_in_the_image(calls: Calls, words: list[str], tmp_path: Path) -> None:
    assert publish.main(words) == 0
    assert calls.words("cosign attest ")
    assert (tmp_path / "calls.bill").read_bytes() == b"bill"


@pytest.mark.parametrize("content", [None, b"no archive", tar({"manifest.json": b"{}"})])
def test_an_image_without_a_bill_of_materials_is_not_pushed(
    calls: Calls, words: list[str], tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "image.tar"
    if content is None:
        write_archive(archive, {"model/model.json": b"{}"})
    else:
        archive.write_bytes(content)
    assert publish.main(words) == 1
    assert str(archive) in capsys.readouterr().err
    assert calls.programs == []


@pytest.mark.parametrize("failing", ["pip-audit --strict", "crane push", "cosign sign", "cosign verify"])
def test_the_first_step_that_fails_ends_it(
    calls: Calls,
    words: list[str],
    failing: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FAILING", failing)
    assert publish.main(words) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"`{failing}` ended with 3:\nthe reason" in said.err
    assert calls.programs[-1] == failing


def test_an_archive_from_another_context_is_not_signed(
    calls: Calls, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "context" / "image.json").write_text(json.dumps({"MODEL_VERSION": "v2", "MODEL_DIGEST": "f00"}))
    assert publish.main(words) == 1
    assert calls.programs[-1] == "crane config"
    assert "the context says ('v2', 'f00')" in capsys.readouterr().err


def test_the_gpu_image_is_scanned_by_its_own_packages(calls: Calls, words: list[str], tmp_path: Path) -> None:
    arguments = {"MODEL_VERSION": "v1", "MODEL_DIGEST": "f00", "REQUIREMENTS": "requirements-serve-gpu.txt"}
    (tmp_path / "context" / "image.json").write_text(json.dumps(arguments))
    assert publish.main(words) == 0
    assert calls.words("pip-audit")[-1].endswith("context/requirements-serve-gpu.txt")


def test_missing_programs_are_named_before_anything_is_done(
    calls: Calls, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin" / "cosign").unlink()
    (tmp_path / "bin" / "crane").unlink()
    assert publish.main(words) == 1
    assert "Not on the PATH: crane, cosign." in capsys.readouterr().err
    assert calls.programs == []
