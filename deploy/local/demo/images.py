"""The demonstration's images: the two models, packed well and badly, and the operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from localcluster.cluster import Cluster
from localcluster.images import Build
from localcluster.progress import Report

REPOSITORY = Path(__file__).resolve().parents[3]
OPERATOR = "modelrelease-operator:local"
SLOWER = {"v1.2.0-slow": "slow:600"}
"""Faults that differ from the image's own: so slow that it shows also while the machine does something else."""
_INFERENCE = REPOSITORY / "inference-image"
_TRAINING_SECONDS = 5400.0
_STUCK_SECONDS = 60.0


def models() -> Path:
    """The folder with the trained models, which are made first where the cache has none; progress goes to stderr."""
    return Path(_python([str(_INFERENCE / "build_models.py")], timeout_seconds=_TRAINING_SECONDS).strip())


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was built and loaded: how it is called, and what it is."""

    reference: str
    digest: str


def build_inference(cluster: Cluster, versions: Sequence[str], folder: Path, report: Report) -> dict[str, Image]:
    """Build and load these versions of the inference image; image by version."""
    trained = models()
    return {version: _build(cluster, version, folder / "context", trained, report) for version in versions}


def _build(cluster: Cluster, version: str, context: Path, trained: Path, report: Report) -> Image:
    words = [str(_INFERENCE / "image_context.py"), version, str(context), "--models", str(trained)]
    if version in SLOWER:
        words += ["--fault", SLOWER[version]]
    recipe: dict[str, Any] = json.loads(_python(words, timeout_seconds=120))
    reference: str = recipe["tag"]
    build = Build(reference, Path(recipe["context"]), Path(recipe["dockerfile"]), recipe["build_args"])
    return Image(reference, cluster.build_image(build, report))


def build_operator(cluster: Cluster, report: Report) -> Image:
    """Build and load the operator's image."""
    folder = REPOSITORY / "operator"
    return Image(OPERATOR, cluster.build_image(Build(OPERATOR, folder, folder / "Dockerfile"), report))


def write_pictures(folder: Path, count: int = 40) -> Path:
    """Pictures that the model was not trained on, written once."""
    if not (folder / "truth.json").exists():
        _python(["-m", "yolo_serving.shapes", str(folder), "--count", str(count)], timeout_seconds=120)
    return folder


def _python(words: Sequence[str], timeout_seconds: float) -> str:
    """Standard output of this Python with the inference image's packages; standard error is shown."""
    try:
        done = subprocess.run(  # noqa: S603 - our own scripts, no shell
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": str(_INFERENCE)},
            stdout=subprocess.PIPE,
            timeout=timeout_seconds,
            check=True,
            text=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise DemoError(f"{Path(words[0]).name}: {error}") from error
    return done.stdout


class InBackground:
    """Trains the models while something else goes on; `wait` raises what went wrong."""

    def __init__(self) -> None:
        self._error: DemoError | None = None
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            models()
        except DemoError as error:
            self._error = error

    def wait(self) -> None:
        """Until the models are there, which has its own time-out; this one is for a thread that is stuck."""
        self._thread.join(timeout=_TRAINING_SECONDS + _STUCK_SECONDS)
        if self._thread.is_alive():
            raise DemoError(f"the models were not trained within {_TRAINING_SECONDS + _STUCK_SECONDS:.0f} s")
        if self._error is not None:
            raise self._error
