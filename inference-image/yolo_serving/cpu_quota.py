"""How many CPU cores this container may use.

ONNX Runtime sizes its thread pool from the host: on a 64-core node a container limited to one core would start 64
threads and be throttled all the time.
"""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(cgroup_root: Path = Path("/sys/fs/cgroup"), affinity: int | None = None) -> int:
    """Whole cores that the cgroup's CPU quota and the process' affinity allow, rounded up, at least 1.

    Reads `cpu.max` (cgroup v2: "quota period" or "max period", microseconds) and else `cpu.cfs_quota_us` and
    `cpu.cfs_period_us` (cgroup v1; -1 is unlimited), as Documentation/admin-guide/cgroup-v2.rst and
    Documentation/scheduler/sched-bwc.rst of the kernel describe them. No readable limit means no limit.
    """
    allowed = affinity if affinity is not None else len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroup_root / "cpu.max")
    if quota is None:
        quota = _quota_v1(cgroup_root / "cpu") or _quota_v1(cgroup_root / "cpu,cpuacct")
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _quota_v2(file: Path) -> float | None:
    try:
        quota, period = file.read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return None if quota < 0 else quota / period
    except (OSError, ValueError, ZeroDivisionError):
        return None
