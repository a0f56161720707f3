"""From an image that was built to one that may be released: scanned, pushed, signed, and checked.

    python inference-image/publish.py IMAGE.tar REGISTRY/vision/detect:v1.0.0 --context CONTEXT --key cosign.key

IMAGE.tar is what `docker save` or `buildah push … docker-archive:` writes, CONTEXT the folder that it was built from.
The bill of materials is the one in the image. The steps are programs that others keep, and that must be on the PATH:

    pip-audit   the locked Python packages have no known vulnerability, else nothing is pushed
    crane       pushes the image; from here on it is meant by its digest
    cosign      signs it, attests its bill of materials, and verifies both with the public key

The first step that fails ends it with status 1. Prints what a ModelRelease is patched with to release the image:

    kubectl patch mr detect --type merge -p "$(python inference-image/publish.py …)"

COSIGN_PASSWORD is the key's, PIP_AUDIT_VULNERABILITY_SERVICE and PIP_AUDIT_OSV_URL where pip-audit
asks. Nothing is told to a public transparency log.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = ("pip-audit", "crane", "cosign")
_STEP_SECONDS = 900.0
_BILL = "model/sbom.cdx.json"
_SERVED_PACKAGES = "requirements-serve-cpu.txt"


class StepFailed(Exception):
    """A step did not succeed; `str()` is a sentence for the person who publishes."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What to publish: archive, where to (with a tag), the build context, and the private key or its KMS address."""

    archive: Path
    reference: str
    context: Path
    key: str
    plain_http: bool = False


def publish(publication: Publication) -> str:
    """Runs all steps; the reference by digest. Raises StepFailed."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise StepFailed(f"Not on the PATH: {', '.join(missing)}.")
    arguments = json.loads((publication.context / "image.json").read_text(encoding="utf-8"))
    bill = bill_of_materials(publication.archive)
    _scan(publication.context / arguments.get("REQUIREMENTS", _SERVED_PACKAGES))
    image = _run("crane", "push", publication.archive, publication.reference).split()[-1]
    _require_labels(image, arguments)
    with tempfile.TemporaryDirectory(prefix="publish-") as folder:
        (Path(folder) / "sbom.cdx.json").write_bytes(bill)
        _sign(publication, image, Path(folder))
    return image


def bill_of_materials(archive: Path) -> bytes:
    """The bill of materials in the image, from a docker archive. Raises StepFailed where there is none."""
    try:
        with tarfile.open(archive) as image:
            # The last layer that has the file is what a container sees.
            for layer in reversed(json.loads(_content(image, "manifest.json"))[0]["Layers"]):
                with tarfile.open(fileobj=image.extractfile(layer)) as files:
                    if _BILL in files.getnames():
                        return _content(files, _BILL)
    except (OSError, tarfile.TarError, LookupError, ValueError) as error:
        raise StepFailed(f"{archive} is no docker archive of an image: {error}") from error
    raise StepFailed(f"The image in {archive} has no bill of materials at /{_BILL}.")


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    return file.read()


def _scan(requirements: Path) -> None:
    """Strict: a package that the service does not know counts as a failure, not as free of vulnerabilities."""
    _run("pip-audit", "--strict", "--disable-pip", "--require-hashes", "--progress-spinner=off", "-r", requirements)


def _require_labels(image: str, arguments: dict[str, str]) -> None:
    """What was scanned is this image's: both were made from one context."""
    labels = json.loads(_run("crane", "config", image))["config"].get("Labels") or {}
    said = (labels.get("org.opencontainers.image.version"), labels.get("dev.modelrelease.model.sha256"))
    built = (arguments["MODEL_VERSION"], arguments["MODEL_DIGEST"])
    if said != built:
        raise StepFailed(f"The archive's labels say {said}, the context says {built}: they do not belong together.")


def _sign(publication: Publication, image: str, folder: Path) -> None:
    http = ("--allow-http-registry",) if publication.plain_http else ()
    no_services, public_key = folder / "signing-config.json", folder / "cosign.pub"
    _run("cosign", "signing-config", "create", "--out", no_services)
    _run("cosign", "public-key", "--key", publication.key, "--outfile", public_key)
    bill = ("--type", "cyclonedx")
    signing = ("--key", publication.key, "--signing-config", no_services, "--yes", *http)
    _run("cosign", "sign", *signing, image)
    _run("cosign", "attest", *bill, "--predicate", folder / "sbom.cdx.json", *signing, image)
    verifying = ("--key", public_key, "--insecure-ignore-tlog", *http)
    _run("cosign", "verify", *verifying, image)
    _run("cosign", "verify-attestation", *bill, *verifying, image)


def _run(*words: str | Path) -> str:
    """The standard output of one program; what it complains about is told when it fails."""
    print("publish:", *words[:2], file=sys.stderr, flush=True)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_STEP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise StepFailed(f"`{words[0]}` took longer than {error.timeout:g} s.") from error
    if done.returncode != 0:
        raise StepFailed(f"`{' '.join(map(str, words[:2]))}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Scan, push, sign and verify an image of the inference server.")
    parser.add_argument("archive", type=Path, help="docker archive of the image")
    parser.add_argument("reference", help="where to push it, with a tag")
    parser.add_argument("--context", type=Path, required=True, help="the folder that image_context.py made")
    parser.add_argument("--key", required=True, help="cosign's private key: a file, or the address of one in a KMS")
    parser.add_argument("--plain-http", action="store_true", help="the registry has no TLS (for trials)")
    options = parser.parse_args(arguments)
    publication = Publication(options.archive, options.reference, options.context, options.key, options.plain_http)
    try:
        image = publish(publication)
    except StepFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(json.dumps({"spec": {"image": image}}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
