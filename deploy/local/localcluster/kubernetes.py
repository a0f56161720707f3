"""The parts of Kubernetes' control plane, for the cluster and for the small one of integration tests alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localcluster.part import Part, answers
from localcluster.pki import Authority, Identity
from localcluster.ports import API_CLUSTER_IP, LOOPBACK, SERVICE_CIDR, Listen

ADMIN = Identity("admin", ("system:masters",))


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Where an API server runs and what it is told; the rest follows."""

    listen: Listen
    etcd: Listen
    authority: Authority
    audit_log: Path
    audit_policy: str
    """The audit policy as YAML."""
    config: Path
    """Folder for files that the server reads."""
    published: bool = False
    """Whether the address becomes the endpoint of the `kubernetes` Service; a loopback address cannot."""
    kubelet: bool = False

    @property
    def url(self) -> str:
        return f"https://{self.listen}"


def etcd(binary: str, client: Listen, peer: Listen, folder: Path) -> Part:
    """The store. Without fsync: a power cut may lose a test cluster here, and fsync costs most of the latency."""
    argv = (
        binary,
        "--name=local",
        f"--data-dir={folder}",
        f"--listen-client-urls=http://{client}",
        f"--advertise-client-urls=http://{client}",
        f"--listen-peer-urls=http://{peer}",
        f"--initial-advertise-peer-urls=http://{peer}",
        f"--initial-cluster=local=http://{peer}",
        "--unsafe-no-fsync",
        "--auto-compaction-retention=5m",
        "--quota-backend-bytes=4294967296",
        "--logger=zap",
        "--log-level=warn",
    )
    return Part("etcd", argv, answers(client, "/health"), (client, peer), ready_seconds=20)


def api_server(binary: Path, settings: ApiServer) -> Part:
    """RBAC and node authorization, TLS, audit of writes, and the admission plugins that a production cluster has."""
    authority = settings.authority
    hosts = (
        settings.listen.address,
        LOOPBACK,
        API_CLUSTER_IP,
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    )
    serving = authority.issue("kube-apiserver", Identity("kube-apiserver", (), hosts))
    proxy_client = authority.issue("front-proxy-client", Identity("front-proxy-client"))
    tokens = authority.signing_key("service-accounts")
    policy = settings.config / "audit-policy.yaml"
    argv = (
        str(binary),
        f"--etcd-servers=http://{settings.etcd}",
        f"--bind-address={settings.listen.address}",
        f"--advertise-address={settings.listen.address}",
        f"--secure-port={settings.listen.port}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={authority.pair.certificate}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={tokens.certificate}",
        f"--service-account-signing-key-file={tokens.key}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--endpoint-reconciler-type={'lease' if settings.published else 'none'}",
        f"--requestheader-client-ca-file={authority.pair.certificate}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={proxy_client.certificate}",
        f"--proxy-client-key-file={proxy_client.key}",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={settings.audit_log}",
        "--audit-log-maxsize=200",
        "--audit-log-maxbackup=3",
        "--allow-privileged=true",
        "--profiling=false",
        "--v=0",
        *(_kubelet_access(authority) if settings.kubelet else ()),
    )
    ready = answers(settings.listen, "/readyz", authority=authority.pair.certificate)
    return Part(
        "kube-apiserver",
        argv,
        ready,
        (settings.listen,),
        files={policy: settings.audit_policy},
        ready_seconds=60,
        stop_seconds=3,
    )


def _kubelet_access(authority: Authority) -> tuple[str, ...]:
    client = authority.issue(
        "kube-apiserver-kubelet-client", Identity("kube-apiserver-kubelet-client", ("system:masters",))
    )
    return (
        f"--kubelet-client-certificate={client.certificate}",
        f"--kubelet-client-key={client.key}",
        f"--kubelet-certificate-authority={authority.pair.certificate}",
        "--kubelet-preferred-address-types=InternalIP",
    )


def controller_manager(binary: Path, kubeconfig: Path, authority: Authority, listen: Listen) -> Part:
    """Deployments, garbage collection, service-account credentials and the rest."""
    tokens = authority.signing_key("service-accounts")
    argv = (
        str(binary),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={listen.address}",
        f"--secure-port={listen.port}",
        "--controllers=*",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={tokens.key}",
        f"--root-ca-file={authority.pair.certificate}",
        f"--cluster-signing-cert-file={authority.pair.certificate}",
        f"--cluster-signing-key-file={authority.pair.key}",
        "--profiling=false",
        "--v=0",
        *_serving(authority, "kube-controller-manager", listen),
    )
    ready = answers(listen, "/healthz", authority=authority.pair.certificate)
    return Part("kube-controller-manager", argv, ready, (listen,))


def scheduler(binary: Path, kubeconfig: Path, authority: Authority, listen: Listen) -> Part:
    """Places pods on the node."""
    argv = (
        str(binary),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={listen.address}",
        f"--secure-port={listen.port}",
        "--leader-elect=false",
        "--profiling=false",
        "--v=0",
        *_serving(authority, "kube-scheduler", listen),
    )
    return Part("kube-scheduler", argv, answers(listen, "/healthz", authority=authority.pair.certificate), (listen,))


def _serving(authority: Authority, name: str, listen: Listen) -> tuple[str, str]:
    pair = authority.issue(name, Identity(f"system:{name}", (), (listen.address, "localhost")))
    return f"--tls-cert-file={pair.certificate}", f"--tls-private-key-file={pair.key}"
