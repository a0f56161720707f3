"""`up` again starts what died, leaves alone what is well, and says why something does not start."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from localcluster.errors import PartFailed, PortTaken
from localcluster.folders import Data
from localcluster.part import Part, answers, wait_until
from localcluster.ports import LOOPBACK, Listen, free_ports
from localcluster.progress import Silent
from localcluster.supervision import State, Supervision


def web(data: Data, text: str = "one") -> Part:
    """A part that listens and answers: Python's own web server."""
    (port,) = free_ports(1)
    listen = Listen(LOOPBACK, port)
    argv = (sys.executable, "-m", "http.server", "--bind", LOOPBACK, str(port), "--directory", str(data.config))
    return Part("web", argv, answers(listen, "/"), (listen,), files={data.config / "page": text}, ready_seconds=20)


@pytest.fixture
def supervision(data: Data) -> Supervision:
    return Supervision(data)


def test_what_runs_is_left_alone(supervision: Supervision, data: Data) -> None:
    part = web(data)
    supervision.ensure([part], Silent())
    first = supervision.pid("web")

    supervision.ensure([part], Silent())

    assert first is not None
    assert supervision.pid("web") == first
    assert supervision.status(part).state is State.READY


def test_what_died_is_started_again(supervision: Supervision, data: Data) -> None:
    part = web(data)
    supervision.ensure([part], Silent())
    first = supervision.pid("web")
    supervision.send("web", signal.SIGKILL)
    assert wait_until(lambda: supervision.status(part).state is State.DEAD, 5)

    supervision.ensure([part], Silent())

    assert supervision.pid("web") not in {None, first}
    assert part.ready() is True


def test_what_was_frozen_goes_on(supervision: Supervision, data: Data) -> None:
    part = web(data)
    supervision.ensure([part], Silent())
    first = supervision.pid("web")
    supervision.send("web", signal.SIGSTOP)
    assert supervision.status(part).state is State.NOT_ANSWERING

    supervision.ensure([part], Silent())

    assert supervision.pid("web") == first


def test_a_changed_configuration_restarts(supervision: Supervision, data: Data) -> None:
    part = web(data)
    supervision.ensure([part], Silent())
    first = supervision.pid("web")
    changed = Part(
        part.name, part.argv, part.ready, part.listens, files={data.config / "page": "two"}, ready_seconds=20
    )

    supervision.ensure([changed], Silent())

    assert supervision.pid("web") not in {None, first}
    assert (data.config / "page").read_text(encoding="utf-8") == "two"


def test_a_part_that_dies_shows_the_end_of_its_log(supervision: Supervision) -> None:
    part = Part("broken", ("sh", "-c", "echo no space left; exit 3"), ready=lambda: False, ready_seconds=20)

    with pytest.raises(PartFailed, match="no space left") as caught:
        supervision.ensure([part], Silent())

    assert str(supervision.log("broken")) in str(caught.value)


def test_a_part_that_never_answers_is_reported_after_its_time(supervision: Supervision) -> None:
    part = Part("mute", ("sleep", "60"), ready=lambda: False, ready_seconds=0.3)

    with pytest.raises(PartFailed, match="mute does not answer"):
        supervision.ensure([part], Silent())


def test_a_taken_port_is_named_before_anything_starts(supervision: Supervision, data: Data) -> None:
    part = web(data)
    supervision.ensure([part], Silent())
    other = Part("other", ("sleep", "60"), ready=lambda: True, listens=part.listens)

    with pytest.raises(PortTaken, match=str(part.listens[0])) as caught:
        supervision.ensure([other], Silent())

    assert f"pid {supervision.pid('web')} " in str(caught.value)
    assert supervision.pid("other") is None


def test_stop_ends_it_and_forgets_it(supervision: Supervision, data: Data) -> None:
    part = web(data)
    supervision.ensure([part], Silent())

    assert supervision.stop(part) is True

    assert supervision.status(part).state is State.STOPPED
    assert list(data.records.iterdir()) == []
    assert supervision.stop(part) is False


def test_logs_are_kept_across_restarts(supervision: Supervision, data: Data) -> None:
    def speaker(word: str) -> Part:
        return Part("speaker", ("sh", "-c", f"echo {word}; sleep 60"), ready=lambda: True)

    supervision.ensure([speaker("first")], Silent())
    log: Path = supervision.log("speaker")
    assert wait_until(lambda: "first" in log.read_text(encoding="utf-8"), 5)
    supervision.ensure([speaker("second")], Silent())

    assert wait_until(lambda: log.read_text(encoding="utf-8") == "first\nsecond\n", 5)
    assert log.parent == data.logs
