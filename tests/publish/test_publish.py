"""`inference-image/publish.py` with the real pip-audit, crane and cosign; only the advisories are made up."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import LABELS, Programs, VulnerabilityService, write_archive

SCRIPT = Path(__file__).resolve().parents[2] / "inference-image" / "publish.py"


@dataclass(frozen=True, slots=True)
class Publisher:
    """Somebody with a key, who publishes to one tag."""

    programs: Programs
    vulnerabilities: VulnerabilityService
    tag: str
    context: Path
    key: Path

    def publish(self, archive: Path) -> subprocess.CompletedProcess[str]:
        address = self.vulnerabilities.address
        where = {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": address}
        words = [
            sys.executable,
            SCRIPT,
            archive,
            self.tag,
            "--context",
            self.context,
            "--key",
            self.key,
            "--plain-http",
        ]
        return Programs({**self.programs.environment, **where}).run(*words)

    def accepts(self, image: str, *what: str) -> bool:
        """Whether there is a signature, or an attestation, that the public key fits."""
        public = ("--key", self.key.with_suffix(".pub"), "--insecure-ignore-tlog", "--allow-http-registry")
        return self.programs.run("cosign", *(what or ("verify",)), *public, image).returncode == 0


@pytest.fixture
def publisher(
    programs: Programs, vulnerabilities: VulnerabilityService, registry: str, context: Path, tmp_path: Path
) -> Publisher:
    key = new_key(programs, tmp_path / "ours")
    return Publisher(programs, vulnerabilities, f"{registry}/vision/detect:v1.1.0", context, key)


def new_key(programs: Programs, prefix: Path) -> Path:
    made = programs.run("cosign", "generate-key-pair", "--output-key-prefix", prefix)
    assert made.returncode == 0, made.stderr
    return prefix.with_suffix(".key")


def test_an_image_is_signed_by_its_digest_with_its_bill_of_materials(
    publisher: Publisher, programs: Programs, archive: Path, tmp_path: Path
) -> None:
    published = publisher.publish(archive)
    assert published.returncode == 0, published.stderr
    image = json.loads(published.stdout)["spec"]["image"]
    digest = programs.run("crane", "digest", publisher.tag).stdout.strip()
    assert image == f"{publisher.tag.rpartition(':')[0]}@{digest}"
    assert publisher.vulnerabilities.asked == {"pillow==13.0.0", "numpy==2.4.6"}

    assert publisher.accepts(image)
    assert publisher.accepts(image, "verify-attestation", "--type", "cyclonedx")
    stranger = Publisher(
        programs, publisher.vulnerabilities, publisher.tag, publisher.context, new_key(programs, tmp_path / "theirs")
    )
    assert not stranger.accepts(image)

    # Whoever moves the tag to another image has no signature for that one.
    other = write_archive(tmp_path / "other.tar", {**LABELS, "changed": "yes"})
    moved = programs.run("crane", "push", other, publisher.tag).stdout.strip()
    assert moved.startswith(publisher.tag.rpartition(":")[0] + "@sha256:")
    assert moved != image
    assert not publisher.accepts(moved)
    assert publisher.accepts(image)


def test_a_vulnerable_package_is_named_and_nothing_is_pushed(
    publisher: Publisher, programs: Programs, registry: str, archive: Path
) -> None:
    publisher.vulnerabilities.known.add("pillow==13.0.0")
    refused = publisher.publish(archive)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "pillow 13.0.0" in refused.stderr
    catalog = programs.run("crane", "catalog", registry)
    assert (catalog.returncode, catalog.stdout) == (0, "")


def test_an_archive_of_another_model_is_not_signed(publisher: Publisher, programs: Programs, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "other.tar", {**LABELS, "dev.modelrelease.model.sha256": "def"})
    refused = publisher.publish(archive)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "do not belong together" in refused.stderr
    assert programs.run("crane", "ls", publisher.tag.rpartition(":")[0]).stdout.split() == ["v1.1.0"]
