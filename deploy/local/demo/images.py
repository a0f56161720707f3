"""The demonstration's images: the two models, packed well and badly, and the operator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
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
_MODELS = _INFERENCE / "build_models.py"
_TRAINING_SECONDS = 5400.0
_ENDING_SECONDS = 10.0


def models() -> Path:
    """The folder with the trained models, which are made first where the cache has none; progress goes to stderr."""
    return Path(_python([str(_MODELS)], timeout_seconds=_TRAINING_SECONDS).strip())


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


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_INFERENCE)}


def _python(words: Sequence[str], timeout_seconds: float) -> str:
    """Standard output of this Python with the inference image's packages; standard error is shown."""
    try:
        done = subprocess.run(  # noqa: S603 - our own scripts, no shell
            [sys.executable, *words],
            env=_environment(),
            stdout=subprocess.PIPE,
            timeout=timeout_seconds,
            check=True,
            text=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise DemoError(f"{Path(words[0]).name}: {error}") from error
    return done.stdout


class InBackground:
    """Trains the models while something else goes on. It has a process group of its own, so that all of it can end."""

    def __init__(self, script: Path = _MODELS) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own script, no shell
            [sys.executable, str(script)], env=_environment(), stdout=subprocess.DEVNULL, start_new_session=True
        )

    def wait(self) -> None:
        """Until the models are there; raises DemoError where they could not be made."""
        try:
            status = self._process.wait(timeout=_TRAINING_SECONDS)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the models were not trained within {_TRAINING_SECONDS:.0f} s") from None
        if status != 0:
            raise DemoError(f"{_MODELS.name} ended with {status}; what it said is above")

    def stop(self) -> None:
        """End the training and all that it started, unless it is over: first as Ctrl-C does, so that it tidies up."""
        for number in (signal.SIGINT, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_ENDING_SECONDS)
