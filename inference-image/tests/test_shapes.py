from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yolo_serving.shapes import CLASS_NAMES, IMAGE_SIDE, Split, main, picture


def test_a_picture_is_a_function_of_split_index_and_seed() -> None:
    first = picture(Split.HELD_OUT, 3, seed=1)
    assert first.jpeg() == picture(Split.HELD_OUT, 3, seed=1).jpeg()
    others = [picture(Split.HELD_OUT, 4, 1), picture(Split.TRAIN, 3, 1), picture(Split.HELD_OUT, 3, 2)]
    assert first.jpeg() not in [other.jpeg() for other in others]


def test_shapes_are_inside_apart_and_of_every_class() -> None:
    seen = set()
    for index in range(60):
        made = picture(Split.TRAIN, index)
        assert made.image.size == (IMAGE_SIDE, IMAGE_SIDE)
        assert 1 <= len(made.shapes) <= 4
        for number, shape in enumerate(made.shapes):
            seen.add(shape.class_id)
            x1, y1, x2, y2 = shape.box
            assert 0 <= x1 < x2 <= IMAGE_SIDE
            assert 0 <= y1 < y2 <= IMAGE_SIDE
            for other in made.shapes[:number]:
                ox1, oy1, ox2, oy2 = other.box
                assert x2 < ox1 or ox2 < x1 or y2 < oy1 or oy2 < y1
    assert seen == set(range(len(CLASS_NAMES)))


def test_the_box_bounds_what_is_drawn() -> None:
    for index in range(10):
        made = picture(Split.HELD_OUT, index)
        pixels = np.asarray(made.image).astype(float)
        outside = np.ones(pixels.shape[:2], bool)
        for shape in made.shapes:
            x1, y1, x2, y2 = shape.box
            outside[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = False
        background = np.median(pixels[outside], axis=0)
        for shape in made.shapes:
            x, y = int((shape.box[0] + shape.box[2]) / 2), int((shape.box[1] + shape.box[3]) / 2)
            middle = pixels[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1))
            assert np.linalg.norm(middle - background) > 60
        # Only noise (standard deviation up to 12) outside of the boxes.
        assert np.abs(pixels[outside].mean(axis=0) - background).max() < 8


def test_command_writes_pictures_and_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--count", "3"]) == 0
    truth_file = Path(capsys.readouterr().out.strip())
    truth = json.loads(truth_file.read_text())["images"]
    assert sorted(truth) == ["0000.jpg", "0001.jpg", "0002.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000.jpg", "0001.jpg", "0002.jpg", "truth.json"]
    with Image.open(tmp_path / "0001.jpg") as written:
        assert written.size == (IMAGE_SIDE, IMAGE_SIDE)
    made = picture(Split.HELD_OUT, 1)
    assert [entry["class"] for entry in truth["0001.jpg"]] == [CLASS_NAMES[shape.class_id] for shape in made.shapes]
    assert truth["0001.jpg"][0]["box"] == [pytest.approx(value, abs=0.006) for value in made.shapes[0].box]
