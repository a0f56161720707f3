"""The cluster's DNS: names of Services for pods, everything else from the machine's own resolver."""

from __future__ import annotations

from pathlib import Path

from localcluster.folders import Data
from localcluster.part import Part, answers
from localcluster.ports import DNS, DNS_HEALTH

DOMAIN = "cluster.local"


def coredns(binary: Path, kubeconfig: Path, data: Data) -> Part:
    """CoreDNS on the node's address; pods reach it through the Service `kube-dns`."""
    config = data.config / "Corefile"
    text = f"""\
.:{DNS.port} {{
    bind {DNS.address}
    ready {DNS_HEALTH}
    errors
    cache 10
    loadbalance
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
        fallthrough in-addr.arpa ip6.arpa
    }}
    forward . {_upstream(data)} {{
        max_concurrent 200
    }}
}}
"""
    argv = (str(binary), "-conf", str(config), "-quiet")
    return Part(
        "coredns", argv, answers(DNS_HEALTH, "/ready"), (DNS, DNS_HEALTH), files={config: text, **_resolver(data)}
    )


def _upstream(data: Data) -> Path:
    return data.config / "resolv.conf"


def _resolver(data: Data) -> dict[Path, str]:
    """The machine's name servers; a machine without any gets one that answers nothing, so that CoreDNS still starts."""
    system = Path("/etc/resolv.conf")
    rows = system.read_text(encoding="utf-8").splitlines() if system.exists() else []
    servers = [row for row in rows if row.startswith("nameserver")]
    return {_upstream(data): "\n".join(servers or ["nameserver 127.0.0.1"]) + "\n"}
