"""From the raw head of a YOLOv8 detector to boxes: threshold, non-maximum suppression, order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

# More candidates than this are not compared with one another: bounds time and memory (n x n floats) on any input.
_MAX_CANDIDATES: Final = 1000


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What counts as a detection: score at least `confidence`, overlap at most `iou`, at most `max_detections`."""

    confidence: float = 0.25
    iou: float = 0.7
    max_detections: int = 300


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes (n, 4) float32 x1, y1, x2, y2; scores (n,) float32 falling; classes (n,) int64."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


def detect(head: NDArray[np.float32], thresholds: Thresholds) -> Detections:
    """Detections in one picture, in input pixels.

    `head`: (4 + classes, anchors), rows cx, cy, w, h and one score per class (YOLOv8 has no objectness). Each anchor
    counts with its best class only; boxes suppress others of their own class. Anchors with a value that is not finite
    are ignored.
    """
    scores = head[4:].max(axis=0)
    keep = np.flatnonzero(scores >= thresholds.confidence)
    if len(keep) > _MAX_CANDIDATES:
        keep = keep[np.argpartition(scores[keep], -_MAX_CANDIDATES)[-_MAX_CANDIDATES:]]
    keep = keep[np.isfinite(head[:, keep]).all(axis=0)]
    keep = keep[np.argsort(-scores[keep], kind="stable")]
    classes: NDArray[np.int64] = head[4:, keep].argmax(axis=0)
    boxes = corners(head[:4, keep].T)
    best = suppress(boxes, classes, thresholds.iou)[: thresholds.max_detections]
    return Detections(boxes[best], scores[keep][best], classes[best])


def corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4) cx, cy, w, h to (n, 4) x1, y1, x2, y2."""
    half = boxes[:, 2:] / 2
    return np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1)


def suppress(boxes: NDArray[np.float32], classes: NDArray[np.int64], max_iou: float) -> NDArray[np.int64]:
    """Indices of the boxes that stay, given boxes (n, 4) in order of falling score.

    Greedy non-maximum suppression: a box goes when it overlaps one that stays, of its own class, by more than
    `max_iou` (intersection over union).
    """
    count = len(boxes)
    if count < 2:
        return np.arange(count)
    overlapping = iou_matrix(boxes, boxes) > max_iou
    overlapping &= classes[:, None] == classes[None, :]
    alive = np.ones(count, bool)
    for index in range(count - 1):
        if alive[index]:
            alive[index + 1 :] &= ~overlapping[index, index + 1 :]
    return np.flatnonzero(alive)


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4) given as x1, y1, x2, y2; 0 where both are empty."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    union = area_a[:, None] + area_b[None, :] - intersection
    ratio: NDArray[np.float32] = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return ratio
