"""The parts that make this machine a node: containerd, kubelet and kube-proxy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from localcluster.dns import DOMAIN
from localcluster.folders import Data
from localcluster.part import Part, accepts, answers
from localcluster.pki import Authority, Identity
from localcluster.ports import (
    DNS_CLUSTER_IP,
    KUBELET,
    KUBELET_HEALTH,
    NODE_ADDRESS,
    POD_CIDR,
    PROXY_HEALTH,
    PROXY_METRICS,
)
from localcluster.provision.debian import CNI_PLUGINS
from localcluster.provision.rootfs import PAUSE_IMAGE

NODE_NAME = "local"
NODE_IDENTITY = Identity(f"system:node:{NODE_NAME}", ("system:nodes",), (NODE_ADDRESS, NODE_NAME))
_POD_GROUP = (
    (Path("/sys/fs/cgroup/cpu/k8s.io/cpu.shares"), 10_240),
    (Path("/sys/fs/cgroup/k8s.io/cpu.weight"), 1_000),
)
NETWORK_NAME = "modelrelease-local"


@dataclass(frozen=True, slots=True)
class Client:
    """A component of the node and the kubeconfig that it reaches the API server with."""

    binary: Path
    kubeconfig: Path


def cni_network(data: Data) -> str:
    """Pods hang on point-to-point links, not on a bridge: every packet is routed, so that a Service's address works
    between two pods of this node also on kernels without bridge netfilter."""
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": NETWORK_NAME,
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(data.cni / "addresses"),
                        "ranges": [[{"subnet": POD_CIDR}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
        indent=2,
    )


def containerd(binary: str, data: Data) -> Part:
    """The container runtime, with root, state and socket of its own."""
    config = data.config / "containerd.toml"
    text = f"""\
version = 2
root = "{data.containerd_root}"
state = "{data.containerd_state}"
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "{data.containerd_socket}"

[ttrpc]
  address = "{data.containerd_socket}.ttrpc"

[debug]
  level = "warn"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  max_container_log_line_size = 65536

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI_PLUGINS}"
  conf_dir = "{data.config / "cni"}"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""
    network = data.config / "cni" / "10-modelrelease-local.conflist"
    return Part(
        "containerd",
        (binary, "--config", str(config)),
        accepts(data.containerd_socket),
        files={config: text, network: cni_network(data)},
        ready_seconds=30,
    )


def kubelet(client: Client, data: Data, authority: Authority) -> Part:
    """The node agent. The settings about cgroups, swap and limits let it run with cgroup v1 and without systemd."""
    serving = authority.issue("kubelet-serving", NODE_IDENTITY)
    config = data.config / "kubelet.yaml"
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": KUBELET.address,
        "port": KUBELET.port,
        "healthzBindAddress": KUBELET_HEALTH.address,
        "healthzPort": KUBELET_HEALTH.port,
        "readOnlyPort": 0,
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority.pair.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{data.containerd_socket}",
        "podLogsDir": str(data.pod_logs),
        "failSwapOn": False,
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "serializeImagePulls": False,
        "maxPods": 110,
        # No garbage collection of images: nothing could pull them again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "memory.available": "100Mi",
        },
        "shutdownGracePeriod": "0s",
        "clusterDomain": DOMAIN,
        "clusterDNS": [DNS_CLUSTER_IP],
    }
    argv = (
        str(client.binary),
        f"--config={config}",
        f"--kubeconfig={client.kubeconfig}",
        f"--root-dir={data.kubelet}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_ADDRESS}",
        "--v=0",
    )
    return Part(
        "kubelet",
        argv,
        answers(KUBELET_HEALTH, "/healthz"),
        (KUBELET, KUBELET_HEALTH),
        files={config: yaml.safe_dump(settings)},
    )


def favour_pods(groups: Sequence[tuple[Path, int]] = _POD_GROUP) -> None:
    """Let all pods together weigh as much as ten other processes (cgroup v1 or v2).

    The kernel shares the processor between the pods as one group and every process beside them; with the default a
    compiler or a test run next to the cluster starves what is to be measured. There is no group before the first pod.
    """
    for path, weight in groups:
        if path.exists():
            path.write_text(str(weight), encoding="ascii")


def kube_proxy(client: Client, data: Data) -> Part:
    """Service addresses, by iptables. Kernel-wide connection-tracking settings of the machine are left alone."""
    config = data.config / "kube-proxy.yaml"
    settings = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": NODE_NAME,
        "clientConnection": {"kubeconfig": str(client.kubeconfig)},
        "clusterCIDR": POD_CIDR,
        "detectLocalMode": "ClusterCIDR",
        "healthzBindAddress": str(PROXY_HEALTH),
        "metricsBindAddress": str(PROXY_METRICS),
        "nodePortAddresses": [f"{NODE_ADDRESS}/32"],
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "100ms", "syncPeriod": "5m"},
    }
    argv = (str(client.binary), f"--config={config}", "--v=0")
    return Part(
        "kube-proxy",
        argv,
        answers(PROXY_HEALTH, "/healthz"),
        (PROXY_HEALTH, PROXY_METRICS),
        files={config: yaml.safe_dump(settings)},
    )
