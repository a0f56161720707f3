"""Whether the exported model, as the server runs it, finds what the trained one finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_serving.detections import Detections, Thresholds, detect, iou_matrix
from yolo_serving.model import Execution, Model, load_model
from yolo_serving.pictures import decode, fill_input, letterbox
from yolo_training.ultralytics_session import YOLO

_MAX_PIXELS: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two detections of one object may be apart: least IoU of the boxes, largest difference of the scores.

    Pictures of the model's own size agree to the last digit. Others are resampled by pillow here and by OpenCV there,
    which differ by a grey level at some pixels: enough to turn the choice between two anchors that are nearly as good.
    Detections whose score is within `score` of the threshold may be missing on one side.
    """

    iou: float = 0.98
    score: float = 0.03


@dataclass(frozen=True, slots=True)
class Comparison:
    """One picture: detections of the trained and of the exported model, how many agree, and the worst that agree.

    `missing`: detections above the threshold by more than the tolerance that the other side lacks.
    """

    name: str
    trained: int
    exported: int
    agreeing: int
    missing: int
    least_iou: float
    largest_score_difference: float

    @property
    def agrees(self) -> bool:
        """Whether both found the same."""
        return self.missing == 0


def verify(
    weights: Path, onnx: Path, pictures: Sequence[Path], thresholds: Thresholds, tolerance: Tolerance
) -> list[Comparison]:
    """Compares picture by picture: ultralytics with the weights against this project's decoding, letterbox,
    ONNX Runtime and non-maximum suppression with the ONNX file."""
    exported = load_model(onnx, Execution(threads=1))
    trained = YOLO(str(weights))
    comparisons = []
    for path in pictures:
        by_trained = _by_ultralytics(trained, path, exported.card.side, thresholds)
        by_exported = detect_as_served(exported, path.read_bytes(), thresholds)
        comparisons.append(compare(path.name, by_trained, by_exported, thresholds.confidence, tolerance))
    return comparisons


def detect_as_served(model: Model, body: bytes, thresholds: Thresholds) -> Detections:
    """Detections in a picture's own pixels, by the functions that the server calls."""
    pixels, fitted = letterbox(decode(body, _MAX_PIXELS), model.card.side)
    batch = np.empty((1, 3, model.card.side, model.card.side), np.float32)
    fill_input(pixels, batch[0])
    found = detect(model.run(batch)[0], thresholds)
    return Detections(fitted.to_original(found.boxes), found.scores, found.classes)


def _by_ultralytics(model: YOLO, path: Path, side: int, thresholds: Thresholds) -> Detections:
    with Image.open(path) as picture:
        result = model.predict(
            picture, imgsz=side, conf=thresholds.confidence, iou=thresholds.iou, max_det=thresholds.max_detections,
            rect=False, device="cpu", verbose=False,
        )[0]  # fmt: skip
    boxes: NDArray[np.float32] = result.boxes.xyxy.numpy()
    return Detections(boxes, result.boxes.conf.numpy(), result.boxes.cls.numpy().astype(np.int64))


def compare(
    name: str, trained: Detections, exported: Detections, confidence: float, tolerance: Tolerance
) -> Comparison:
    """Pairs detections of one class, best overlap first, and counts what has no partner."""
    overlaps = iou_matrix(trained.boxes, exported.boxes)
    overlaps[trained.classes[:, None] != exported.classes[None, :]] = 0
    free = np.ones(len(exported), bool)
    paired_trained = np.zeros(len(trained), bool)
    ious, differences = [1.0], [0.0]
    for row in range(len(trained)):
        candidates = np.where(free, overlaps[row], -1)
        best = int(candidates.argmax()) if len(candidates) else -1
        if best < 0 or candidates[best] < tolerance.iou:
            continue
        difference = abs(float(trained.scores[row] - exported.scores[best]))
        if difference <= tolerance.score:
            free[best] = False
            paired_trained[row] = True
            ious.append(float(candidates[best]))
            differences.append(difference)
    certain = confidence + tolerance.score
    missing = int((trained.scores[~paired_trained] > certain).sum() + (exported.scores[free] > certain).sum())
    return Comparison(
        name, len(trained), len(exported), int(paired_trained.sum()), missing, min(ious), max(differences)
    )


def table(comparisons: Sequence[Comparison]) -> str:
    """One line per picture and one for all."""
    rows = [f"{'picture':<16} trained exported agreeing missing  least IoU  score diff."]
    rows += [
        f"{c.name:<16} {c.trained:>7} {c.exported:>8} {c.agreeing:>8} {c.missing:>7}  {c.least_iou:>9.4f}  "
        f"{c.largest_score_difference:>11.5f}"
        for c in comparisons
    ]
    agreeing = sum(c.agrees for c in comparisons)
    rows.append(f"{agreeing} of {len(comparisons)} pictures agree")
    return "\n".join(rows)
