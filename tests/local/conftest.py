"""Folders of one test's own, and processes that end with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import processes
from localcluster.folders import Data


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Data]:
    """A data folder; whatever was started in it is ended afterwards."""
    folders = Data(tmp_path / "data", sockets=tmp_path / "sockets")
    folders.create()
    yield folders
    for path in folders.records.glob("*.json"):
        record = processes.read_record(path)
        if record is not None:
            processes.stop(record, grace_seconds=1)
