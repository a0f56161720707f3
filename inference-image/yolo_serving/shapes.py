"""Generated pictures of shapes with their true boxes: what the demonstration model is trained and tried on.

Needs numpy and pillow only, so that a load generator can use it without the server's or the training's packages.
Every picture is a pure function of (seed, split, index): the held-out ones never occur in training.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

CLASS_NAMES: Final = ("square", "circle", "triangle")
IMAGE_SIDE: Final = 160
_SUPERSAMPLING: Final = 3
_MAX_SHAPES: Final = 4
_PLACEMENT_TRIES: Final = 30
_MIN_COLOUR_DISTANCE: Final = 110.0

Box = tuple[float, float, float, float]


class Split(StrEnum):
    """Disjoint families of pictures."""

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held-out"


@dataclass(frozen=True, slots=True)
class Shape:
    """One drawn shape: its class and its true box x1, y1, x2, y2 in pixels."""

    class_id: int
    box: Box


@dataclass(frozen=True, slots=True)
class Picture:
    """One generated RGB picture, IMAGE_SIDE pixels square, and what is in it."""

    image: Image.Image
    shapes: tuple[Shape, ...]

    def jpeg(self) -> bytes:
        """The picture as JPEG bytes."""
        buffer = BytesIO()
        self.image.save(buffer, format="JPEG", quality=90)
        return buffer.getvalue()


def picture(split: Split, index: int, seed: int = 0) -> Picture:
    """The picture of that split, index and seed; the same on every machine with the same pillow."""
    rng = np.random.default_rng([seed, zlib.crc32(split.value.encode()), index])
    background = rng.uniform(0, 255, 3)
    side = IMAGE_SIDE * _SUPERSAMPLING
    canvas = Image.new("RGB", (side, side), _rgb(background))
    draw = ImageDraw.Draw(canvas)
    shapes: list[Shape] = []
    for _ in range(int(rng.integers(1, _MAX_SHAPES + 1))):
        outline = _place(rng, shapes)
        if outline is None:
            continue
        class_id, points = outline
        draw.polygon(
            [(x * _SUPERSAMPLING, y * _SUPERSAMPLING) for x, y in points], fill=_rgb(_contrasting(rng, background))
        )
        shapes.append(Shape(class_id, _bounds(points)))
    small = np.asarray(canvas.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BOX), dtype=np.float32)
    noisy = small + rng.normal(0, rng.uniform(0, 12), small.shape)
    return Picture(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)), tuple(shapes))


def _rgb(colour: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in colour)
    return red, green, blue


def _contrasting(
    rng: np.random.Generator, background: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A colour that differs visibly from the background (Euclidean distance in RGB)."""
    while True:
        colour = rng.uniform(0, 255, 3)
        if float(np.linalg.norm(colour - background)) >= _MIN_COLOUR_DISTANCE:
            return colour


def _place(rng: np.random.Generator, placed: Sequence[Shape]) -> tuple[int, list[tuple[float, float]]] | None:
    """A random outline that touches no shape placed before, or None where there is no room left."""
    for _ in range(_PLACEMENT_TRIES):
        class_id = int(rng.integers(len(CLASS_NAMES)))
        radius = float(rng.uniform(11, 32))
        x, y = (float(v) for v in rng.uniform(radius + 1, IMAGE_SIDE - radius - 1, 2))
        points = _outline(class_id, (x, y), radius, float(rng.uniform(0, 2 * math.pi)))
        box = _bounds(points)
        if all(_apart(box, other.box) for other in placed):
            return class_id, points
    return None


def _outline(class_id: int, centre: tuple[float, float], radius: float, angle: float) -> list[tuple[float, float]]:
    """Corner points of the shape inscribed in a circle of that radius (a circle gets 48 of them)."""
    corners = {"square": 4, "circle": 48, "triangle": 3}[CLASS_NAMES[class_id]]
    steps = (angle + 2 * math.pi * corner / corners for corner in range(corners))
    return [(centre[0] + radius * math.cos(step), centre[1] + radius * math.sin(step)) for step in steps]


def _bounds(points: Sequence[tuple[float, float]]) -> Box:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _apart(a: Box, b: Box) -> bool:
    return a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]


def write_pictures(folder: Path, count: int, *, split: Split = Split.HELD_OUT, seed: int = 0) -> Path:
    """Writes `count` JPEGs and `truth.json` into the folder and returns the path of `truth.json`.

    `truth.json`: {"images": {"0000.jpg": [{"class": "square", "box": [x1, y1, x2, y2]}, ...]}}, boxes in pixels. It is
    renamed into place last: where it exists, the pictures are whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truth: dict[str, list[dict[str, object]]] = {}
    for index in range(count):
        made = picture(split, index, seed)
        name = f"{index:04d}.jpg"
        (folder / name).write_bytes(made.jpeg())
        truth[name] = [
            {"class": CLASS_NAMES[shape.class_id], "box": [round(v, 2) for v in shape.box]} for shape in made.shapes
        ]
    target = folder / "truth.json"
    partial = folder / f".truth.json.{os.getpid()}"
    partial.write_text(json.dumps({"images": truth}, indent=1) + "\n", encoding="utf-8")
    partial.replace(target)
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: writes pictures into a folder."""
    parser = argparse.ArgumentParser(prog="python -m yolo_serving.shapes", description="Write pictures of shapes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", type=Split, choices=list(Split), default=Split.HELD_OUT)
    options = parser.parse_args(arguments)
    print(write_pictures(options.folder, options.count, split=options.split, seed=options.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
