"""What would make `up` fail is said before anything is built, installed, trained or started."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import blueprint, ports
from localcluster.build import prerequisites
from localcluster.cluster import Cluster
from localcluster.errors import MissingPrerequisite, PortTaken
from localcluster.folders import Cache, Data
from localcluster.part import Part
from localcluster.ports import LOOPBACK, Listen
from localcluster.preflight import ports_for_missing_parts, require_root
from localcluster.progress import Silent
from localcluster.provision import debian
from localcluster.supervision import Supervision

SLEEPS = Part("gateway", (sys.executable, "-c", "import time; time.sleep(60)"), lambda: True)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listen]:
    """A port on which this very process listens, as the gateway's: a cluster may be using the real one."""
    with socket.create_server((LOOPBACK, 0)) as server:
        listen = Listen(LOOPBACK, server.getsockname()[1])
        monkeypatch.setattr(ports, "BY_PART", {"gateway": (listen,)})
        yield listen


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may bring a cluster up")
def test_up_refuses_a_held_port_before_anything_is_built_or_started(held: Listen, tmp_path: Path) -> None:
    cache, data = Cache(tmp_path / "cache"), Data(tmp_path / "data", sockets=tmp_path / "sockets")

    with pytest.raises(PortTaken, match=f"gateway needs {held}, but that port is held by pid {os.getpid()} "):
        Cluster(cache, data).up()

    assert list(tmp_path.iterdir()) == []


def test_a_port_that_the_part_itself_holds_is_no_obstacle(held: Listen, data: Data) -> None:
    supervision = Supervision(data)
    with pytest.raises(PortTaken):
        ports_for_missing_parts(supervision)

    supervision.ensure([SLEEPS], Silent())

    ports_for_missing_parts(supervision)
    assert ports.is_free(held) is False


def test_a_missing_go_is_told_before_packages_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    cache = Cache(tmp_path / "cache")

    with pytest.raises(MissingPrerequisite, match=r"no `go` on the PATH.*make toolchain"):
        prerequisites(cache, Silent())

    assert not cache.root.exists()


def test_who_is_not_root_is_told_which_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = debian.Package("modelrelease-absent", "modelrelease-no-such-program")
    monkeypatch.setattr(debian, "CLUSTER", (absent,))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(MissingPrerequisite, match=r"run this as root\. .*missing here: modelrelease-absent\."):
        require_root("containers")


@pytest.mark.integration
def test_every_part_and_port_is_known_before_it_is_there(data: Data, tmp_path: Path) -> None:
    drawn = blueprint.draw(Cache(tmp_path / "cache"), data)

    listens = {part.name: set(part.listens) for part in drawn.parts if part.listens}

    known = {name: set(of_part) - {ports.PROMETHEUS_ON_LOOPBACK} for name, of_part in ports.BY_PART.items()}
    assert known == listens
