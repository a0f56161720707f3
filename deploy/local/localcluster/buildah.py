"""Builds images with buildah, in the way this machine reaches package indexes."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from localcluster.commands import run, run_into
from localcluster.containers import unmount_below
from localcluster.errors import CommandFailed
from localcluster.folders import Cache
from localcluster.image_source import Build, full_reference
from localcluster.provision.debian import require_program

_CERTIFICATES = Path("/etc/ssl/certs")
_PIP_CACHE_INSIDE = "/var/cache/localcluster-pip"


class Buildah:
    """One store of layers per cache folder."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._driver: str | None = None

    def build(self, build: Build, base: Path, archive: Path) -> None:
        """Build from the Dockerfile on the base image, and write the result as an archive, whole or not at all.

        One build at a time: what is mounted in the store is of one that a signal ended.
        """
        unmount_below((self._cache.buildah,))
        name = full_reference(build.reference)
        log = self._cache.root / "logs" / f"image-{archive.stem}.log"
        arguments = self._arguments(build, self._base_image(base))
        fixed = ("--isolation", "chroot", "--layers", "--pull-never", "--format", "docker", "--tag", name)
        with self._host_settings() as volumes:
            source = ("--file", str(build.dockerfile), str(build.context))
            self._into(log, "bud", *fixed, *volumes, *arguments, *source, timeout_seconds=1800)
        fresh = archive.with_suffix(f".{os.getpid()}")
        fresh.unlink(missing_ok=True)
        try:
            self._into(
                log.with_suffix(".push.log"), "push", name, f"docker-archive:{fresh}:{name}", timeout_seconds=600
            )
            fresh.replace(archive)
        finally:
            fresh.unlink(missing_ok=True)

    def _arguments(self, build: Build, base_image: str) -> list[str]:
        """What the caller gives, and of what we could add only that which the Dockerfile declares."""
        text = build.dockerfile.read_text(encoding="utf-8")
        declared = set(re.findall(r"^\s*ARG\s+(\w+)", text, re.MULTILINE | re.IGNORECASE))
        offered = {"BASE_IMAGE": base_image, **_pip_environment()}
        chosen = {key: value for key, value in offered.items() if key in declared} | dict(build.arguments)
        return [word for key, value in chosen.items() for word in ("--build-arg", f"{key}={value}")]

    def _base_image(self, base: Path) -> str:
        """The Debian base in buildah's own store, imported on first use."""
        name = f"localhost/modelrelease-base:{base.stem}"
        if name not in self._run("images", "--format", "{{.Name}}:{{.Tag}}").split():
            container = self._run("from", "scratch").strip()
            path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            self._run("add", container, base, "/", timeout_seconds=300)
            self._run("config", "--env", path, "--cmd", "bash", container)
            self._run("commit", "--rm", container, name, timeout_seconds=300)
        return name

    @contextlib.contextmanager
    def _host_settings(self) -> Iterator[list[str]]:
        """Volumes that let pip inside a build reach packages the way pip outside does: its configuration, certificates,
        local wheel folders and cache. They exist only while a RUN line runs; nothing of them gets into the image."""
        self._cache.pip.mkdir(parents=True, exist_ok=True)
        config = self._cache.root / "scratch" / f"pip-{os.getpid()}.conf"
        config.parent.mkdir(parents=True, exist_ok=True)
        settings = pip_settings()
        rows = [f"{key} = {value}" for key, value in settings.items()]
        config.touch(mode=0o600)
        config.write_text("\n".join(["[global]", *rows, f"cache-dir = {_PIP_CACHE_INSIDE}", ""]), encoding="utf-8")
        volumes = [f"{config}:/etc/pip.conf:ro", f"{self._cache.pip}:{_PIP_CACHE_INSIDE}"]
        if _CERTIFICATES.is_dir():
            volumes.append(f"{_CERTIFICATES}:{_CERTIFICATES}:ro")
        links = settings.get("find-links", "").split()
        volumes += [f"{folder}:{folder}:ro" for folder in links if folder.startswith("/") and Path(folder).is_dir()]
        try:
            yield [word for volume in volumes for word in ("--volume", volume)]
        finally:
            config.unlink(missing_ok=True)

    def _run(self, *words: str | Path, timeout_seconds: float = 60) -> str:
        return run([*self._command(), *words], timeout_seconds=timeout_seconds)

    def _into(self, log: Path, *words: str | Path, timeout_seconds: float) -> None:
        run_into(log, [*self._command(), *words], timeout_seconds=timeout_seconds)

    def _command(self) -> list[str]:
        if self._driver is None:
            self._driver = self._usable_driver()
        return self._with_driver(self._driver)

    def _usable_driver(self) -> str:
        """Overlay copies nothing; vfs copies all layers below for each new one, but works on every file system."""
        try:
            run([*self._with_driver("overlay"), "info"])
        except CommandFailed:
            return "vfs"
        return "overlay"

    def _with_driver(self, driver: str) -> list[str]:
        store = self._cache.buildah / driver
        options = ("--storage-driver", driver, "--root", str(store / "storage"), "--runroot", str(store / "run"))
        return [require_program("buildah"), *options]


def pip_settings() -> dict[str, str]:
    """The effective settings of pip on this machine: files and environment together, the environment winning."""
    rows = run([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    settings: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row.startswith(":env:")):
        name, _, value = row.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"").replace("\\n", "\n    ")
    settings.pop("cache-dir", None)
    return settings


def _pip_environment() -> dict[str, str]:
    """pip's variables, for Dockerfiles that declare them. Proxies are passed on by buildah itself."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
