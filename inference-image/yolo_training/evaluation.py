"""How well a model detects, measured by ultralytics on a split that training never saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolo_training.ultralytics_session import YOLO


class GateFailed(Exception):
    """The model is not good enough to be released."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean average precision over classes, 0..1, on `objects` labelled objects.

    `map50`: at IoU 0.5; `map50_95`: averaged over IoU 0.5 to 0.95 in steps of 0.05.
    """

    map50: float
    map50_95: float
    objects: int

    def __str__(self) -> str:
        return f"mAP@0.5 {self.map50:.4f}, mAP@0.5:0.95 {self.map50_95:.4f} on {self.objects} objects"

    def require(self, gate: float) -> None:
        """Raises GateFailed when mAP@0.5 is below the gate."""
        if not self.map50 >= gate:
            raise GateFailed(f"{self}: below the gate of mAP@0.5 {gate}.")


def evaluate(model: Path, dataset: Path, *, split: str, side: int, work: Path) -> Accuracy:
    """Accuracy of a .pt or .onnx file on a split of a dataset YAML; `side` is the model's input in pixels."""
    result = YOLO(str(model), task="detect").val(
        data=str(dataset), split=split, imgsz=side, batch=16, rect=False, device="cpu", workers=0, plots=False,
        verbose=False, project=str(work), name=model.stem,
    )  # fmt: skip
    return Accuracy(round(float(result.box.map50), 4), round(float(result.box.map), 4), int(result.nt_per_class.sum()))
