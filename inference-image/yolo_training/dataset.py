"""Pictures of shapes as a dataset folder that ultralytics reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from yolo_serving.shapes import CLASS_NAMES, IMAGE_SIDE, Picture, Split, picture


@dataclass(frozen=True, slots=True)
class DatasetSize:
    """Number of pictures per split."""

    train: int
    validation: int
    held_out: int


def write_shapes_dataset(folder: Path, size: DatasetSize, seed: int) -> Path:
    """Writes images and labels below the folder and returns the dataset's YAML file.

    The held-out pictures are ultralytics' split `test`. JSON is YAML, so no YAML library is needed.
    """
    counts = {Split.TRAIN: size.train, Split.VALIDATION: size.validation, Split.HELD_OUT: size.held_out}
    for split, count in counts.items():
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(count):
            made = picture(split, index, seed)
            (images / f"{index:05d}.jpg").write_bytes(made.jpeg())
            (labels / f"{index:05d}.txt").write_text(label_lines(made), encoding="ascii")
    description = {
        "path": str(folder),
        "train": f"images/{Split.TRAIN}",
        "val": f"images/{Split.VALIDATION}",
        "test": f"images/{Split.HELD_OUT}",
        "names": dict(enumerate(CLASS_NAMES)),
    }
    target = folder / "dataset.yaml"
    target.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return target


def label_lines(made: Picture) -> str:
    """One line `class cx cy w h` per shape, each as a share of the picture's side (the YOLO label format)."""
    lines = []
    for shape in made.shapes:
        x1, y1, x2, y2 = (value / IMAGE_SIDE for value in shape.box)
        lines.append(f"{shape.class_id} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n")
    return "".join(lines)
