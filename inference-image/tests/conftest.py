"""A tiny ONNX detector whose answers can be worked out by hand, and real servers that run it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent), str(_HERE)]

from serving_process import ServerProcess
from tiny_detector import write_tiny_detector


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See tiny_detector."""
    return write_tiny_detector(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def start_server(tiny_model: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers with environment variables as keyword arguments; all are gone after the module."""
    started: list[ServerProcess] = []

    def start(*, wait: bool = True, **environment: str) -> ServerProcess:
        server = ServerProcess({"MODEL_PATH": str(tiny_model), "DRAIN_SECONDS": "0", **environment})
        started.append(server)
        if wait:
            server.wait_until_live()
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="module")
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A good server, shared by the tests of a module."""
    return start_server(MODEL_NAME="tiny", MODEL_VERSION="v9.8.7", MAX_PIXELS="1000000", MAX_BODY_BYTES="200000")
