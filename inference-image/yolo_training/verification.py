"""Whether the exported model, as the server runs it, finds what the trained one finds.

Two things are compared, because together they would hide each other's faults. What the server feeds the model with
ultralytics' own letterbox: pillow and OpenCV resample to within a grey level of one another, and anything more is
another picture. And, both fed with the server's input, the detections: one grey level can turn the choice between two
anchors that are nearly as good, so that detections in inputs that differ say little about the export.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_serving.detections import Detections, Thresholds, detect, iou_matrix
from yolo_serving.model import Execution, Model, load_model
from yolo_serving.pictures import decode, fill_input, letterbox
from yolo_training.ultralytics_session import YOLO, LetterBox, scale_boxes

_MAX_PIXELS: Final = 100_000_000
_GREY_LEVELS: Final = 1


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two detections of one object may be apart: least IoU of the boxes, largest difference of the scores.

    Detections whose score is within `score` of the threshold may be missing on one side.
    """

    iou: float = 0.98
    score: float = 0.03


@dataclass(frozen=True, slots=True)
class Comparison:
    """One picture: detections of the trained and of the exported model, how many agree, and the worst that agree.

    `missing`: detections above the threshold by more than the tolerance that the other side lacks; `input_difference`:
    largest difference, in grey levels, between the server's input and ultralytics'.
    """

    name: str
    trained: int
    exported: int
    agreeing: int
    missing: int
    least_iou: float
    largest_score_difference: float
    input_difference: int = 0

    @property
    def agrees(self) -> bool:
        """Whether both saw the same and found the same."""
        return self.missing == 0 and self.input_difference <= _GREY_LEVELS


def verify(
    weights: Path, onnx: Path, pictures: Sequence[Path], thresholds: Thresholds, tolerance: Tolerance
) -> list[Comparison]:
    """Compares picture by picture, once decoded: ultralytics with the weights against this project's letterbox, ONNX
    Runtime and non-maximum suppression with the ONNX file."""
    exported = load_model(onnx, Execution(threads=1))
    trained = YOLO(str(weights))
    comparisons = []
    for path in pictures:
        picture = decode(path.read_bytes(), _MAX_PIXELS)
        pixels, _ = letterbox(picture, exported.card.side)
        by_trained = _by_ultralytics(trained, pixels, picture.size, thresholds)
        by_exported = detect_as_served(exported, picture, thresholds)
        compared = compare(path.name, by_trained, by_exported, thresholds.confidence, tolerance)
        comparisons.append(replace(compared, input_difference=_input_difference(picture, pixels)))
    return comparisons


def detect_as_served(model: Model, picture: Image.Image, thresholds: Thresholds) -> Detections:
    """Detections in a picture's own pixels, by the functions that the server calls."""
    pixels, fitted = letterbox(picture, model.card.side)
    batch = np.empty((1, 3, model.card.side, model.card.side), np.float32)
    fill_input(pixels, batch[0])
    found = detect(model.run(batch)[0], thresholds)
    return Detections(fitted.to_original(found.boxes), found.scores, found.classes)


def _by_ultralytics(
    model: YOLO, pixels: NDArray[np.uint8], size: tuple[int, int], thresholds: Thresholds
) -> Detections:
    """Detections in the pixels of a picture of that width and height, found in its letterboxed `pixels`."""
    side = len(pixels)
    result = model.predict(
        Image.fromarray(pixels), imgsz=side, conf=thresholds.confidence, iou=thresholds.iou,
        max_det=thresholds.max_detections, rect=False, device="cpu", verbose=False,
    )[0]  # fmt: skip
    boxes: NDArray[np.float32] = scale_boxes((side, side), result.boxes.xyxy.numpy().copy(), (size[1], size[0]))
    return Detections(boxes, result.boxes.conf.numpy(), result.boxes.cls.numpy().astype(np.int64))


def _input_difference(picture: Image.Image, pixels: NDArray[np.uint8]) -> int:
    """Largest difference, in grey levels, from what ultralytics makes of a picture for the same input."""
    side = len(pixels)
    theirs: NDArray[np.uint8] = LetterBox((side, side), auto=False)(image=np.asarray(picture))
    return int(np.abs(pixels.astype(np.int16) - theirs).max())


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
    rows = [f"{'picture':<16} trained exported agreeing missing  least IoU  score diff.  input diff."]
    rows += [
        f"{c.name:<16} {c.trained:>7} {c.exported:>8} {c.agreeing:>8} {c.missing:>7}  {c.least_iou:>9.4f}  "
        f"{c.largest_score_difference:>11.5f}  {c.input_difference:>11}"
        for c in comparisons
    ]
    agreeing = sum(c.agrees for c in comparisons)
    rows.append(f"{agreeing} of {len(comparisons)} pictures agree")
    return "\n".join(rows)
