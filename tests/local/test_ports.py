"""A port that is not free is recognised, and its holder named."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from localcluster import ports
from localcluster.errors import PortTaken
from localcluster.ports import LOOPBACK, Listen


@pytest.fixture
def held() -> Iterator[Listen]:
    """A port that this very process listens on."""
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen(1)
        yield Listen(LOOPBACK, server.getsockname()[1])


def test_a_held_port_is_refused_with_port_holder_and_remedy(held: Listen) -> None:
    with pytest.raises(PortTaken) as caught:
        ports.require_free("etcd", (held,))

    text = str(caught.value)
    assert f"etcd needs {held}" in text
    assert f"pid {os.getpid()} " in text
    assert "MODELRELEASE_DATA" in text


def test_a_free_port_passes(held: Listen) -> None:
    (other,) = ports.free_ports(1)

    assert ports.is_free(Listen(LOOPBACK, other)) is True
    assert ports.is_free(held) is False
    ports.require_free("etcd", (Listen(LOOPBACK, other),))


def test_the_port_of_a_process_that_is_dying_is_waited_for(monkeypatch: pytest.MonkeyPatch, held: Listen) -> None:
    """Its last thread still holds the port while nobody can be seen there any more."""
    answers = iter([False, False, True])
    monkeypatch.setattr(ports, "is_free", lambda _: next(answers))
    monkeypatch.setattr(ports, "holder_of", lambda _: None)
    ports.require_free("kube-scheduler", (held,))

    assert list(answers) == []


def test_an_address_that_does_not_exist_yet_has_free_ports() -> None:
    assert ports.is_free(Listen("192.0.2.254", 6443)) is True


def test_one_who_listens_everywhere_holds_the_port_of_an_address_to_come() -> None:
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))  # noqa: S104 - what is to be found
        server.listen(1)

        assert ports.is_free(Listen("192.0.2.254", server.getsockname()[1])) is False


def test_free_ports_are_different_ones_outside_the_range_of_clients() -> None:
    chosen = ports.free_ports(20)

    assert len(set(chosen)) == 20
    assert all(20_000 <= port < 32_000 for port in chosen)


def test_no_two_parts_share_an_address_and_port() -> None:
    listens = [value for value in vars(ports).values() if isinstance(value, Listen)]

    assert len(listens) == len(set(listens))
    assert len(listens) >= 15
