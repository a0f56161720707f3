"""Makes the demonstration's two models and prints the folder they are in.

    python inference-image/build_models.py

The folder holds `v1.0.0` and `v1.1.0`, each with `model.onnx`, `model.pt` and `model.json`. It lies in the cache
(MODELRELEASE_CACHE, else XDG_CACHE_HOME/modelrelease, else ~/.cache/modelrelease) under a hash of everything that
decides the outcome, so a second run does nothing. What is missing is made: a virtual environment with torch and
ultralytics (about 6 GB), then one training run of some minutes. Two at once are safe: one waits for the other.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements-train.txt"
# What decides how the models come out. The hash of these files names the folder.
INGREDIENTS = (
    "requirements-train.txt",
    "yolo_serving/shapes.py",
    "yolo_training/dataset.py",
    "yolo_training/evaluation.py",
    "yolo_training/exporting.py",
    "yolo_training/training.py",
)
INSTALL_TIMEOUT_SECONDS = 1800
TRAIN_TIMEOUT_SECONDS = 3600
LOCK_TIMEOUT_SECONDS = INSTALL_TIMEOUT_SECONDS + TRAIN_TIMEOUT_SECONDS


class BuildFailed(Exception):
    """A step did not come to its end; the message says which, and where its output is."""


def cache_folder() -> Path:
    """The project's cache, outside the checkout."""
    if given := os.environ.get("MODELRELEASE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelrelease"


def ingredients_hash(root: Path = HERE) -> str:
    """12 hexadecimal digits of sha256 over the ingredients; comments and layout of Python files do not count."""
    digest = hashlib.sha256()
    for name in INGREDIENTS:
        content = (root / name).read_text(encoding="utf-8")
        if name.endswith(".py"):
            content = ast.dump(ast.parse(content))
        digest.update(f"{name}\0{content}\0".encode())
    return digest.hexdigest()[:12]


def models_folder(cache: Path) -> Path:
    """Where the models of this version of the code are, or will be."""
    return cache / "models" / ingredients_hash()


def build(cache: Path) -> Path:
    """Makes what is missing; returns the models' folder."""
    target = models_folder(cache)
    if target.is_dir():
        return target
    with _exclusive(cache / "models" / ".lock"):
        if target.is_dir():
            return target
        python = training_environment(cache)
        work = Path(tempfile.mkdtemp(prefix=".making-", dir=cache / "models"))
        log = cache / "models" / f"{target.name}.log"
        try:
            started = time.monotonic()
            _say("models: training (10 epochs, 3 to 6 minutes on two cores)")
            _run([str(python), "-m", "yolo_training", "train", str(work / "models")], log, TRAIN_TIMEOUT_SECONDS)
            # Renamed last: a folder with this name is always whole.
            (work / "models").rename(target)
            _say(f"models: done in {time.monotonic() - started:.0f} s")
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def training_environment(cache: Path) -> Path:
    """The Python of a virtual environment with exactly the locked requirements."""
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache / "venvs" / f"train-{version}-{digest}"
    complete, python = folder / ".complete", folder / "bin" / "python"
    if not complete.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        log = folder.with_suffix(".log")
        _say("models: installing torch and ultralytics (about 6 GB, 1 to 3 minutes)")
        _run([sys.executable, "-m", "venv", str(folder)], log, INSTALL_TIMEOUT_SECONDS)
        install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS)]
        _run(install, log, INSTALL_TIMEOUT_SECONDS)
        complete.touch()
        _say(f"models: installed in {time.monotonic() - started:.0f} s")
    return python


def _run(command: list[str], log: Path, timeout_seconds: float) -> None:
    """Runs a command with its standard output in a log file; what it says on standard error is shown."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "YOLO_VERBOSE": "false"}
    try:
        with log.open("ab") as output:
            subprocess.run(command, stdout=output, env=environment, timeout=timeout_seconds, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"{error}; its output is in {log}") from error


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """Holds a lock file; the kernel gives it back when the process dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    with lock.open("w") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BuildFailed(f"Another process held {lock} for {LOCK_TIMEOUT_SECONDS} s.") from None
                if not told:
                    _say("models: waiting for another process that makes them")
                    told = True
                time.sleep(0.5)
        yield


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Command line."""
    try:
        print(build(cache_folder()))
    except BuildFailed as failure:
        _say(f"models: {failure}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
