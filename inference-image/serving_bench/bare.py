"""What the machine can do without a server: loops that decode a batch, run it and find its detections."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
    """A session and a batch of pictures, run by so many loops at once, as the server's lanes do.

    `threads`: of one forward pass; None: ONNX Runtime's own defaults, which spin.
    """

    def __init__(self, model: Path, side: int, pictures: Sequence[bytes], threads: int | None, loops: int = 1) -> None:
        options = ort.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._side = side
        self._pictures = pictures
        self._loops = loops
        self._run(_WARM_UP_BATCHES)

    def rate(self, batches: int) -> Rate:
        """Runs that many batches in each loop."""
        count = self._loops * batches * len(self._pictures)
        started, cpu_started = time.monotonic(), time.process_time()
        self._run(batches)
        elapsed, cpu = time.monotonic() - started, time.process_time() - cpu_started
        return Rate(count / elapsed, 1000 * cpu / count)

    def _run(self, batches: int) -> None:
        with ThreadPoolExecutor(self._loops) as executor:
            for done in [executor.submit(self._batches, batches) for _ in range(self._loops)]:
                done.result()

    def _batches(self, count: int) -> None:
        for _ in range(count):
            self._batch()

    def _batch(self) -> None:
        fitted = [letterbox(decode(body, _MAX_PIXELS), self._side) for body in self._pictures]
        batch = np.empty((len(fitted), 3, self._side, self._side), np.float32)
        for row, (pixels, _) in zip(batch, fitted, strict=True):
            fill_input(pixels, row)
        heads = self._session.run(None, {self._input: batch})[0]
        for head, (_, box) in zip(heads, fitted, strict=True):
            box.to_original(detect(head, Thresholds()).boxes)
