"""The training in the background ends with what it was begun for."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import stage
from demo.errors import DemoError
from demo.images import InBackground
from localcluster.cluster import Cluster
from localcluster.errors import PartFailed
from localcluster.folders import Cache, Data
from localcluster.part import wait_until
from localcluster.processes import started_at
from localcluster.progress import Report, Silent

TRAINS = """
import subprocess, sys
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
Path(__file__).with_name("new").write_text(str(child.pid))
Path(__file__).with_name("new").rename(Path(__file__).with_name("pid"))
child.wait()
"""


class Failing(Cluster):
    """Passes the preflight and fails once the training is well under way."""

    training: Path

    def preflight(self, report: Report | None = None) -> None:
        """Nothing is missing."""

    def up(self, report: Report | None = None) -> None:  # noqa: ARG002 - as the real one
        """Fails as a part does that cannot start."""
        assert wait_until(self.training.exists, 10)
        raise PartFailed("istiod ended while starting")


def script(folder: Path, text: str) -> Path:
    path = folder / "build_models.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_where_the_cluster_does_not_come_up_the_training_ends_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "InBackground", lambda: InBackground(script(tmp_path, TRAINS)))
    cluster = Failing(Cache(tmp_path / "cache"), Data(tmp_path / "data"))
    cluster.training = tmp_path / "pid"

    with pytest.raises(PartFailed, match="istiod"):
        stage.set_up((), Silent(), cluster=cluster)

    child = int(cluster.training.read_text(encoding="ascii"))
    assert wait_until(lambda: started_at(child) is None, 5)


def test_a_failed_training_is_told(tmp_path: Path) -> None:
    training = InBackground(script(tmp_path, "raise SystemExit(3)"))

    with pytest.raises(DemoError, match=r"build_models\.py ended with 3"):
        training.wait()
    training.stop()
