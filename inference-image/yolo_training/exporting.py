"""From PyTorch weights to an ONNX file that ONNX Runtime runs on CPU and GPU."""

from __future__ import annotations

from pathlib import Path

from yolo_training.ultralytics_session import YOLO


def export_onnx(weights: Path, side: int) -> Path:
    """Writes `<weights>.onnx` beside the weights: any batch size, raw head (thresholds stay with the server).

    The opset is left to ultralytics: from 19 on ONNX Runtime's CUDA provider runs Resize and ReduceMax on the CPU.
    """
    exported = YOLO(str(weights)).export(format="onnx", imgsz=side, dynamic=True, simplify=True, device="cpu")
    return Path(exported)
