"""Images made without a registry: the pause container and the Debian base that Dockerfiles here start from."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

from localcluster.commands import run, run_into
from localcluster.errors import CommandFailed
from localcluster.folders import Cache
from localcluster.locks import exclusive
from localcluster.progress import Report
from localcluster.provision.debian import require_program

PAUSE_IMAGE = "localhost/modelrelease-pause:1"
SUITE = "bookworm"
_INCLUDE = "python3,python3-venv,ca-certificates"
_RECIPE = 1
_LEAVE_OUT = (
    "./var/cache/apt/",
    "./var/lib/apt/lists/",
    "./var/log/",
    "./usr/share/doc/",
    "./usr/share/locale/",
    "./usr/share/man/",
    "./dev/",
)


def base_archive(cache: Cache) -> Path:
    """The root file system of the base image as a tar file; its name changes with the recipe."""
    key = hashlib.sha256(f"{SUITE} {_INCLUDE} {_RECIPE} {_LEAVE_OUT}".encode()).hexdigest()[:10]
    return cache.root / "rootfs" / f"{SUITE}-{key}.tar"


def build_base(cache: Cache, report: Report) -> Path:
    """Debian with Python 3.11, without caches and manuals."""
    with report.part("base image") as line:
        target = base_archive(cache)
        if target.exists():
            line.show("cached")
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(cache.locks / "rootfs"), tempfile.TemporaryDirectory(dir=target.parent) as folder:
            if not target.exists():
                line.show("building")
                tree = Path(folder) / "tree"
                run_into(
                    cache.root / "logs" / "debootstrap.log",
                    [
                        require_program("debootstrap"),
                        "--variant=minbase",
                        f"--include={_INCLUDE}",
                        SUITE,
                        tree,
                        *_mirror(),
                    ],
                    timeout_seconds=900,
                )
                _pack(tree, Path(folder) / "base.tar")
                (Path(folder) / "base.tar").replace(target)
        line.show("built")
        return target


def _mirror() -> list[str]:
    """The mirror that this machine's apt uses for the suite; debootstrap's own choice where apt knows none."""
    if shutil.which("apt-get") is None:
        return []
    try:
        found = run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {SUITE}"]
        )
    except CommandFailed:
        return []
    return found.split()[:1]


def _pack(tree: Path, target: Path) -> None:
    def keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if any(entry.name.startswith(prefix) for prefix in _LEAVE_OUT) else entry

    with tarfile.open(target, "w") as archive:
        archive.add(tree, arcname=".", filter=keep)


def pause_archive(cache: Cache) -> Path:
    """The pause image as an archive that containerd imports: one static program that sleeps."""
    target = cache.images / "pause-1.tar"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(".new")
        fresh.write_bytes(_docker_archive(PAUSE_IMAGE, Path(require_program("busybox")).read_bytes()))
        fresh.replace(target)
    return target


def _docker_archive(reference: str, program: bytes) -> bytes:
    layer = _tar({"busybox": program}, mode=0o755)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/busybox", "sleep", "2147483647"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    name = hashlib.sha256(config).hexdigest()
    manifest = json.dumps([{"Config": f"{name}.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]).encode()
    return _tar({f"{name}.json": config, "layer.tar": layer, "manifest.json": manifest}, mode=0o644)


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
