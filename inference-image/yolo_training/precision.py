"""Smaller number formats for an exported model. What is gained and lost differs by processor: evaluate and measure."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from yolo_training.exporting import export_onnx
from yolo_training.ultralytics_session import YOLO


class Precision(StrEnum):
    """Number format of weights and arithmetic; inputs and outputs stay FP32."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


_QUANTIZE = {Precision.FP16: 16, Precision.INT8: 8}


def export_with_precision(weights: Path, side: int, precision: Precision, calibration: Path) -> Path:
    """Writes an ONNX file beside the weights and returns it. INT8 is calibrated with a dataset's split `val`."""
    if precision is Precision.FP32:
        return export_onnx(weights, side)
    options: dict[str, object] = {"quantize": _QUANTIZE[precision]}
    if precision is Precision.INT8:
        options["data"] = str(calibration)
    exported = YOLO(str(weights)).export(
        format="onnx", imgsz=side, dynamic=True, simplify=True, device="cpu", **options
    )
    return Path(exported)
