"""A picture's or tensor's way through the server: admission, decoding, batch, forward pass, detections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_serving.batching import Batcher, BatchingPolicy, Ticket
from yolo_serving.detections import Detections, Thresholds, detect
from yolo_serving.metrics import Metrics, Stages
from yolo_serving.model import Model
from yolo_serving.pace import Pace
from yolo_serving.pictures import Letterbox, decode, fill_input, letterbox

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Prediction:
    """Detections in one picture, in its own pixels, and the seconds each stage took."""

    picture: Image.Image
    detections: Detections
    stages: Stages


class _Job(Protocol):
    """One row of a batch. Both methods run in a thread of the batcher."""

    def fill(self, row: NDArray[np.float32]) -> None:
        """Writes the input (3, side, side), RGB in 0..1."""

    def finish(self, head: NDArray[np.float32]) -> None:
        """Takes the raw head (4 + classes, anchors)."""


@dataclass(slots=True)
class _PictureJob:
    """A decoded picture; `pixels` (side, side, 3) uint8 RGB."""

    picture: Image.Image
    pixels: NDArray[np.uint8]
    fitted: Letterbox
    thresholds: Thresholds
    decode_seconds: float
    found: Detections | None = None
    postprocess_seconds: float = 0.0

    def fill(self, row: NDArray[np.float32]) -> None:
        fill_input(self.pixels, row)

    def finish(self, head: NDArray[np.float32]) -> None:
        started = time.monotonic()
        found = detect(head, self.thresholds)
        self.found = Detections(self.fitted.to_original(found.boxes), found.scores, found.classes)
        self.postprocess_seconds = time.monotonic() - started


@dataclass(slots=True)
class _TensorJob:
    """An input that the client prepared; its answer is the raw head."""

    values: NDArray[np.float32]
    head: NDArray[np.float32] | None = None

    def fill(self, row: NDArray[np.float32]) -> None:
        row[:] = self.values

    def finish(self, head: NDArray[np.float32]) -> None:
        self.head = head


@dataclass(frozen=True, slots=True)
class _Ran:
    """A job whose batch has run, and the seconds its forward pass took."""

    job: _Job
    seconds: float


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
        self._policy = policy
        self._decoding_pace = Pace(decode_threads)
        self._batcher: Batcher[_Job, _Ran] = Batcher(policy, self._run_batch, self._decoding_pace)

    @property
    def alive(self) -> bool:
        """Whether predictions can make progress."""
        return self._batcher.alive

    @property
    def most_at_once(self) -> int:
        """Pictures that one request may bring."""
        return self._policy.queue_size

    def queue_depth(self) -> int:
        """Pictures that wait for a forward pass."""
        return self._batcher.depth

    async def start(self) -> None:
        """Begins to serve. Every batch size and both codecs are tried first: what runs for the first time is slow."""
        self._warm_up()
        await self._batcher.start()

    async def stop(self) -> None:
        """Ends the service; to be called when no request is under way."""
        await self._batcher.stop()
        self._decoding.shutdown(wait=False)

    def admitted(self, count: int = 1) -> AbstractContextManager[None]:
        """A place for `count` pictures in the bounded number under way; raises Overloaded when there is none."""
        return self._batcher.admitted(count)

    async def aside(self, function: Callable[[], Result]) -> Result:
        """Runs what would hold up the event loop in a decoding thread."""
        return await asyncio.get_running_loop().run_in_executor(self._decoding, function)

    async def predict(self, body: bytes, thresholds: Thresholds, arrived_at: float) -> Prediction:
        """Detections in the picture that the body holds; `arrived_at` in monotonic seconds.

        Raises BadImage, TooLarge or DeadlineExceeded.
        """
        ticket = self._batcher.claim(arrived_at)
        self._decoding.submit(self._queue_picture, body, thresholds, ticket)
        ran, queue_seconds = await ticket.done
        job = ran.job
        assert isinstance(job, _PictureJob)  # noqa: S101  # what _queue_picture put
        assert job.found is not None  # noqa: S101  # its batch has run
        stages = Stages(job.decode_seconds, queue_seconds, ran.seconds, job.postprocess_seconds)
        self._metrics.picture(stages, job.found.classes.tolist(), job.found.scores.tolist())
        return Prediction(job.picture, job.found, stages)

    async def infer(self, tensor: NDArray[np.float32], arrived_at: float) -> NDArray[np.float32]:
        """(n, 3, side, side) to the raw heads (n, 4 + classes, anchors). Rows may run in different batches."""
        jobs = [_TensorJob(values) for values in tensor]
        await asyncio.gather(*(self._batcher.submit(job, arrived_at) for job in jobs))
        return np.stack([job.head for job in jobs if job.head is not None])

    def _queue_picture(self, body: bytes, thresholds: Thresholds, ticket: Ticket[_Ran]) -> None:
        """Runs in a decoding thread. Nobody awaits it: the ticket takes what goes wrong."""
        if ticket.done.cancelled():
            return
        try:
            job = self._prepare(body, thresholds)
        except Exception as error:  # noqa: BLE001
            self._batcher.fail(ticket, error)
        else:
            self._decoding_pace.record(job.decode_seconds)
            self._batcher.put(job, ticket)

    def _prepare(self, body: bytes, thresholds: Thresholds) -> _PictureJob:
        started = time.monotonic()
        picture = decode(body, self._max_pixels)
        pixels, fitted = letterbox(picture, self._model.card.side)
        return _PictureJob(picture, pixels, fitted, thresholds, time.monotonic() - started)

    def _run_batch(self, jobs: Sequence[_Job]) -> list[_Ran]:
        """Runs in one of the batcher's threads."""
        self._metrics.batch(len(jobs))
        return self._forward(jobs)

    def _forward(self, jobs: Sequence[_Job]) -> list[_Ran]:
        side = self._model.card.side
        started = time.monotonic()
        batch = np.empty((len(jobs), 3, side, side), np.float32)
        for row, job in zip(batch, jobs, strict=True):
            job.fill(row)
        heads = self._model.run(batch)
        seconds = time.monotonic() - started
        for head, job in zip(heads, jobs, strict=True):
            job.finish(head)
        return [_Ran(job, seconds) for job in jobs]

    def _warm_up(self) -> None:
        side = self._model.card.side
        blank = Image.new("RGB", (side * 2, side))
        for kind in ("JPEG", "PNG"):
            body = BytesIO()
            blank.save(body, format=kind)
            job = self._prepare(body.getvalue(), Thresholds())
        sizes = range(1, self._policy.max_batch + 1)
        # All lanes at once, as in service: what they need beside one another is allocated here too.
        with ThreadPoolExecutor(self._policy.lanes) as lanes:
            for warm in [lanes.submit(self._model.warm_up, sizes) for _ in range(self._policy.lanes)]:
                warm.result()
        started = time.monotonic()
        self._forward([job] * self._policy.max_batch)
        self._batcher.pace.record(time.monotonic() - started, self._policy.max_batch)
