"""How long the cluster takes to come up where everything is built. Alone: for that time the other one is down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.stage import Stage, install
from localcluster.cluster import Cluster
from localcluster.folders import Data
from localcluster.progress import Silent

pytestmark = pytest.mark.e2e

MOST_SECONDS = 120.0


@pytest.fixture
def fresh(stage: Stage, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that never ran, from the same cache; afterwards the one of the session is up again, as it was."""
    stage.cluster.down()
    new = Cluster(stage.cluster.cache, Data(tmp_path / "data"))
    try:
        yield new
    finally:
        new.down()
        stage.cluster.up()
        install(stage, stage.built["operator"].digest)
        stage.cluster.favour_pods()


def test_a_fresh_cluster_is_up_within_two_minutes_and_again_after_it_was_down(
    fresh: Cluster, tell: Callable[[str], None]
) -> None:
    for which in ("first", "second"):
        began = time.monotonic()
        fresh.up(Silent())
        seconds = time.monotonic() - began

        tell(f"{which} up: {seconds:.1f} s")
        assert seconds < MOST_SECONDS
        assert "Ready" in fresh.kubectl("get", "nodes", "--no-headers")
        if which == "first":
            fresh.down()
