from __future__ import annotations

import numpy as np
import pytest

from yolo_serving.detections import Thresholds, detect, iou_matrix, suppress


def head(*anchors: tuple[tuple[float, float, float, float], tuple[float, ...]]) -> np.ndarray:
    """Anchors given as (cx, cy, w, h), scores."""
    return np.array([[*box, *scores] for box, scores in anchors], np.float32).T


def test_best_class_threshold_and_order() -> None:
    found = detect(
        head(
            ((10, 10, 4, 8), (0.1, 0.6)),
            ((50, 50, 10, 10), (0.9, 0.2)),
            ((80, 80, 10, 10), (0.24, 0.2)),
        ),
        Thresholds(confidence=0.25),
    )
    assert found.classes.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    assert found.boxes.tolist() == [[45, 45, 55, 55], [8, 6, 12, 14]]


# Two boxes 10 x 10, one moved by 2: intersection 80, union 120, IoU 2/3.
@pytest.mark.parametrize(("max_iou", "expected"), [(0.66, 1), (0.67, 2)])
def test_overlap_decides_at_the_threshold(max_iou: float, expected: int) -> None:
    found = detect(head(((10, 10, 10, 10), (0.9,)), ((12, 10, 10, 10), (0.8,))), Thresholds(iou=max_iou))
    assert len(found) == expected


def test_classes_do_not_suppress_each_other() -> None:
    found = detect(head(((10, 10, 10, 10), (0.9, 0)), ((10, 10, 10, 10), (0, 0.8))), Thresholds())
    assert found.classes.tolist() == [0, 1]


def test_a_suppressed_box_suppresses_nobody() -> None:
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    # Neighbours overlap by 6/14; the first and the third by 2/18.
    assert suppress(boxes, np.zeros(3, np.int64), 0.4).tolist() == [0, 2]


def test_at_most_so_many_and_the_best_of_them() -> None:
    anchors = [((20.0 * i + 5, 5.0, 8.0, 8.0), (0.3 + 0.01 * i,)) for i in range(50)]
    found = detect(head(*anchors), Thresholds(max_detections=3))
    assert found.scores.tolist() == pytest.approx([0.79, 0.78, 0.77])


def test_more_candidates_than_are_compared() -> None:
    anchors = [((10.0 * i, 5.0, 8.0, 8.0), (0.3 + i / 10_000,)) for i in range(3000)]
    found = detect(head(*anchors), Thresholds(max_detections=300))
    assert len(found) == 300
    assert found.scores[0] == pytest.approx(0.3 + 2999 / 10_000)


def test_nothing_found() -> None:
    found = detect(head(((10, 10, 4, 8), (0.1, 0.2))), Thresholds())
    assert (len(found), found.boxes.shape) == (0, (0, 4))


def test_anchors_that_are_not_finite_are_ignored() -> None:
    found = detect(
        head(((np.nan, 10, 4, 8), (0.9,)), ((10, 10, np.inf, 8), (0.9,)), ((10, 10, 4, 8), (0.5,))), Thresholds()
    )
    assert found.scores.tolist() == pytest.approx([0.5])


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    b = np.array([[5, 5, 15, 15], [0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 0, 0]], np.float32)
    assert iou_matrix(a, b).tolist() == [pytest.approx([25 / 175, 1, 0, 0]), [0, 0, 0, 0]]
