"""Which parts one cluster consists of, and in which order they start."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from localcluster import dns, kubernetes, mesh, node
from localcluster.access import Access
from localcluster.folders import MANIFESTS, Cache, Data
from localcluster.part import Part
from localcluster.pki import Authority, Identity
from localcluster.ports import (
    API_SERVER,
    CONTROLLER_MANAGER,
    DNS,
    DNS_CLUSTER_IP,
    ETCD,
    ETCD_PEER,
    GATEWAY,
    NODE_ADDRESS,
    PROMETHEUS,
    PROMETHEUS_CLUSTER_IP,
    SCHEDULER,
)
from localcluster.provision import debian, envoy, go

_COMPONENTS = {
    "kube-controller-manager": Identity("system:kube-controller-manager"),
    "kube-scheduler": Identity("system:kube-scheduler"),
    "kubelet": node.NODE_IDENTITY,
    "kube-proxy": Identity("system:kube-proxy"),
    "istiod": Identity("istiod"),
    "coredns": Identity("coredns"),
}


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Parts in three stages. Within a stage all start at once; between the last two the manifests are applied."""

    foundation: tuple[Part, ...]
    api: tuple[Part, ...]
    rest: tuple[Part, ...]
    access: Access

    @property
    def parts(self) -> tuple[Part, ...]:
        return (*self.foundation, *self.api, *self.rest)


def draw(cache: Cache, data: Data) -> Blueprint:
    """The cluster of this data folder. Makes keys and kubeconfigs where there are none yet, and starts nothing."""
    kubernetes_folder, istio_folder = go.output_folder(cache, go.KUBERNETES), go.output_folder(cache, go.ISTIO)
    authority = Authority(data.pki)
    policy = (MANIFESTS / "audit-policy.yaml").read_text(encoding="utf-8")
    settings = kubernetes.ApiServer(
        API_SERVER, ETCD, authority, data.audit_log, policy, data.config, published=True, kubelet=True
    )
    access = Access(settings.url, authority, data.kubeconfig, kubernetes_folder / "kubectl")
    access.for_user(data.kubeconfig, kubernetes.ADMIN.user, kubernetes.ADMIN.groups)
    keys = {
        name: access.for_user(data.pki / f"{name}.kubeconfig", who.user, who.groups)
        for name, who in _COMPONENTS.items()
    }

    def client(name: str) -> node.Client:
        return node.Client(kubernetes_folder / name, keys[name])

    manager, scheduler = client("kube-controller-manager"), client("kube-scheduler")
    return Blueprint(
        foundation=(
            kubernetes.etcd(debian.require_program("etcd"), ETCD, ETCD_PEER, data.etcd),
            node.containerd(debian.require_program("containerd"), data),
        ),
        api=(kubernetes.api_server(kubernetes_folder / "kube-apiserver", settings),),
        rest=(
            kubernetes.controller_manager(manager.binary, manager.kubeconfig, authority, CONTROLLER_MANAGER),
            kubernetes.scheduler(scheduler.binary, scheduler.kubeconfig, authority, SCHEDULER),
            node.kubelet(client("kubelet"), data, authority),
            node.kube_proxy(client("kube-proxy"), data),
            dns.coredns(go.output_folder(cache, go.COREDNS) / "coredns", keys["coredns"], data),
            mesh.istiod(istio_folder / "pilot-discovery", keys["istiod"], data),
            mesh.pod_targets(settings.url, authority, data),
            mesh.prometheus(debian.require_program("prometheus"), data),
            mesh.gateway(envoy.binary(cache), data),
        ),
        access=access,
    )


def custom_resources(cache: Cache) -> Path:
    """Istio's custom resource definitions, as its own module has them."""
    return go.output_folder(cache, go.ISTIO) / "crd-all.gen.yaml"


def manifest(name: str) -> str:
    """A manifest with the addresses of this cluster filled in."""
    return string.Template((MANIFESTS / name).read_text(encoding="utf-8")).substitute(
        dns_cluster_ip=DNS_CLUSTER_IP,
        dns_port=DNS.port,
        gateway_port=GATEWAY.port,
        node_address=NODE_ADDRESS,
        prometheus_cluster_ip=PROMETHEUS_CLUSTER_IP,
        prometheus_port=PROMETHEUS.port,
    )
