"""Where things lie on disk: what is built once (Cache) and what belongs to one running cluster (Data)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
MODULES = PACKAGE.parent / "modules"
MANIFESTS = PACKAGE.parent / "manifests"


def _home(variable: str, fallback: str) -> Path:
    configured = os.environ.get(variable)
    return Path(configured) if configured else Path.home() / fallback


@dataclass(frozen=True, slots=True)
class Cache:
    """Built binaries, the base image and image archives. Shared by all checkouts of one user."""

    root: Path

    @classmethod
    def from_environment(cls) -> Cache:
        """`MODELRELEASE_CACHE`, else the user's cache folder."""
        configured = os.environ.get("MODELRELEASE_CACHE")
        root = Path(configured) if configured else _home("XDG_CACHE_HOME", ".cache") / "modelrelease"
        return cls(root.absolute())

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def buildah(self) -> Path:
        return self.root / "buildah"

    @property
    def pip(self) -> Path:
        return self.root / "pip"


@dataclass(frozen=True, slots=True)
class Data:
    """Everything one cluster keeps: etcd, keys, containers, logs, the kubeconfig and which processes it started.

    Sockets are apart, in a folder with a short name: the kernel allows them 107 bytes, and a data folder may lie deep.
    """

    root: Path
    sockets: Path = Path("/run/modelrelease-local")

    @classmethod
    def from_environment(cls) -> Data:
        """`MODELRELEASE_DATA`, else the user's state folder."""
        configured = os.environ.get("MODELRELEASE_DATA")
        root = Path(configured) if configured else _home("XDG_STATE_HOME", ".local/state") / "modelrelease" / "local"
        return cls(root.absolute())

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.log"

    @property
    def records(self) -> Path:
        return self.root / "records"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def etcd(self) -> Path:
        return self.root / "etcd"

    @property
    def kubelet(self) -> Path:
        return self.root / "kubelet"

    @property
    def pod_logs(self) -> Path:
        return self.root / "pod-logs"

    @property
    def containerd_root(self) -> Path:
        return self.root / "containerd"

    @property
    def containerd_state(self) -> Path:
        return self.root / "containerd-state"

    @property
    def containerd_socket(self) -> Path:
        return self.sockets / "containerd.sock"

    @property
    def cni(self) -> Path:
        return self.root / "cni"

    @property
    def prometheus(self) -> Path:
        return self.root / "prometheus"

    @property
    def pod_targets(self) -> Path:
        return self.root / "pod-targets.json"

    @property
    def images(self) -> Path:
        return self.root / "images"

    def create(self) -> None:
        """Make the folders, private to the user because keys lie in them."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.logs, self.records, self.config, self.pki, self.etcd, self.images, self.prometheus):
            folder.mkdir(exist_ok=True, mode=0o700)
