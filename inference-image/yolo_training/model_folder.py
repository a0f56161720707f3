"""From weights to the folder of one version, which images are built from."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yolo_training.evaluation import Accuracy, evaluate
from yolo_training.inputs import require_absent, require_splits
from yolo_training.model_card import write_model_card
from yolo_training.precision import Precision, export_with_precision


@dataclass(frozen=True, slots=True)
class Version:
    """What is to be made: `name` of the model, its version, and how.

    `dataset`: YAML as ultralytics reads it, with the split `test` to evaluate on, and `val` to calibrate INT8 with;
    `side`: input in pixels; `gate`: least mAP@0.5.
    """

    name: str
    version: str
    dataset: Path
    side: int
    gate: float
    precision: Precision = Precision.FP32


def require_makeable(folder: Path, version: Version) -> None:
    """Raises InputUnusable where `make_folder` would find the folder taken or a split missing."""
    require_absent(folder)
    require_splits(version.dataset, "val", "test")


def make_folder(folder: Path, weights: Path, version: Version, facts: Mapping[str, object]) -> Accuracy:
    """Exports and evaluates what was exported; leaves `folder/{model.onnx, model.json, model.pt}`, all or nothing.

    `facts` go into `model.json`. Raises GateFailed when the exported model is below the gate.
    """
    require_makeable(folder, version)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        made = work / "made"
        made.mkdir()
        shutil.copyfile(weights, made / "model.pt")
        onnx = export_with_precision(made / "model.pt", version.side, version.precision, version.dataset)
        onnx = onnx.rename(made / "model.onnx")
        accuracy = evaluate(onnx, version.dataset, split="test", side=version.side, work=work / "evaluation")
        accuracy.require(version.gate)
        known = {"name": version.name, "precision": version.precision, "dataset": version.dataset.name, **facts}
        write_model_card(onnx, version=version.version, accuracy=accuracy, facts=known)
        # Renamed last: a folder with this name is always whole.
        made.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return accuracy
