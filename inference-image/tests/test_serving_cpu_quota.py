from __future__ import annotations

from pathlib import Path

import pytest

from yolo_serving.cpu_quota import usable_cores


@pytest.mark.parametrize(
    ("text", "affinity", "cores"),
    [
        ("max 100000\n", 8, 8),
        ("100000 100000\n", 8, 1),
        ("150000 100000\n", 8, 2),
        ("20000 100000\n", 8, 1),
        ("1600000 100000\n", 4, 4),
        ("nonsense\n", 3, 3),
        ("100000 0\n", 3, 3),
    ],
)
def test_version_2(tmp_path: Path, text: str, affinity: int, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cores == usable_cores(tmp_path, affinity)


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("50000", 1), ("300000", 3)])
def test_version_1(tmp_path: Path, folder: str, quota: str, cores: int) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / folder / "cpu.cfs_period_us").write_text("100000")
    assert cores == usable_cores(tmp_path, 8)


def test_no_limit_known(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, 5) == 5
