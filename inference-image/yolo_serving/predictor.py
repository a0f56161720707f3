"""One picture's way through the server: admission, decoding, batch, forward pass, detections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_serving.batching import Batcher, BatchingPolicy
from yolo_serving.detections import Detections, Thresholds, detect
from yolo_serving.metrics import Metrics, Stages
from yolo_serving.model import Model
from yolo_serving.pictures import Letterbox, decode, letterbox


@dataclass(frozen=True, slots=True)
class Prediction:
    """Detections in one picture, in its own pixels, and the seconds each stage took."""

    detections: Detections
    width: int
    height: int
    stages: Stages


@dataclass(frozen=True, slots=True)
class _Prepared:
    """(side, side, 3) uint8 RGB, and what to do with the head that comes out."""

    pixels: NDArray[np.uint8]
    fitted: Letterbox
    thresholds: Thresholds


@dataclass(frozen=True, slots=True)
class _Detected:
    detections: Detections
    inference_seconds: float
    postprocess_seconds: float


class Predictor:
    """Owns the decoding threads and the batcher; lives in one event loop."""

    def __init__(
        self, model: Model, policy: BatchingPolicy, metrics: Metrics, *, max_pixels: int, decode_threads: int
    ) -> None:
        self._model = model
        self._metrics = metrics
        self._max_pixels = max_pixels
        self._decoding = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        if model.fixed_batch is not None:
            policy = replace(policy, max_batch=model.fixed_batch)
        self._max_batch = policy.max_batch
        self._batcher: Batcher[_Prepared, _Detected] = Batcher(policy, self._run_batch)

    @property
    def alive(self) -> bool:
        """Whether predictions can make progress."""
        return self._batcher.alive

    def queue_depth(self) -> int:
        """Pictures that wait for a forward pass."""
        return self._batcher.depth

    async def start(self) -> None:
        """Begins to serve. Every batch size and both codecs are tried first: what runs for the first time is slow."""
        self._warm_up()
        await self._batcher.start()

    def _warm_up(self) -> None:
        side = self._model.card.side
        blank = Image.new("RGB", (side * 2, side))
        for kind in ("JPEG", "PNG"):
            body = BytesIO()
            blank.save(body, format=kind)
            prepared = self._prepare(body.getvalue(), Thresholds())
        self._model.warm_up(range(1, self._max_batch + 1))
        self._forward([prepared])

    async def stop(self) -> None:
        """Ends the service; to be called when no request is under way."""
        await self._batcher.stop()
        self._decoding.shutdown(wait=False)

    def admitted(self, count: int = 1) -> AbstractContextManager[None]:
        """A place for `count` pictures in the bounded number under way; raises Overloaded when there is none."""
        return self._batcher.admitted(count)

    async def predict(self, body: bytes, thresholds: Thresholds, arrived_at: float) -> Prediction:
        """Detections in the picture that the body holds; `arrived_at` in monotonic seconds.

        Raises BadImage, TooLarge or DeadlineExceeded.
        """
        started = time.monotonic()
        prepared = await asyncio.get_running_loop().run_in_executor(self._decoding, self._prepare, body, thresholds)
        decoded = time.monotonic()
        detected, queued_seconds = await self._batcher.submit(prepared, arrived_at)
        stages = Stages(decoded - started, queued_seconds, detected.inference_seconds, detected.postprocess_seconds)
        found = detected.detections
        self._metrics.picture(stages, found.classes.tolist(), found.scores.tolist())
        return Prediction(found, prepared.fitted.width, prepared.fitted.height, stages)

    def _prepare(self, body: bytes, thresholds: Thresholds) -> _Prepared:
        pixels, fitted = letterbox(decode(body, self._max_pixels), self._model.card.side)
        return _Prepared(pixels, fitted, thresholds)

    def _run_batch(self, items: Sequence[_Prepared]) -> list[_Detected]:
        """Runs in the batcher's thread."""
        self._metrics.batch(len(items))
        return self._forward(items)

    def _forward(self, items: Sequence[_Prepared]) -> list[_Detected]:
        side = self._model.card.side
        started = time.monotonic()
        batch = np.empty((len(items), 3, side, side), np.float32)
        for row, item in zip(batch, items, strict=True):
            np.multiply(item.pixels.transpose(2, 0, 1), np.float32(1 / 255), out=row)
        heads = self._model.run(batch)
        inference_seconds = time.monotonic() - started
        return [self._detect(head, item, inference_seconds) for head, item in zip(heads, items, strict=True)]

    @staticmethod
    def _detect(head: NDArray[np.float32], item: _Prepared, inference_seconds: float) -> _Detected:
        started = time.monotonic()
        found = detect(head, item.thresholds)
        moved = Detections(item.fitted.to_original(found.boxes), found.scores, found.classes)
        return _Detected(moved, inference_seconds, time.monotonic() - started)
