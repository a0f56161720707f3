"""Container images without a registry: built when their content changed, kept as archives, loaded into the cluster."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from localcluster.buildah import Buildah
from localcluster.containers import Containers
from localcluster.errors import LocalClusterError
from localcluster.folders import Cache, Data
from localcluster.image_source import Build, content_key, full_reference
from localcluster.locks import exclusive
from localcluster.pki import write_private
from localcluster.progress import Report, Silent
from localcluster.provision import rootfs

__all__ = ["Build", "Images"]

_ARCHIVES_KEPT = 12


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What was loaded under a name: the key of its content, and the digest that the cluster knows it by."""

    key: str
    digest: str


class Images:
    """Builds and loads images. Archives stay in the cache, so that a purged cluster gets them back without a build."""

    def __init__(self, cache: Cache, data: Data, containers: Containers) -> None:
        self._cache, self._data, self._containers = cache, data, containers
        self._buildah = Buildah(cache)

    def build(self, build: Build, report: Report) -> str:
        """The digest of the loaded image. Builds only when context, Dockerfile or arguments changed."""
        if not self._containers.reachable():
            raise LocalClusterError("the cluster is not up; images are loaded into it, so run `up` first")
        with report.part(build.reference.rpartition("/")[2]) as line:
            base = rootfs.build_base(self._cache, Silent())
            key = content_key(build, base.name)
            name = full_reference(build.reference)
            known = self._known(name)
            if known and known.key == key and self._containers.images().get(name) == known.digest:
                line.show("cached")
                return known.digest
            archive = self._cache.images / f"{key}-{_short_hash(name)}.tar"
            line.show("building")
            self._make(build, base, archive)
            line.show("importing")
            digest = self._load(archive, name)
            self._remember(name, _Loaded(key, digest))
            line.show("loaded")
            return digest

    def _make(self, build: Build, base: Path, archive: Path) -> None:
        archive.parent.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            with exclusive(self._cache.locks / "buildah"):
                if not archive.exists():
                    self._buildah.build(build, base, archive)
        archive.touch()
        by_age = sorted(self._cache.images.glob("*-*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in by_age[_ARCHIVES_KEPT:]:
            old.unlink(missing_ok=True)

    def _load(self, archive: Path, name: str) -> str:
        self._containers.import_image(archive)
        digest = self._containers.images().get(name)
        if digest is None:
            raise LocalClusterError(f"{archive} was imported, but {name} is not among the cluster's images")
        return digest

    def _marker(self, name: str) -> Path:
        return self._data.images / f"{_short_hash(name)}.json"

    def _known(self, name: str) -> _Loaded | None:
        try:
            content = json.loads(self._marker(name).read_text(encoding="utf-8"))
            return _Loaded(content["key"], content["digest"])
        except (OSError, ValueError, KeyError):
            return None

    def _remember(self, name: str, loaded: _Loaded) -> None:
        content = {"reference": name, "key": loaded.key, "digest": loaded.digest}
        write_private(self._marker(name), json.dumps(content).encode())


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
