"""A real API server for integration tests: etcd and kube-apiserver on free ports, in a folder that goes away.

    with ControlPlane() as control_plane:
        client = connect(control_plane.kubeconfig)

Several can run at once. All of it ends when the `with` block ends, when the object is dropped, or when the process that
made it dies, however it dies (see `warden`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from localcluster import kubernetes
from localcluster.access import Access
from localcluster.commands import tail
from localcluster.errors import LocalClusterError, PartFailed
from localcluster.folders import MANIFESTS, Cache
from localcluster.part import Part, wait_until
from localcluster.pki import Authority
from localcluster.ports import LOOPBACK, Listen, free_ports
from localcluster.processes import started_at
from localcluster.progress import Silent
from localcluster.provision import debian, go

_ATTEMPTS = 3
_KCM = "kube-controller-manager"


@dataclass(frozen=True, slots=True)
class Options:
    """What a control plane runs besides etcd and the API server."""

    controller_manager: bool = False
    """Garbage collection, Deployments' ReplicaSets, namespaces' deletion, default service accounts."""
    manifests: Sequence[Path] = ()
    """YAML files applied before it counts as ready, e.g. custom resource definitions."""


@dataclass(slots=True)
class _Running:
    folder: Path
    warden: subprocess.Popen[str]
    access: Access
    pids: dict[str, int]


class ControlPlane:
    """Started by `start` or by entering it as a context; reads like a cluster afterwards."""

    def __init__(
        self,
        options: Options | None = None,
        *,
        controller_manager: bool = False,
        manifests: Sequence[Path] = (),
        cache: Cache | None = None,
    ) -> None:
        self._options = options or Options(controller_manager, tuple(manifests))
        self._cache = cache or Cache.from_environment()
        self._running: _Running | None = None

    def __enter__(self) -> ControlPlane:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def access(self) -> Access:
        return self._started().access

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._started().access.admin

    @property
    def server(self) -> str:
        return self._started().access.server

    @property
    def audit_log(self) -> Path:
        """One JSON object per write request: who wrote what, and when."""
        return self._started().folder / "audit.log"

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by part, e.g. to freeze or kill the API server in a fault test."""
        return dict(self._started().pids)

    def kubeconfig_for_user(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for any user; without RBAC rules of yours it may do nothing."""
        running = self._started()
        return running.access.for_user(_free_name(running.folder, "user"), user, groups)

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a token of an existing service account."""
        running = self._started()
        return running.access.for_service_account(_free_name(running.folder, "service-account"), namespace, name)

    def kubectl(self, *words: str | Path, stdin: str | None = None) -> str:
        """Run kubectl as administrator."""
        return self._started().access.kubectl(*words, stdin=stdin)

    def apply(self, manifests: str) -> None:
        """Server-side apply as administrator."""
        self._started().access.apply(manifests)

    def start(self) -> ControlPlane:
        """Start, and return when the API server is ready. Ports are tried again when somebody was faster."""
        if self._running is not None:
            return self
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._running = _launch(self._cache, self._options)
                break
            except PartFailed as error:
                if attempt == _ATTEMPTS or "address already in use" not in str(error):
                    raise
        for path in self._options.manifests:
            self.kubectl("apply", "--server-side", "--filename", path)
        return self

    def stop(self) -> None:
        """End all processes and remove the folder; nothing happens where none was started."""
        running, self._running = self._running, None
        if running is not None:
            _dismiss(running.warden)

    def _started(self) -> _Running:
        if self._running is None:
            raise LocalClusterError("the control plane is not started")
        return self._running


def _launch(cache: Cache, options: Options) -> _Running:
    binaries = go.build(cache, go.KUBERNETES, Silent())
    folder = Path(tempfile.mkdtemp(prefix="control-plane-"))
    warden = subprocess.Popen(  # noqa: S603 - this package's own program
        [sys.executable, "-S", str(Path(__file__).with_name("warden.py")), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        return _bring_up(binaries, folder, warden, options)
    except BaseException:
        _dismiss(warden)
        raise


def _bring_up(binaries: Path, folder: Path, warden: subprocess.Popen[str], options: Options) -> _Running:
    client, peer, api, manager = (Listen(LOOPBACK, port) for port in free_ports(4))
    authority = Authority(folder / "pki")
    policy = (MANIFESTS / "audit-policy.yaml").read_text(encoding="utf-8")
    settings = kubernetes.ApiServer(api, client, authority, folder / "audit.log", policy, folder)
    access = Access(settings.url, authority, folder / "admin.kubeconfig", binaries / "kubectl")
    access.for_user(access.admin, kubernetes.ADMIN.user, kubernetes.ADMIN.groups)
    running = _Running(folder, warden, access, {})
    store = kubernetes.etcd(debian.require_program(debian.ETCD.program), client, peer, folder / "etcd")
    server = kubernetes.api_server(binaries / "kube-apiserver", settings)
    server = replace(server, argv=(*server.argv, "--shutdown-delay-duration=0s"))
    _start(running, store)
    _start(running, server)
    if options.controller_manager:
        pass_file = access.for_user(folder / f"{_KCM}.kubeconfig", f"system:{_KCM}")
        _start(running, kubernetes.controller_manager(binaries / _KCM, pass_file, authority, manager))
        if not wait_until(lambda: _has_default_account(access), 30, pause_seconds=0.3):
            raise PartFailed(f"{_KCM} made no default service account:\n{tail(folder / f'{_KCM}.log')}")
    return running


def _has_default_account(access: Access) -> bool:
    """The controllers are at work: pods and tokens can be asked for."""
    return bool(access.kubectl("get", "serviceaccount", "default", "--ignore-not-found", "--output=name").strip())


def _start(running: _Running, part: Part) -> None:
    """Let the warden start the part and wait until it is ready."""
    for path, text in part.files.items():
        path.write_text(text, encoding="utf-8")
    log = running.folder / f"{part.name}.log"
    if running.warden.stdin is None or running.warden.stdout is None:
        raise LocalClusterError("the warden has no pipes")
    running.warden.stdin.write(json.dumps({"argv": part.argv, "log": str(log)}) + "\n")
    running.warden.stdin.flush()
    answer = running.warden.stdout.readline()
    if not answer:
        raise PartFailed(f"{part.name} could not be started (the warden ended)")
    pid = running.pids[part.name] = int(answer)
    if not wait_until(part.ready, part.ready_seconds, alive=lambda: started_at(pid) is not None):
        raise PartFailed(f"{part.name} did not get ready:\n{tail(log)}")


def _dismiss(warden: subprocess.Popen[str]) -> None:
    """Closing its input makes the warden clean up and end; the wait keeps ports from being handed out too early."""
    if warden.stdin is not None:
        warden.stdin.close()
    try:
        warden.wait(timeout=20)
    except subprocess.TimeoutExpired:
        warden.kill()
        warden.wait(timeout=5)
    finally:
        if warden.stdout is not None:
            warden.stdout.close()


def _free_name(folder: Path, kind: str) -> Path:
    return folder / f"{kind}-{sum(1 for _ in folder.glob(f'{kind}-*'))}.kubeconfig"
