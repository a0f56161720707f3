"""Trains on a user's dataset: one run, one version."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from yolo_training.evaluation import Accuracy, evaluate
from yolo_training.exporting import export_onnx
from yolo_training.model_card import write_model_card
from yolo_training.ultralytics_session import YOLO


@dataclass(frozen=True, slots=True)
class OwnRun:
    """`dataset`: YAML as ultralytics reads it, with the splits train, val and test; `start`: an architecture
    (`yolov8n.yaml`) or weights (`.pt`); `side`: input in pixels; `device`: `cpu`, `0`, ..."""

    dataset: Path
    version: str
    start: str
    side: int
    epochs: int
    seed: int
    device: str
    gate: float


def train_own(target: Path, work: Path, run: OwnRun) -> Accuracy:
    """Trains, exports, evaluates on the split `test`; leaves `target/<version>/{model.onnx, model.json, model.pt}`.

    Raises GateFailed, and leaves nothing, when the model is below the gate.
    """
    YOLO(run.start).train(
        data=str(run.dataset), project=str(work), name="run", epochs=run.epochs, imgsz=run.side, seed=run.seed,
        device=run.device, amp=False, plots=False,
    )  # fmt: skip
    made = work / run.version
    made.mkdir()
    shutil.copyfile(work / "run" / "weights" / "best.pt", made / "model.pt")
    onnx = export_onnx(made / "model.pt", run.side)
    accuracy = evaluate(onnx, run.dataset, split="test", side=run.side, work=work / "evaluation")
    accuracy.require(run.gate)
    facts = {"seed": run.seed, "checkpoint": "best.pt", "dataset": run.dataset.name}
    write_model_card(onnx, version=run.version, accuracy=accuracy, facts=facts)
    target.mkdir(parents=True, exist_ok=True)
    shutil.move(str(made), target / run.version)
    return accuracy
