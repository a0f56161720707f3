"""Container images without a registry: built from a Dockerfile, kept by content, loaded into the cluster."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localcluster.build import rootfs
from localcluster.build.debian import require_program
from localcluster.commands import run
from localcluster.containers import Containers
from localcluster.errors import LocalClusterError
from localcluster.folders import Cache, Data
from localcluster.locks import exclusive
from localcluster.progress import Report, Silent

_CERTIFICATES = Path("/etc/ssl/certs")
_PIP_CACHE_INSIDE = "/var/cache/localcluster-pip"
_ARCHIVES_KEPT = 12


@dataclass(frozen=True, slots=True)
class Build:
    """A Dockerfile, the folder it copies from, and what it is to be called."""

    reference: str
    context: Path
    dockerfile: Path
    arguments: Mapping[str, str] = field(default_factory=dict)


def full_reference(reference: str) -> str:
    """The name that a kubelet makes of what stands in a pod: Docker's rules for short names."""
    first, slash, _ = reference.partition("/")
    if not slash:
        named = f"docker.io/library/{reference}"
    elif "." in first or ":" in first or first == "localhost":
        named = reference
    else:
        named = f"docker.io/{reference}"
    return named if ":" in named.rpartition("/")[2] else f"{named}:latest"


def content_key(build: Build, base: str) -> str:
    """Equal for builds that must give the same image: base, Dockerfile, arguments, and names, modes and bytes of the files."""
    digest = hashlib.sha256()
    digest.update(json.dumps([base, sorted(build.arguments.items())]).encode())
    digest.update(build.dockerfile.read_bytes())
    for path in context_files(build.context):
        mode = path.lstat().st_mode & 0o777
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        name = path.relative_to(build.context)
        digest.update(f"\0{name}\0{mode:o}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:20]


def context_files(context: Path) -> list[Path]:
    """All files of a build context that its .dockerignore does not take out, in a fixed order."""
    ignore = context / ".dockerignore"
    patterns = ignore.read_text(encoding="utf-8").split("\n") if ignore.exists() else []
    rules = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    return [path for path in sorted(_walk(context)) if not _ignored(path.relative_to(context), rules)]


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path.name not in {".git", "__pycache__"}:
                yield from _walk(path)
        elif path.is_file() or path.is_symlink():
            yield path


def _ignored(path: Path, rules: list[str]) -> bool:
    """The last rule that matches the path, or a folder above it, decides; `!` takes back."""
    names = [path.as_posix(), *(parent.as_posix() for parent in path.parents if parent.as_posix() != ".")]
    ignored = False
    for rule in rules:
        wanted, pattern = rule.startswith("!"), rule.lstrip("!").strip("/")
        variants = {pattern, pattern.removeprefix("**/")}
        if any(fnmatch.fnmatchcase(name, variant) for name in names for variant in variants):
            ignored = not wanted
    return ignored


class Images:
    """Builds and loads images; archives stay in the cache, so that a purged cluster gets them back without a build."""

    def __init__(self, cache: Cache, data: Data, containers: Containers) -> None:
        self._cache, self._data, self._containers = cache, data, containers

    def build(self, build: Build, report: Report) -> str:
        """The digest of the loaded image. Builds only when context, Dockerfile or arguments changed."""
        with report.part(build.reference.rpartition("/")[2]) as line:
            base = rootfs.build_base(self._cache, Silent())
            key = content_key(build, base.name)
            name = full_reference(build.reference)
            loaded = self._containers.images()
            marker = self._data.images / f"{hashlib.sha256(name.encode()).hexdigest()[:20]}.json"
            remembered = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else {}
            if remembered.get("key") == key and loaded.get(name) == remembered.get("digest"):
                line.show("cached")
                return str(remembered["digest"])
            archive = self._cache.images / f"{key}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.tar"
            if not archive.exists():
                line.show("building")
                with exclusive(self._cache.locks / "buildah"):
                    if not archive.exists():
                        self._make(build, base, archive)
            line.show("importing")
            self._containers.import_image(archive)
            archive.touch()
            digest = self._containers.images().get(name)
            if digest is None:
                raise LocalClusterError(f"{archive} was imported, but {name} is not among the cluster's images")
            marker.write_text(json.dumps({"reference": name, "key": key, "digest": digest}), encoding="utf-8")
            line.show("loaded")
            self._forget_old_archives()
            return digest

    def _make(self, build: Build, base: Path, archive: Path) -> None:
        base_image = self._base_image(base)
        offered = {"BASE_IMAGE": base_image, **_pip_settings(), **build.arguments}
        declared = set(
            re.findall(r"^\s*ARG\s+(\w+)", build.dockerfile.read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE)
        )
        arguments = [
            word
            for key, value in offered.items()
            if key in declared or key in build.arguments
            for word in ("--build-arg", f"{key}={value}")
        ]
        name = full_reference(build.reference)
        log = self._cache.root / "logs" / f"image-{archive.stem}.log"
        with self._host_settings() as volumes:
            self._buildah(
                "bud", "--isolation", "chroot", "--layers", "--pull-never", "--format", "docker", *volumes, *arguments,
                "--tag", name, "--file", build.dockerfile, build.context, log=log, timeout_seconds=1800,
            )  # fmt: skip
        fresh = archive.with_suffix(f".{os.getpid()}")
        archive.parent.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        try:
            self._buildah(
                "push", name, f"docker-archive:{fresh}:{name}", log=log.with_suffix(".push.log"), timeout_seconds=600
            )
            fresh.replace(archive)
        finally:
            fresh.unlink(missing_ok=True)

    def _base_image(self, base: Path) -> str:
        """The Debian base in buildah's own store, imported on first use."""
        name = f"localhost/modelrelease-base:{base.stem}"
        if name not in self._buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            container = self._buildah("from", "scratch").strip()
            self._buildah("add", container, base, "/", timeout_seconds=300)
            self._buildah(
                "config",
                "--env",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "--cmd",
                "bash",
                container,
            )
            self._buildah("commit", "--rm", container, name, timeout_seconds=300)
        return name

    @contextlib.contextmanager
    def _host_settings(self) -> Iterator[list[str]]:
        """Volumes that let pip inside a build reach packages the way pip outside does: its configuration, certificates,
        local wheel folders and cache. They exist only while a RUN line runs; nothing of them gets into the image."""
        self._cache.pip.mkdir(parents=True, exist_ok=True)
        config = self._cache.root / "scratch" / f"pip-{os.getpid()}.conf"
        config.parent.mkdir(parents=True, exist_ok=True)
        settings = _pip_config()
        lines = [
            "[global]",
            *(f"{key} = {value}" for key, value in settings.items()),
            f"cache-dir = {_PIP_CACHE_INSIDE}",
        ]
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        volumes = [f"{config}:/etc/pip.conf:ro", f"{self._cache.pip}:{_PIP_CACHE_INSIDE}"]
        if _CERTIFICATES.is_dir():
            volumes.append(f"{_CERTIFICATES}:{_CERTIFICATES}:ro")
        links = settings.get("find-links", "").split()
        volumes += [f"{folder}:{folder}:ro" for folder in links if folder.startswith("/") and Path(folder).is_dir()]
        try:
            yield [word for volume in volumes for word in ("--volume", volume)]
        finally:
            config.unlink(missing_ok=True)

    def _buildah(self, *words: str | Path, log: Path | None = None, timeout_seconds: float = 60) -> str:
        store = self._cache.buildah
        argv = [
            require_program("buildah"),
            "--storage-driver",
            "vfs",
            "--root",
            store / "storage",
            "--runroot",
            store / "run",
            *words,
        ]
        return run(argv, log=log, timeout_seconds=timeout_seconds)

    def _forget_old_archives(self) -> None:
        archives = sorted(self._cache.images.glob("*-*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in archives[_ARCHIVES_KEPT:]:
            old.unlink(missing_ok=True)


def _pip_config() -> dict[str, str]:
    """The effective settings of pip on this machine: files and environment together, the environment winning."""
    if shutil.which("pip") is None and not sys.executable:
        return {}
    rows = run([sys.executable, "-m", "pip", "config", "list"], timeout_seconds=60).splitlines()
    settings: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row.startswith(":env:")):
        name, _, value = row.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"").replace("\\n", "\n    ")
    settings.pop("cache-dir", None)
    return settings


def _pip_settings() -> dict[str, str]:
    """Environment of the caller that Dockerfiles may declare as arguments."""
    names = [
        name
        for name in os.environ
        if name.startswith("PIP_") or name.lower() in {"http_proxy", "https_proxy", "no_proxy"}
    ]
    return {name: os.environ[name] for name in names}
