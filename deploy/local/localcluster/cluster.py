"""The whole local cluster: up, down, and handles for tests and demos.

cluster = Cluster()
cluster.up()
requests.get(cluster.gateway_url)
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from localcluster import blueprint, containers, network, shims
from localcluster.access import Access
from localcluster.build import everything, prerequisites
from localcluster.containers import Containers
from localcluster.errors import LocalClusterError
from localcluster.folders import Cache, Data
from localcluster.image_source import Build
from localcluster.images import Images
from localcluster.locks import exclusive
from localcluster.node import NODE_NAME, favour_pods
from localcluster.part import Part, wait_until
from localcluster.ports import GATEWAY, LOOPBACK, PROMETHEUS, PROMETHEUS_CLUSTER_IP
from localcluster.preflight import ports_for_missing_parts, require_root
from localcluster.progress import Report, Silent
from localcluster.provision import debian, go, rootfs
from localcluster.supervision import PartStatus, Supervision


class Cluster:
    """One cluster per machine, in one data folder. Making the object starts nothing."""

    gateway_url = f"http://{GATEWAY}"
    prometheus_url = f"http://{LOOPBACK}:{PROMETHEUS.port}"
    prometheus_url_for_pods = f"http://{PROMETHEUS_CLUSTER_IP}:{PROMETHEUS.port}"

    def __init__(self, cache: Cache | None = None, data: Data | None = None) -> None:
        self.cache = cache or Cache.from_environment()
        self.data = data or Data.from_environment()
        self.containers = Containers(self.data)
        self.images = Images(self.cache, self.data, self.containers)
        self._supervision = Supervision(self.data)
        self._drawn: blueprint.Blueprint | None = None

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.data.kubeconfig

    @property
    def audit_log(self) -> Path:
        """One JSON object per write request to the API server."""
        return self.data.audit_log

    @property
    def access(self) -> Access:
        """kubectl, and kubeconfigs for other users and service accounts."""
        return self._blueprint().access

    def kubectl(self, *words: str | Path, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """Run kubectl as administrator; its standard output."""
        return self.access.kubectl(*words, stdin=stdin, timeout_seconds=timeout_seconds)

    def preflight(self, report: Report | None = None) -> None:
        """Say at once what would make `up` fail after minutes of work: rights, another's ports, Go, Debian packages."""
        require_root("the whole cluster makes containers and network interfaces")
        self._refuse_another()
        ports_for_missing_parts(self._supervision)
        prerequisites(self.cache, report or Silent())

    def build(self, report: Report | None = None) -> None:
        """Make everything that does not depend on a running cluster; what exists already is left as it is."""
        chosen = report or Silent()
        prerequisites(self.cache, chosen)
        everything(self.cache, chosen)

    def up(self, report: Report | None = None) -> None:
        """Build what is missing and start what does not run. Safe to repeat, after a kill of anything at any time."""
        chosen = report or Silent()
        self.preflight(chosen)
        everything(self.cache, chosen)
        with exclusive(self.cache.locks / "cluster"):
            self._start(chosen)

    def down(self, report: Report | None = None, *, purge: bool = False) -> None:
        """Stop what was started here and take away all it left on the machine; with `purge` also the data."""
        require_root("the whole cluster makes containers and network interfaces")
        chosen = report or Silent()
        with exclusive(self.cache.locks / "cluster"):
            if self.data.records.exists():
                self._take_down(chosen)
            if purge:
                debian.allow_daemons(self.cache, debian.POLICY)
            if purge and self.data.root.exists():
                shutil.rmtree(self.data.root)
                self._drawn = None

    def status(self) -> tuple[PartStatus, ...]:
        """How each part is now."""
        if not self.data.root.exists():
            return ()
        parts = self._blueprint().parts
        with ThreadPoolExecutor(max_workers=len(parts)) as pool:
            return tuple(pool.map(self._supervision.status, parts))

    def log(self, name: str) -> Path:
        """The log file of a part."""
        return self._supervision.log(self._part(name).name)

    def pid(self, name: str) -> int | None:
        """The process id of a part, while it runs."""
        return self._supervision.pid(self._part(name).name)

    def start(self, name: str) -> None:
        """Start one part (again) and wait until it is ready."""
        self._supervision.ensure([self._part(name)], Silent())

    def stop(self, name: str) -> bool:
        """End one part in good order."""
        return self._supervision.stop(self._part(name))

    def send(self, name: str, number: signal.Signals) -> bool:
        """Signal one part: SIGKILL, or SIGSTOP and SIGCONT to freeze it for a while."""
        return self._supervision.send(self._part(name).name, number)

    def build_image(self, build: Build, report: Report | None = None) -> str:
        """Build an image and load it into the cluster; the digest of what is loaded."""
        return self.images.build(build, report or Silent())

    def favour_pods(self) -> None:
        """Let pods have the processor before anything that runs beside them; to be called when there are some."""
        favour_pods()

    def set_gpus(self, count: int) -> None:
        """Let the node claim that many GPUs; the kubelet knows nothing of them, the scheduler counts them."""
        self._file("gpus").write_text(str(count), encoding="ascii")
        amount = {"nvidia.com/gpu": str(count)}
        patch = json.dumps({"status": {"capacity": amount, "allocatable": amount}})
        self.kubectl("patch", "node", NODE_NAME, "--subresource=status", "--type=merge", f"--patch={patch}")

    def _file(self, name: str) -> Path:
        return self.data.root / name

    def _blueprint(self) -> blueprint.Blueprint:
        if self._drawn is None:
            self.data.create()
            self._drawn = blueprint.draw(self.cache, self.data)
        return self._drawn

    def _part(self, name: str) -> Part:
        for part in self._blueprint().parts:
            if part.name == name:
                return part
        known = ", ".join(part.name for part in self._blueprint().parts)
        raise LocalClusterError(f"no part is called {name}; there are: {known}")

    def _start(self, report: Report) -> None:
        drawn = self._blueprint()
        self._claim_machine()
        network.ensure(self._file("network.json"))
        self._supervision.ensure(drawn.foundation, report)
        if rootfs.PAUSE_IMAGE not in self.containers.images():
            self.containers.import_image(rootfs.pause_archive(self.cache))
        self._supervision.ensure(drawn.api, report)
        with report.part("manifests") as line:
            line.show("applying")
            self._apply_foundation(drawn.access)
            line.show("applied")
        self._supervision.ensure(drawn.rest, report)
        drawn.access.apply(blueprint.manifest("gateway.yaml"))
        with report.part("node and gateway") as line:
            line.show("waiting")
            self._wait_for_node(drawn.access)
            line.show("ready")

    def _claim_machine(self) -> None:
        self._refuse_another()
        self.data.sockets.mkdir(mode=0o700, exist_ok=True)
        (self.data.sockets / "owner").write_text(str(self.data.root), encoding="utf-8")

    def _refuse_another(self) -> None:
        """Ports, addresses and firewall rules are the machine's: two clusters would take them away from each other."""
        owner = self._owner()
        if owner not in {None, self.data.root} and any(Supervision(Data(owner)).running_names()):
            raise LocalClusterError(
                f"the cluster of {owner} runs on this machine; first run: MODELRELEASE_DATA={owner} localcluster down"
            )

    def _owner(self) -> Path | None:
        """The data folder of the cluster that this machine's network is set up for."""
        owner = self.data.sockets / "owner"
        return Path(owner.read_text(encoding="utf-8")) if owner.exists() else None

    def _apply_foundation(self, access: Access) -> None:
        """Istio's definitions take seconds to apply: only when they changed, or somebody deleted them."""
        resources = blueprint.custom_resources(self.cache)
        marker = self._file("istio-definitions")
        current = str(resources.parent.name)
        known = access.kubectl(
            "get", "crd", "gateways.networking.istio.io", "--ignore-not-found", "--output=name"
        ).strip()
        if not known or not marker.exists() or marker.read_text(encoding="utf-8") != current:
            access.kubectl("apply", "--server-side", "--force-conflicts", "--filename", resources, timeout_seconds=120)
            access.kubectl(
                "wait", "--for=condition=Established", "--timeout=60s", "--filename", resources, timeout_seconds=90
            )
            marker.write_text(current, encoding="utf-8")
        for name in ("istio-system.yaml", "dns.yaml"):
            access.apply(blueprint.manifest(name))

    def _wait_for_node(self, access: Access) -> None:
        access.kubectl("wait", "--for=create", f"node/{NODE_NAME}", "--timeout=60s", timeout_seconds=90)
        access.kubectl("wait", "--for=condition=Ready", f"node/{NODE_NAME}", "--timeout=60s", timeout_seconds=90)
        gpus = self._file("gpus")
        if gpus.exists():
            self.set_gpus(int(gpus.read_text(encoding="ascii")))
        if not wait_until(_gateway_listens, 30):
            logs = " and ".join(str(self._supervision.log(name)) for name in ("istiod", "gateway"))
            raise LocalClusterError(f"nothing listens on {GATEWAY}: see {logs}")

    def _take_down(self, report: Report) -> None:
        drawn = self._blueprint()
        runtime = drawn.foundation[-1]
        for part in reversed(drawn.rest):
            self._stop_reported(part, report)
        with report.part("containers") as line:
            if self._has_containers():
                line.show("removing")
                self._supervision.ensure([runtime], Silent())
                self.containers.remove_all()
            line.show("removed")
        for part in reversed((*drawn.foundation, *drawn.api)):
            self._stop_reported(part, report)
        shims.end(self.data.containerd_socket)
        with report.part("mounts and network") as line:
            containers.unmount_below((self.data.root, self.data.sockets))
            containers.remove_log_links(self.data)
            network.remove(self._file("network.json"), go.output_folder(self.cache, go.KUBERNETES) / "kube-proxy")
            if self._owner() not in {None, self.data.root}:
                line.show("another's")
                return
            shutil.rmtree(self.data.sockets, ignore_errors=True)
            containers.remove_empty_folders()
            line.show("removed")
        if left := network.leftovers():
            raise LocalClusterError("the cluster is down, but these are left:\n" + "\n".join(left))

    def _stop_reported(self, part: Part, report: Report) -> None:
        with report.part(part.name) as line:
            line.show("stopping")
            line.show("stopped" if self._supervision.stop(part) else "not running")

    def _has_containers(self) -> bool:
        tasks = self.data.containerd_state / "io.containerd.runtime.v2.task" / "k8s.io"
        return (tasks.is_dir() and any(tasks.iterdir())) or self._supervision.pid("containerd") is not None


def _gateway_listens() -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((GATEWAY.address, GATEWAY.port)) == 0
