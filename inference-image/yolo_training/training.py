"""One training run that leaves two versions of a model: an earlier checkpoint and the final one."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from yolo_serving.shapes import IMAGE_SIDE
from yolo_training.dataset import DatasetSize, write_shapes_dataset
from yolo_training.evaluation import Accuracy, GateFailed, evaluate
from yolo_training.exporting import export_onnx
from yolo_training.model_card import write_model_card
from yolo_training.ultralytics_session import YOLO, yaml_model_load

# YOLOv8 at half the width of its smallest published size ("n"): 160-pixel pictures of three shapes need no more, and
# a forward pass takes a quarter of the time.
_WIDTH: Final = 0.125
_DEPTH: Final = 0.33
_MAX_CHANNELS: Final = 1024

EARLIER_VERSION: Final = "v1.0.0"
FINAL_VERSION: Final = "v1.1.0"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is trained and when it is good enough.

    `first_map50`: the earlier version is the first checkpoint whose validation mAP@0.5 reaches it; `gate`: mAP@0.5 on
    the held-out pictures that both versions must reach.
    """

    seed: int = 0
    epochs: int = 10
    size: DatasetSize = field(default_factory=lambda: DatasetSize(train=1600, validation=200, held_out=400))
    first_map50: float = 0.92
    gate: float = 0.85


def train_versions(target: Path, work: Path, recipe: Recipe) -> dict[str, Accuracy]:
    """Trains, exports and evaluates; leaves `target/<version>/{model.onnx, model.json, model.pt}`.

    `work` holds the dataset and the run and can be removed afterwards. Raises GateFailed when a version is below the
    gate. The result is reproducible for one seed, one ultralytics and one kind of processor.
    """
    started = time.monotonic()
    dataset = write_shapes_dataset(work / "dataset", recipe.size, recipe.seed)
    run = _train(dataset, work, recipe)
    seconds = time.monotonic() - started
    checkpoints = {EARLIER_VERSION: _earlier_checkpoint(run, recipe), FINAL_VERSION: run / "weights" / "last.pt"}
    accuracies: dict[str, Accuracy] = {}
    for version, checkpoint in checkpoints.items():
        folder = target / version
        folder.mkdir(parents=True)
        shutil.copyfile(checkpoint, folder / "model.pt")
        onnx = export_onnx(folder / "model.pt", IMAGE_SIDE)
        accuracy = evaluate(onnx, dataset, split="test", side=IMAGE_SIDE, work=work / "evaluation")
        print(f"{version}: {accuracy}", file=sys.stderr, flush=True)
        accuracy.require(recipe.gate)
        facts = {"seed": recipe.seed, "checkpoint": checkpoint.name, "train_seconds": round(seconds, 1)}
        write_model_card(onnx, version=version, accuracy=accuracy, facts=facts)
        accuracies[version] = accuracy
    return accuracies


def _train(dataset: Path, work: Path, recipe: Recipe) -> Path:
    """Runs the training and returns the run's folder."""
    model = YOLO(str(_architecture(work)))
    model.add_callback("on_fit_epoch_end", _report)
    model.train(
        data=str(dataset), project=str(work), name="run", epochs=recipe.epochs, seed=recipe.seed,
        imgsz=IMAGE_SIDE, batch=32, device="cpu", workers=0, cache="ram", amp=False, pretrained=False,
        optimizer="AdamW", lr0=0.004, lrf=0.05, warmup_epochs=1,
        mosaic=0.0, scale=0.2, flipud=0.5,
        save_period=1, plots=False, verbose=False,
    )  # fmt: skip
    return work / "run"


def _architecture(work: Path) -> Path:
    """ultralytics' own description of YOLOv8 with our scale in it, as a file."""
    description: dict[str, Any] = yaml_model_load("yolov8n.yaml")
    description.pop("yaml_file")
    description["scales"] = {"p": [_DEPTH, _WIDTH, _MAX_CHANNELS]}
    description["scale"] = "p"
    file = work / "architecture.yaml"
    file.write_text(json.dumps(description), encoding="utf-8")
    return file


def _report(trainer: Any) -> None:  # ultralytics' trainer has no published type
    """One line per epoch."""
    reached = trainer.metrics.get("metrics/mAP50(B)", 0.0)
    print(f"epoch {trainer.epoch + 1}/{trainer.epochs}: validation mAP@0.5 {reached:.3f}", file=sys.stderr, flush=True)


def _earlier_checkpoint(run: Path, recipe: Recipe) -> Path:
    """The first checkpoint that is good enough and not the last."""
    with (run / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = [{name.strip(): value for name, value in row.items()} for row in csv.DictReader(file)]
    for row in rows[:-1]:
        if float(row["metrics/mAP50(B)"]) >= recipe.first_map50:
            return run / "weights" / f"epoch{int(row['epoch']) - 1}.pt"
    raise GateFailed(f"No checkpoint before the last reached mAP@0.5 {recipe.first_map50} on the validation pictures.")
