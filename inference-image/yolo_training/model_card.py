"""The JSON beside a model file: what it is, how well it detects, where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version as package_version
from pathlib import Path

from yolo_serving.digest import file_digest
from yolo_training.evaluation import Accuracy


def write_model_card(onnx: Path, *, version: str, accuracy: Accuracy, facts: Mapping[str, object]) -> Path:
    """Writes `model.json` beside the ONNX file. The digest is of the ONNX file, as the server reports it."""
    card = {
        "version": version,
        "file": onnx.name,
        "sha256": file_digest(onnx),
        **asdict(accuracy),
        **facts,
        "ultralytics": package_version("ultralytics"),
        "licence": "AGPL-3.0 (trained and exported with ultralytics)",
    }
    target = onnx.with_name("model.json")
    target.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return target
