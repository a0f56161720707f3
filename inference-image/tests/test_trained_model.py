"""The trained models, where build_models.py has made them, found to detect what is in pictures they never saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from serving_process import ServerProcess

import build_models
from yolo_serving.detections import iou_matrix
from yolo_serving.digest import file_digest
from yolo_serving.shapes import CLASS_NAMES, Picture, Split, picture

PICTURES = 60


@pytest.fixture(scope="module")
def models() -> Path:
    """Makes the models where they are missing: minutes on a fresh machine, nothing later."""
    return build_models.build(build_models.cache_folder())


def hits(made: Picture, detections: list[dict[str, object]]) -> tuple[int, int]:
    """Shapes found (right class, IoU at least 0.5) and detections that are no shape."""
    truth = np.array([shape.box for shape in made.shapes], np.float32)
    boxes = np.array([detection["box"] for detection in detections], np.float32).reshape(-1, 4)
    same = np.array(
        [[d["class_name"] == CLASS_NAMES[shape.class_id] for d in detections] for shape in made.shapes], bool
    ).reshape(len(truth), len(boxes))
    matched = (iou_matrix(truth, boxes) >= 0.5) & same
    return int(matched.any(axis=1).sum()), int((~matched.any(axis=0)).sum())


@pytest.mark.timeout(4000)
@pytest.mark.parametrize(("version", "least_found", "most_wrong"), [("v1.0.0", 0.6, 0.25), ("v1.1.0", 0.93, 0.07)])
def test_detects_held_out_pictures(
    models: Path, start_server: Callable[..., ServerProcess], version: str, least_found: float, most_wrong: float
) -> None:
    server = start_server(MODEL_PATH=str(models / version / "model.onnx"))
    found = wrong = total = 0
    for index in range(PICTURES):
        made = picture(Split.HELD_OUT, 10_000 + index)
        answer = server.predict(made.jpeg(), "/predict")
        assert answer.headers["x-model-version"] == version
        detections = answer.json()["detections"]
        assert isinstance(detections, list)
        right, extra = hits(made, detections)
        found, wrong, total = found + right, wrong + extra, total + len(made.shapes)
    assert found / total >= least_found
    assert wrong / total <= most_wrong


@pytest.mark.timeout(4000)
@pytest.mark.parametrize(("version", "least_map50"), [("v1.0.0", 0.85), ("v1.1.0", 0.95)])
def test_card_beside_the_model(models: Path, version: str, least_map50: float) -> None:
    card = json.loads((models / version / "model.json").read_text())
    assert card["version"] == version
    assert card["sha256"] == file_digest(models / version / "model.onnx")
    assert card["map50"] >= least_map50
    assert card["objects"] > 500


@pytest.mark.timeout(4000)
def test_the_two_versions_are_different_models(models: Path) -> None:
    cards = [json.loads((models / version / "model.json").read_text()) for version in ("v1.0.0", "v1.1.0")]
    assert cards[0]["sha256"] != cards[1]["sha256"]
    assert cards[0]["map50"] < cards[1]["map50"]
