"""A detector of two classes, 32 x 32, that has the shape of YOLOv8's and can be worked out by hand.

Three anchors. Anchor 0 and 1 overlap (boxes 4,4,20,20 and 4,4,20,18: IoU 0.875) and score, for class "red", the mean of
the red channel and 0.9 of it. Anchor 2 (box 16,16,32,32) scores the mean of the green channel for class "green".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 32
CLASS_NAMES = ("red", "green")
_BOXES = np.array([[12, 12, 16, 16], [12, 11, 16, 14], [24, 24, 16, 16]], np.float32)
_ROWS = 4 + len(CLASS_NAMES)


def write_tiny_detector(
    path: Path, *, names: str = "{0: 'red', 1: 'green'}", batch: int | str = "batch", datatype: int = TensorProto.FLOAT
) -> Path:
    """Writes the ONNX file with the metadata that ultralytics writes."""
    weights = np.zeros((3, _ROWS, 3), np.float32)
    weights[0, 4, 0] = 1.0
    weights[0, 4, 1] = 0.9
    weights[1, 5, 2] = 1.0
    bias = np.zeros((_ROWS, 3), np.float32)
    bias[:4] = _BOXES.T
    constants = [
        numpy_helper.from_array(weights.reshape(3, -1), "weights"),
        numpy_helper.from_array(bias.reshape(-1), "bias"),
        numpy_helper.from_array(np.array([-1, _ROWS, 3], np.int64), "shape"),
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["floats"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["values"]),
        helper.make_node("Reshape", ["values", "shape"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", datatype, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, _ROWS, 3])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    metadata = {"names": names, "imgsz": f"[{SIDE}, {SIDE}]", "task": "detect", "stride": "32"}
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path
