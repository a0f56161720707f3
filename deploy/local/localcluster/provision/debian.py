"""Programs that come from Debian packages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcluster.commands import run_into
from localcluster.errors import MissingPrerequisite
from localcluster.folders import Cache
from localcluster.locks import exclusive
from localcluster.progress import Report

CNI_PLUGINS = Path("/usr/lib/cni")
POLICY = Path("/usr/sbin/policy-rc.d")
_OURS = "# Written by modelrelease's local cluster for one installation; safe to delete when none runs."


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package and a program in it whose presence shows that it is installed."""

    name: str
    program: str

    def installed(self) -> bool:
        return program_path(self.program) is not None


ETCD = Package("etcd-server", "etcd")
CLUSTER = (
    ETCD,
    Package("prometheus", "prometheus"),
    Package("containerd", "containerd"),
    Package("runc", "runc"),
    Package("containernetworking-plugins", str(CNI_PLUGINS / "ptp")),
    Package("buildah", "buildah"),
    Package("debootstrap", "debootstrap"),
    Package("iptables", "iptables"),
    Package("iproute2", "ip"),
    Package("busybox-static", "busybox"),
)


def program_path(program: str) -> str | None:
    """Where the program is; administrators' folders count even if the PATH of the caller has none of them."""
    if program.startswith("/"):
        return program if Path(program).exists() else None
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def require_program(program: str) -> str:
    """The path of an installed program."""
    found = program_path(program)
    if found is None:
        raise MissingPrerequisite(f"`{program}` is not installed; run `localcluster build`")
    return found


def missing(packages: Iterable[Package]) -> list[str]:
    """Names of the packages that are not installed."""
    return [package.name for package in packages if not package.installed()]


def install(cache: Cache, packages: Iterable[Package], report: Report) -> None:
    """Install what is missing. Debian would start daemons of its own: they are forbidden to, for this one command."""
    with report.part("debian packages") as line:
        if os.geteuid() == 0:
            allow_daemons(cache, POLICY)
        absent = missing(packages)
        if not absent:
            line.show("cached")
            return
        command = f"apt-get install --no-install-recommends {' '.join(absent)}"
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise MissingPrerequisite(f"missing Debian packages. As root: {command}")
        line.show("installing")
        with exclusive(cache.locks / "apt"):
            _apt(cache, absent)
        line.show("installed")


def _apt(cache: Cache, names: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = cache.root / "logs" / "apt.log"
    run_into(log, ["apt-get", "update", "-q"], environment=environment, timeout_seconds=300)
    with no_daemons(POLICY):
        words = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *names]
        run_into(log, words, environment=environment, timeout_seconds=900)


@contextmanager
def no_daemons(policy: Path) -> Iterator[None]:
    """Forbid packages to start daemons, unless somebody forbids it already. A kill leaves the ban behind."""
    if not policy.exists():
        policy.write_text(f"#!/bin/sh\n{_OURS}\nexit 101\n", encoding="ascii")
        policy.chmod(0o755)
    try:
        yield
    finally:
        _remove_ours(policy)


def allow_daemons(cache: Cache, policy: Path) -> None:
    """Remove the ban that an installation of ours left when it was killed; one that is under way is waited for."""
    if _is_ours(policy):
        with exclusive(cache.locks / "apt"):
            _remove_ours(policy)


def _remove_ours(policy: Path) -> None:
    if _is_ours(policy):
        policy.unlink()


def _is_ours(policy: Path) -> bool:
    return policy.exists() and _OURS in policy.read_text(encoding="utf-8", errors="replace")
