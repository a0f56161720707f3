"""Trains on a user's dataset: one run, one version."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from yolo_training.evaluation import Accuracy
from yolo_training.inputs import InputUnusable, require_absent, require_splits
from yolo_training.model_folder import Version, make_folder, require_makeable
from yolo_training.ultralytics_session import YOLO


@dataclass(frozen=True, slots=True)
class OwnRun:
    """`made`: what comes out; `start`: an architecture (`yolov8n.yaml`) or weights (`.pt`); `device`: `cpu`, `0`."""

    made: Version
    start: str
    epochs: int
    seed: int
    device: str


def train_own(target: Path, work: Path, run: OwnRun) -> Accuracy:
    """Trains, exports, evaluates on the split `test`; leaves `target/<version>/{model.onnx, model.json, model.pt}`.

    Raises InputUnusable before the training where it could not come to its end, and GateFailed when the model is below
    the gate. What fails after the training leaves its weights in `target/<version>.pt`, for `make_folder`.
    """
    folder = target / run.made.version
    kept = target / f"{run.made.version}.pt"
    require_makeable(folder, run.made)
    require_splits(run.made.dataset, "train")
    require_absent(kept)
    target.mkdir(parents=True, exist_ok=True)
    _start(run.start).train(
        data=str(run.made.dataset), project=str(work), name="run", epochs=run.epochs, imgsz=run.made.side,
        seed=run.seed, device=run.device, amp=False, plots=False,
    )  # fmt: skip
    shutil.copyfile(work / "run" / "weights" / "best.pt", kept)
    try:
        accuracy = make_folder(folder, kept, run.made, {"seed": run.seed, "checkpoint": "best.pt"})
    except BaseException:
        print(f"The trained weights are in {kept}; `export` goes on from there.", file=sys.stderr)
        raise
    kept.unlink()
    return accuracy


def _start(start: str) -> YOLO:
    try:
        return YOLO(start)
    except OSError as error:
        raise InputUnusable(f"Training cannot start from {start}: {str(error).splitlines()[0]}") from error
