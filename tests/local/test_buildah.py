"""What buildah leaves behind where it is ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localcluster.buildah import Buildah
from localcluster.commands import run
from localcluster.errors import CommandFailed
from localcluster.folders import Cache
from localcluster.image_source import Build


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_build_begins_without_the_mounts_of_one_that_a_signal_ended(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    left = cache.buildah / "overlay" / "storage" / "container" / "proc"
    left.mkdir(parents=True)
    run(["mount", "-t", "tmpfs", "none", left])
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")

    with pytest.raises(CommandFailed):
        Buildah(cache).build(Build("a:b", tmp_path, tmp_path / "Dockerfile"), tmp_path / "no.tar", tmp_path / "out.tar")

    assert not left.is_mount()
