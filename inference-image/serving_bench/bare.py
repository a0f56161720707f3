"""What the machine can do without a server: one loop that decodes a batch, runs it and finds its detections."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from yolo_serving.detections import Thresholds, detect
from yolo_serving.onnx_runtime import ort
from yolo_serving.pictures import decode, fill_input, letterbox

_MAX_PIXELS: Final = 25_000_000
_WARM_UP_BATCHES: Final = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """Pictures per second, and milliseconds of processor time for each."""

    pictures_per_second: float
    cpu_ms: float


class BareLoop:
    """A session and a batch of pictures. `threads` None: a session with ONNX Runtime's own defaults, which spin."""

    def __init__(self, model: Path, side: int, pictures: Sequence[bytes], threads: int | None) -> None:
        options = ort.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._side = side
        self._pictures = pictures
        for _ in range(_WARM_UP_BATCHES):
            self._batch()

    def rate(self, batches: int) -> Rate:
        """Runs that many batches."""
        count = batches * len(self._pictures)
        started, cpu_started = time.monotonic(), time.process_time()
        for _ in range(batches):
            self._batch()
        elapsed, cpu = time.monotonic() - started, time.process_time() - cpu_started
        return Rate(count / elapsed, 1000 * cpu / count)

    def _batch(self) -> None:
        fitted = [letterbox(decode(body, _MAX_PIXELS), self._side) for body in self._pictures]
        batch = np.empty((len(fitted), 3, self._side, self._side), np.float32)
        for row, (pixels, _) in zip(batch, fitted, strict=True):
            fill_input(pixels, row)
        heads = self._session.run(None, {self._input: batch})[0]
        for head, (_, box) in zip(heads, fitted, strict=True):
            box.to_original(detect(head, Thresholds()).boxes)
