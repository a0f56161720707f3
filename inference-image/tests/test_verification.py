"""The pairing of detections, and the real comparison where the training environment and the models are."""

from __future__ import annotations

import dataclasses
import importlib
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from serving_process import ServerProcess

import build_models
from yolo_serving.detections import Detections, Thresholds
from yolo_serving.model import Execution, load_model
from yolo_serving.pictures import decode
from yolo_serving.shapes import Split, picture, write_pictures


@pytest.fixture
def verification(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The module without ultralytics, which only the training environment has; the pairing does not need it."""
    stand_in = types.ModuleType("yolo_training.ultralytics_session")
    stand_in.YOLO = stand_in.LetterBox = stand_in.scale_boxes = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yolo_training.ultralytics_session", stand_in)
    monkeypatch.delitem(sys.modules, "yolo_training.verification", raising=False)
    yield importlib.import_module("yolo_training.verification")
    sys.modules.pop("yolo_training.verification", None)


def found(*rows: tuple[float, float, int]) -> Detections:
    """Squares of side 10 at x, with score and class."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _, _ in rows], np.float32).reshape(-1, 4)
    return Detections(
        boxes, np.array([score for _, score, _ in rows], np.float32), np.array([c for _, _, c in rows], np.int64)
    )


@pytest.mark.parametrize(
    ("trained", "exported", "agreeing", "missing"),
    [
        ([(0, 0.9, 0), (50, 0.8, 1)], [(50, 0.8, 1), (0, 0.9, 0)], 2, 0),
        ([], [], 0, 0),
        ([(0, 0.9, 0)], [], 0, 1),
        ([], [(0, 0.9, 0)], 0, 1),
        ([(0, 0.9, 0)], [(0, 0.9, 1)], 0, 2),
        ([(0, 0.9, 0)], [(0, 0.86, 0)], 0, 2),
        ([(0, 0.9, 0)], [(1, 0.9, 0)], 0, 2),
        ([(0, 0.9, 0), (0, 0.9, 0)], [(0, 0.9, 0)], 1, 1),
        # Just above the threshold of 0.25: whether it is reported is a matter of rounding.
        ([(0, 0.27, 0)], [], 0, 0),
    ],
)
def test_pairing(
    verification: types.ModuleType,
    trained: list[tuple[float, float, int]],
    exported: list[tuple[float, float, int]],
    agreeing: int,
    missing: int,
) -> None:
    result = verification.compare("p", found(*trained), found(*exported), 0.25, verification.Tolerance())
    assert (result.agreeing, result.missing, result.agrees) == (agreeing, missing, missing == 0)


def test_a_picture_that_the_server_sees_otherwise_does_not_agree(verification: types.ModuleType) -> None:
    same = verification.compare("p", found((0, 0.9, 0)), found((0, 0.9, 0)), 0.25, verification.Tolerance())
    assert dataclasses.replace(same, input_difference=1).agrees
    assert not dataclasses.replace(same, input_difference=2).agrees


@pytest.mark.timeout(4000)
def test_the_server_answers_what_verify_compares(
    verification: types.ModuleType, start_server: Callable[..., ServerProcess]
) -> None:
    onnx = build_models.build(build_models.cache_folder()) / "v1.1.0" / "model.onnx"
    server, model = start_server(MODEL_PATH=str(onnx)), load_model(onnx, Execution(threads=1))
    total = 0
    for index in range(12):
        body = picture(Split.HELD_OUT, index).jpeg()
        compared = verification.detect_as_served(model, decode(body, 10**6), Thresholds())
        answered = server.predict(body).json()["detections"]
        assert isinstance(answered, list)
        assert [(one["class_id"], one["score"], one["box"]) for one in answered] == [
            (int(number), pytest.approx(float(score), abs=1e-4), pytest.approx(box.tolist(), abs=0.01))
            for number, score, box in zip(compared.classes, compared.scores, compared.boxes, strict=True)
        ]
        total += len(answered)
    assert total > 12


@pytest.mark.timeout(4000)
def test_exported_models_find_what_the_trained_ones_find(tmp_path: Path) -> None:
    cache = build_models.cache_folder()
    models = build_models.build(cache)
    python = build_models.training_environment(cache)
    own_size, other_sizes = tmp_path / "own", tmp_path / "other"
    write_pictures(own_size, 6)
    other_sizes.mkdir()
    for index, size in enumerate([(320, 240), (100, 160), (223, 167), (640, 480), (1280, 720)] * 4):
        picture(Split.HELD_OUT, 700 + index).image.resize(size).save(other_sizes / f"{index}.JPG")

    def verified(weights: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        files = (str(models / weights / "model.pt"), str(models / "v1.1.0" / "model.onnx"))
        return subprocess.run(
            [str(python), "-m", "yolo_training", "verify", *files, *arguments],
            cwd=build_models.HERE, env={**os.environ, "YOLO_VERBOSE": "false"}, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip

    same = verified("v1.1.0", str(own_size))
    assert same.returncode == 0, same.stdout + same.stderr
    assert "6 of 6 pictures agree" in same.stdout
    resampled = verified("v1.1.0", str(other_sizes))
    assert resampled.returncode == 0, resampled.stdout + resampled.stderr
    assert "20 of 20 pictures agree" in resampled.stdout
    nothing = verified("v1.1.0", str(tmp_path))
    assert (nothing.returncode, nothing.stderr) == (1, f"There are no JPEGs or PNGs in {tmp_path}.\n")
    # The other version's weights are no match for this file.
    different = verified("v1.0.0", str(own_size))
    assert different.returncode == 1, different.stdout + different.stderr
