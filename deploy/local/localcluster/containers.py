"""Images and containers in the cluster's containerd, through its own command line tool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from localcluster.commands import run
from localcluster.errors import CommandFailed, LocalClusterError
from localcluster.folders import Data
from localcluster.part import accepts
from localcluster.provision.debian import require_program

_NETWORK_NAMESPACES = Path("/run/netns")
_CNI_RESULTS = Path("/var/lib/cni/results")
_REMOVAL_ROUNDS = 6
_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")
_FIXED_FOLDERS = tuple(
    Path(name)
    for name in (
        "/run/containerd/runc/k8s.io",
        "/run/containerd/runc",
        "/run/containerd/s",
        "/run/containerd",
        _DEVICE_PLUGINS,
        _DEVICE_PLUGINS.parent,
    )
)
_LOG_LINKS = Path("/var/log/containers")


class Containers:
    """The `k8s.io` namespace of the cluster's containerd: what the kubelet sees."""

    def __init__(self, data: Data) -> None:
        self._data = data

    def _ctr(self, *words: str | Path, timeout_seconds: float = 60) -> str:
        argv = [require_program("ctr"), "--address", self._data.containerd_socket, "--namespace", "k8s.io", *words]
        return run(argv, timeout_seconds=timeout_seconds)

    def reachable(self) -> bool:
        return accepts(self._data.containerd_socket)()

    def images(self) -> dict[str, str]:
        """Name to digest, for names as people write them; the ids that containerd keeps beside them are left out."""
        rows = [row.split() for row in self._ctr("images", "list").splitlines()[1:]]
        return {
            row[0]: row[2] for row in rows if len(row) > 2 and not row[0].startswith("sha256:") and "@" not in row[0]
        }

    def import_image(self, archive: Path) -> None:
        """Load a docker or OCI archive. Each image in it also gets its name with the digest, as if it had been pulled
        from a registry: so pods report a digest, and a promotion by digest finds the image here."""
        if not self.reachable():
            raise LocalClusterError("the cluster is not up: nothing to import the image into")
        before = self.images()
        self._ctr("images", "import", "--no-unpack=false", archive, timeout_seconds=300)
        for name, digest in self.images().items():
            if before.get(name) != digest:
                repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
                self._ctr("images", "tag", "--force", name, f"{repository}@{digest}")

    def pid(self, container: str) -> int | None:
        """The process on this machine that a container runs in; None while it runs in none."""
        rows = [row.split() for row in self._ctr("tasks", "list").splitlines()[1:]]
        return next((int(row[1]) for row in rows if row[0] == container and row[2] == "RUNNING"), None)

    def remove_all(self) -> None:
        """End every container and free what its pod held on the machine. The kubelet must be stopped already, or it
        would start them again; it makes new ones for the same pods at the next `up`."""
        namespaces: set[Path] = set()
        failures: list[str] = []
        for _ in range(_REMOVAL_ROUNDS):
            containers = self._ctr("containers", "list", "--quiet").split()
            if not containers:
                break
            for container in containers:
                namespaces.update(self._network_namespaces(container))
                failures = self._remove(container)
        else:
            raise LocalClusterError("containers cannot be removed: " + "; ".join(failures))
        for namespace in namespaces:
            if namespace.is_relative_to(_NETWORK_NAMESPACES) or namespace.is_relative_to("/var/run/netns"):
                _detach(namespace)
                namespace.unlink(missing_ok=True)
        shutil.rmtree(self._data.cni / "addresses", ignore_errors=True)

    def _network_namespaces(self, container: str) -> set[Path]:
        try:
            spec = json.loads(self._ctr("containers", "info", container))["Spec"]
        except (CommandFailed, ValueError, KeyError):
            return set()
        entries = spec.get("linux", {}).get("namespaces", [])
        return {Path(entry["path"]) for entry in entries if entry.get("type") == "network" and entry.get("path")}

    def _remove(self, container: str) -> list[str]:
        """Kill, then delete. Each step may find nothing to do any more, or a shim that is just ending: what failed is
        returned, and whether it matters shows in whether the container is still there."""
        failures: list[str] = []
        kill = ("tasks", "kill", "--all", "--signal", "SIGKILL")
        for words in (kill, ("tasks", "delete", "--force"), ("containers", "delete")):
            try:
                self._ctr(*words, container, timeout_seconds=20)
            except CommandFailed as error:
                failures.append(str(error))
        for result in _CNI_RESULTS.glob(f"*-{container}-*"):
            result.unlink(missing_ok=True)
        return failures


def remove_log_links(data: Data) -> None:
    """The kubelet puts links to container logs in a folder that cannot be configured; take ours out."""
    if not _LOG_LINKS.is_dir():
        return
    for link in _LOG_LINKS.iterdir():
        if link.is_symlink() and link.readlink().is_relative_to(data.pod_logs):
            link.unlink(missing_ok=True)


def remove_empty_folders() -> None:
    """containerd and the kubelet make folders at places that cannot be configured: gone, unless others use them."""
    for socket in _DEVICE_PLUGINS.glob("kubelet.sock"):
        socket.unlink(missing_ok=True)
    for folder in _FIXED_FOLDERS:
        try:
            folder.rmdir()
        except OSError:
            continue  # not there, or not empty and so not only ours


def unmount_below(folders: tuple[Path, ...]) -> None:
    """Unmount all that containerd and the kubelet mounted below these folders, the deepest first."""
    for point in sorted(_mount_points(), key=lambda path: len(path.parts), reverse=True):
        if any(point.is_relative_to(folder) for folder in folders):
            _detach(point)


def _mount_points() -> list[Path]:
    rows = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [Path(row.split()[4].replace("\\040", " ")) for row in rows]


def _detach(point: Path) -> None:
    try:
        run([require_program("umount"), "--lazy", point], timeout_seconds=20)
    except CommandFailed as error:
        if "not mounted" not in str(error) and "no mount point" not in str(error):
            raise
