"""What a user brings, looked at before the long work begins: a mistake found after hours of training costs them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from yolo_serving.model import Execution, load_model
from yolo_training.ultralytics_session import YOLO, check_det_dataset

_PICTURES: Final = frozenset({".jpg", ".jpeg", ".png"})


class InputUnusable(Exception):
    """Something that was given cannot be worked with; `str()` is a sentence for the person who gave it."""


def existing_file(text: str) -> Path:
    """An argument of the command line that names a file."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {path}")
    return path


def pictures_in(folder: Path) -> list[Path]:
    """JPEGs and PNGs of a folder by name. Raises InputUnusable where there is none: nothing compared is no proof."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in _PICTURES)
    if not found:
        raise InputUnusable(f"There are no JPEGs or PNGs in {folder}.")
    return found


def require_absent(path: Path) -> None:
    """Raises InputUnusable where something is there already: a version is made once."""
    if path.exists():
        raise InputUnusable(f"{path} is there already; name another, or remove it.")


def require_splits(dataset: Path, *splits: str) -> None:
    """Raises InputUnusable unless ultralytics finds the dataset and the pictures of these splits."""
    for split in splits:
        try:
            check_det_dataset(str(dataset), split=split)
        except (OSError, SyntaxError, TypeError, ValueError) as error:
            raise InputUnusable(f"{dataset} cannot be used, split {split!r}: {str(error).splitlines()[0]}") from error


def input_side(model: Path) -> int:
    """Input side in pixels that an ONNX file was exported with, or that weights were trained with.

    Raises InputUnusable for weights that do not say it, ModelNotUsable for an ONNX file that cannot be served.
    """
    if model.suffix == ".onnx":
        return load_model(model, Execution()).card.side
    match YOLO(str(model)).overrides.get("imgsz"):
        case int(side):
            return side
        case other:
            raise InputUnusable(f"{model} says it takes pictures of {other!r}; give --side.")
