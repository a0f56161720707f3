"""What the cluster adds to the machine's network, and its removal.

One bridge without ports carries the node's address (not every kernel has dummy interfaces); one rule lets pods out, one
makes Prometheus answer on the loopback address too, and kube-proxy adds its own chains. Rules carry a comment of ours.
"""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path

from localcluster.commands import run
from localcluster.errors import CommandFailed
from localcluster.ports import LOOPBACK, NODE_ADDRESS, POD_CIDR, PROMETHEUS
from localcluster.provision.debian import require_program

INTERFACE = "mrlocal0"
COMMENT = "modelrelease-local"
_TABLES = ("nat", "filter", "mangle")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def _rules() -> tuple[tuple[str, ...], ...]:
    """Chain and match of each rule of ours, all in the table `nat`."""
    comment = ("-m", "comment", "--comment", COMMENT)
    dnat = ("-j", "DNAT", "--to-destination", str(PROMETHEUS))
    return (
        ("POSTROUTING", "-s", POD_CIDR, "!", "-d", POD_CIDR, "!", "-o", INTERFACE, *comment, "-j", "MASQUERADE"),
        ("OUTPUT", "-d", f"{LOOPBACK}/32", "-p", "tcp", "--dport", str(PROMETHEUS.port), *comment, *dnat),
    )


def ensure(remembered: Path) -> None:
    """Bring interface, rules and forwarding up; how the machine was before goes into `remembered`, once."""
    if not remembered.exists():
        before = {"ip_forward": _FORWARDING.read_text(encoding="ascii").strip(), "chains": sorted(_kubernetes_chains())}
        remembered.write_text(json.dumps(before), encoding="utf-8")
    if not _exists():
        run([_ip(), "link", "add", INTERFACE, "type", "bridge"])
    run([_ip(), "address", "replace", f"{NODE_ADDRESS}/32", "dev", INTERFACE])
    run([_ip(), "link", "set", INTERFACE, "up"])
    _FORWARDING.write_text("1\n", encoding="ascii")
    for rule in _rules():
        if not _present(rule):
            _iptables("nat", "-A", *rule)


def remove(remembered: Path, kube_proxy: Path) -> None:
    """Take everything away again; also after a half-finished `ensure`. Chains that were there before stay."""
    if not remembered.exists():
        return
    before = json.loads(remembered.read_text(encoding="utf-8"))
    for rule in _rules():
        while _present(rule):
            _iptables("nat", "-D", *rule)
    if kube_proxy.exists() and not before["chains"]:
        run([kube_proxy, "--cleanup", "--v=0"], timeout_seconds=30)
    _remove_chains(_kubernetes_chains() - {tuple(chain) for chain in before["chains"]})
    if _exists():
        run([_ip(), "link", "delete", INTERFACE])
    _FORWARDING.write_text(before["ip_forward"] + "\n", encoding="ascii")
    remembered.unlink()


def leftovers() -> list[str]:
    """What of ours is still in the machine's network, in words; empty after a complete `remove`."""
    found = [f"interface {INTERFACE}"] if _exists() else []
    return found + [f"{table}: {row}" for table in _TABLES for row in _rows(table) if COMMENT in row]


def _kubernetes_chains() -> set[tuple[str, str]]:
    """Table and name of each chain that Kubernetes' components make: theirs all begin alike."""
    words = [(table, row.split()) for table in _TABLES for row in _rows(table)]
    return {(table, row[1]) for table, row in words if row[0] == "-N" and row[1].startswith("KUBE-")}


def _remove_chains(chains: set[tuple[str, str]]) -> None:
    """kube-proxy's own cleanup leaves chains that it shares with the kubelet: first jumps to them, then the rest."""
    for table in _TABLES:
        names = {name for of_table, name in chains if of_table == table}
        for row in _rows(table):
            words = shlex.split(row)
            if words[0] == "-A" and words[1] not in names and words[-1] in names:
                _iptables(table, "-D", *words[1:])
        for name in names:
            _iptables(table, "-F", name)
        for name in names:
            _iptables(table, "-X", name)


def _rows(table: str) -> list[str]:
    return run([require_program("iptables"), "-w", "-t", table, "-S"], timeout_seconds=20).splitlines()


def _exists() -> bool:
    return INTERFACE in {name for _, name in socket.if_nameindex()}


def _present(rule: tuple[str, ...]) -> bool:
    try:
        _iptables("nat", "-C", *rule)
    except CommandFailed:
        return False
    return True


def _iptables(table: str, *words: str) -> None:
    run([require_program("iptables"), "-w", "-t", table, *words], timeout_seconds=20)


def _ip() -> str:
    return require_program("ip")
