"""The fixed ports and addresses of the cluster, and who holds a port that we cannot have."""

from __future__ import annotations

import errno
import random
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import PortTaken

LOOPBACK = "127.0.0.1"
NODE_ADDRESS = "10.201.0.1"
POD_CIDR = "10.244.0.0/24"
SERVICE_CIDR = "10.96.0.0/16"
API_CLUSTER_IP = "10.96.0.1"
DNS_CLUSTER_IP = "10.96.0.10"
PROMETHEUS_CLUSTER_IP = "10.96.0.90"


@dataclass(frozen=True, slots=True)
class Listen:
    """An address and a TCP port that a part listens on."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


ETCD = Listen(LOOPBACK, 12379)
ETCD_PEER = Listen(LOOPBACK, 12380)
API_SERVER = Listen(NODE_ADDRESS, 6443)
CONTROLLER_MANAGER = Listen(LOOPBACK, 10257)
SCHEDULER = Listen(LOOPBACK, 10259)
KUBELET = Listen(NODE_ADDRESS, 10250)
KUBELET_HEALTH = Listen(LOOPBACK, 10248)
PROXY_HEALTH = Listen(LOOPBACK, 10256)
PROXY_METRICS = Listen(LOOPBACK, 10249)
ISTIOD_GRPC = Listen(LOOPBACK, 15010)
ISTIOD_HTTP = Listen(LOOPBACK, 15080)
ISTIOD_MONITORING = Listen(LOOPBACK, 15014)
ENVOY_ADMIN = Listen(LOOPBACK, 15000)
GATEWAY = Listen(LOOPBACK, 8080)
PROMETHEUS = Listen(NODE_ADDRESS, 9090)
DNS = Listen(NODE_ADDRESS, 53)
DNS_HEALTH = Listen(LOOPBACK, 10053)
PROMETHEUS_ON_LOOPBACK = Listen(LOOPBACK, PROMETHEUS.port)
"""Nothing of ours listens there: a rule leads it to Prometheus, and would take it away from whoever does."""

BY_PART: Mapping[str, tuple[Listen, ...]] = {
    "etcd": (ETCD, ETCD_PEER),
    "kube-apiserver": (API_SERVER,),
    "kube-controller-manager": (CONTROLLER_MANAGER,),
    "kube-scheduler": (SCHEDULER,),
    "kubelet": (KUBELET, KUBELET_HEALTH),
    "kube-proxy": (PROXY_HEALTH, PROXY_METRICS),
    "coredns": (DNS, DNS_HEALTH),
    "istiod": (ISTIOD_GRPC, ISTIOD_HTTP, ISTIOD_MONITORING),
    "prometheus": (PROMETHEUS, PROMETHEUS_ON_LOOPBACK),
    "gateway": (GATEWAY, ENVOY_ADMIN),
}
"""What each part needs, known before there are programs to start."""
_DYING_SECONDS = 5.0
_IP_FREEBIND = 15  # linux/in.h; Python has no name for it


def is_free(listen: Listen) -> bool:
    """True where a process could listen there now, or could once the address exists.

    IP_FREEBIND lets the kernel answer also for an address that no interface has yet: one who listens on all addresses
    would hold the port there, too.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        try:
            probe.bind((listen.address, listen.port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def require_free(part: str, listens: tuple[Listen, ...]) -> None:
    """Raise PortTaken, naming port, holder and remedy, unless the part can listen everywhere it has to."""
    for listen in listens:
        if is_free(listen):
            continue
        holder = holder_of(listen.port)
        if holder is None and _becomes_free(listen):
            continue
        who = holder or "a process that cannot be seen from here (run as root to see it)"
        raise PortTaken(
            f"{part} needs {listen}, but that port is held by {who}. End that process, or, if it is a cluster of "
            f"another data folder, run `down` there (MODELRELEASE_DATA names the folder)."
        )


def _becomes_free(listen: Listen) -> bool:
    """The port of a process that was killed has no holder to see, and stays taken until its last thread has ended."""
    deadline = time.monotonic() + _DYING_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.05)
        if is_free(listen):
            return True
    return False


def holder_of(port: int) -> str | None:
    """`pid 17 (program arguments)` of the process that listens on the TCP port; None where unknown."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, inodes):
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            return f"pid {process.name} ({words[:120]})"
    return None


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _holds(process: Path, inodes: set[str]) -> bool:
    targets = {f"socket:[{inode}]" for inode in inodes}
    try:
        return any(str(link.readlink()) in targets for link in (process / "fd").iterdir())
    except OSError:
        return False


def free_ports(count: int) -> tuple[int, ...]:
    """Ports on the loopback address that nobody holds, below the range from which the kernel takes client ports.

    Another process can still take one before it is used; who starts a server on them must be ready to try again.
    """
    chosen: list[int] = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), k=400):
        if is_free(Listen(LOOPBACK, port)):
            chosen.append(port)
        if len(chosen) == count:
            return tuple(chosen)
    raise PortTaken(f"fewer than {count} free ports between 20000 and 32000 on {LOOPBACK}")
