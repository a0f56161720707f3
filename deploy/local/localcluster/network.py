"""What the cluster adds to the machine's network, and its removal.

One bridge without ports carries the node's address (not every kernel has dummy interfaces); one rule lets pods out, one
makes Prometheus answer on the loopback address too, and kube-proxy adds its own chains. Rules carry a comment of ours.
"""

from __future__ import annotations

import json
from pathlib import Path

from localcluster.build.debian import require_program
from localcluster.commands import run
from localcluster.errors import CommandFailed
from localcluster.ports import LOOPBACK, NODE_ADDRESS, POD_CIDR, PROMETHEUS

INTERFACE = "mrlocal0"
COMMENT = "modelrelease-local"
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
    """Bring interface, rules and forwarding up; what forwarding was before goes into `remembered`."""
    if not _exists():
        run([_ip(), "link", "add", INTERFACE, "type", "bridge"])
    run([_ip(), "address", "replace", f"{NODE_ADDRESS}/32", "dev", INTERFACE])
    run([_ip(), "link", "set", INTERFACE, "up"])
    if not remembered.exists():
        remembered.write_text(
            json.dumps({"ip_forward": _FORWARDING.read_text(encoding="ascii").strip()}), encoding="utf-8"
        )
    _FORWARDING.write_text("1\n", encoding="ascii")
    for rule in _rules():
        if not _present(rule):
            _iptables("-A", *rule)


def remove(remembered: Path, kube_proxy: Path | None) -> None:
    """Take everything away again; also after a half-finished `ensure`."""
    for rule in _rules():
        while _present(rule):
            _iptables("-D", *rule)
    if kube_proxy is not None and kube_proxy.exists():
        run([kube_proxy, "--cleanup", "--v=0"], timeout_seconds=30)
    _remove_leftover_chains()
    if _exists():
        run([_ip(), "link", "delete", INTERFACE])
    if remembered.exists():
        _FORWARDING.write_text(
            json.loads(remembered.read_text(encoding="utf-8"))["ip_forward"] + "\n", encoding="ascii"
        )
        remembered.unlink()


def leftovers() -> list[str]:
    """What of ours is still in the machine's network, in words; empty after a complete `remove`."""
    found = [f"interface {INTERFACE}"] if _exists() else []
    for table in ("nat", "filter", "mangle"):
        rows = run([require_program("iptables"), "-w", "-t", table, "-S"]).splitlines()
        found += [f"{table}: {row}" for row in rows if COMMENT in row or "KUBE-" in row]
    return found


def _remove_leftover_chains() -> None:
    """kube-proxy's own cleanup forgets the chains that other components check for; they are empty."""
    for table in ("nat", "filter", "mangle"):
        rows = run([require_program("iptables"), "-w", "-t", table, "-S"]).splitlines()
        for row in rows:
            words = row.split()
            if words[0] == "-N" and words[1].startswith("KUBE-"):
                try:
                    run([require_program("iptables"), "-w", "-t", table, "-F", words[1]])
                    run([require_program("iptables"), "-w", "-t", table, "-X", words[1]])
                except CommandFailed:
                    continue  # still referred to by a chain of somebody else's: `leftovers` reports it


def _exists() -> bool:
    return Path("/sys/class/net", INTERFACE).exists()


def _present(rule: tuple[str, ...]) -> bool:
    try:
        _iptables("-C", *rule)
    except CommandFailed:
        return False
    return True


def _iptables(*words: str) -> None:
    run([require_program("iptables"), "-w", "-t", "nat", *words], timeout_seconds=20)


def _ip() -> str:
    return require_program("ip")
