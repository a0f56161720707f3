"""A picture's or tensor's way through the server: admission, decoding, batch, forward pass, detections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_serving.batching import Batcher, BatchingPolicy, Ticket
from yolo_serving.detections import Detections, Thresholds, detect
from yolo_serving.errors import TooLarge
from yolo_serving.metrics import Metrics, Stages
from yolo_serving.model import Model
from yolo_serving.pace import Pace
from yolo_serving.pictures import Encoded, Letterbox, declared_pixels, decode, fill_input, letterbox
from yolo_serving.rendering import canvas_of

Result = TypeVar("Result")

# Pictures of one request may have that many times the pixels of the largest one that is accepted.
_MOST_PIXELS_TOGETHER: Final = 4


@dataclass(frozen=True, slots=True)
class Prediction:
    """Detections in one picture, in its own pixels (`width` x `height`), and the seconds each stage took.

    `canvas`: a picture to draw them into, where one was asked for.
    """

    width: int
    height: int
    detections: Detections
    stages: Stages
    canvas: Image.Image | None


class _Job(Protocol):
    """One row of a batch. Both methods run in a thread of the batcher."""

    def fill(self, row: NDArray[np.float32]) -> None:
        """Writes the input (3, side, side), RGB in 0..1."""

    def finish(self, head: NDArray[np.float32]) -> None:
        """Takes the raw head (4 + classes, anchors)."""


@dataclass(slots=True)
class _PictureJob:
    """A picture that fits the model, `pixels` (side, side, 3) uint8 RGB: its decoded whole takes far more memory."""

    pixels: NDArray[np.uint8]
    fitted: Letterbox
    thresholds: Thresholds
    decode_seconds: float
    canvas: Image.Image | None
    wait_seconds: float = 0.0
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


class _Errand(Generic[Result]):
    """Work for a decoding thread, given up with `drop`.

    The threads' queue keeps what is in it also when its client has left, but then no more than this shell: a body that
    no place and no limit accounts for any longer must not stay.
    """

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work: Callable[[], Result] | None = work

    def __call__(self) -> Result:
        work, self._work = self._work, None
        if work is None:
            raise CancelledError
        return work()

    def drop(self) -> None:
        """Nobody waits for it any more; if it has begun, it ends."""
        self._work = None


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
        # What a decoding thread has not begun with and somebody waits for. Sets are changed by one thread at a time.
        self._undecoded: set[Ticket[_Ran]] = set()
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
        """Pictures that wait for a decoding thread or a forward pass."""
        return len(self._undecoded) + self._batcher.depth

    async def start(self) -> None:
        """Begins to serve."""
        await self._batcher.start()

    async def stop(self) -> None:
        """Ends the service; to be called when no request is under way."""
        await self._batcher.stop()
        self._decoding.shutdown(wait=False)

    def require_place(self, *, prepared: bool = False) -> None:
        """Raises Overloaded when not even one picture would be let in now; for requests whose body is not here yet."""
        self._batcher.require_place(prepared=prepared)

    def admitted(self, count: int = 1, *, prepared: bool = False) -> AbstractContextManager[None]:
        """Places for `count` pictures, or `prepared` inputs, in the bounded number under way, else Overloaded."""
        return self._batcher.admitted(count, prepared=prepared)

    async def aside(self, function: Callable[[], Result], arrived_at: float) -> Result:
        """Runs what would hold up the event loop in a decoding thread; raises DeadlineExceeded when it is not done."""
        errand = _Errand(partial(self._run_aside, function))
        try:
            return await self._batcher.in_time(
                asyncio.get_running_loop().run_in_executor(self._decoding, errand), arrived_at
            )
        finally:
            errand.drop()

    def _run_aside(self, function: Callable[[], Result]) -> Result:
        """Runs in a decoding thread."""
        started = time.monotonic()
        try:
            return function()
        finally:
            self._decoding_pace.record_other(time.monotonic() - started)

    def require_pixels(self, bodies: Sequence[Encoded]) -> None:
        """Raises BadImage or TooLarge where headers say that these pictures cannot be served together."""
        most = _MOST_PIXELS_TOGETHER * self._max_pixels
        if (pixels := sum(declared_pixels(body) for body in bodies)) > most:
            raise TooLarge(f"The pictures have {pixels} pixels together; at most {most} are accepted in one request.")

    async def predict(
        self, body: Encoded, thresholds: Thresholds, arrived_at: float, *, with_canvas: bool = False
    ) -> Prediction:
        """Detections in the picture that the body holds; `arrived_at` in monotonic seconds.

        Raises BadImage, TooLarge or DeadlineExceeded.
        """
        ticket = self._batcher.claim(arrived_at)
        self._undecoded.add(ticket)
        errand = _Errand(partial(self._queue_picture, body, thresholds, ticket, time.monotonic(), with_canvas))
        self._decoding.submit(errand)
        try:
            ran, queue_seconds = await self._batcher.in_time(ticket.done, arrived_at)
        finally:
            errand.drop()
            self._undecoded.discard(ticket)
            del ticket  # as `in_time` does
        job = ran.job
        assert isinstance(job, _PictureJob)  # noqa: S101  # what _queue_picture put
        assert job.found is not None  # noqa: S101  # its batch has run
        stages = Stages(job.decode_seconds, job.wait_seconds + queue_seconds, ran.seconds, job.postprocess_seconds)
        self._metrics.picture(stages, job.found.classes.tolist(), job.found.scores.tolist())
        return Prediction(job.fitted.width, job.fitted.height, job.found, stages, job.canvas)

    async def infer(self, tensor: NDArray[np.float32], arrived_at: float) -> NDArray[np.float32]:
        """(n, 3, side, side) to the raw heads (n, 4 + classes, anchors). Rows may run in different batches."""
        jobs = [_TensorJob(values) for values in tensor]
        for ran, queue_seconds in await gather(self._batcher.submit(job, arrived_at) for job in jobs):
            self._metrics.tensor(queue_seconds, ran.seconds)
        return np.stack([job.head for job in jobs if job.head is not None])

    def _queue_picture(
        self, body: Encoded, thresholds: Thresholds, ticket: Ticket[_Ran], submitted_at: float, with_canvas: bool
    ) -> None:
        """Runs in a decoding thread. Nobody awaits it: the ticket takes what goes wrong."""
        self._undecoded.discard(ticket)
        if ticket.lapsed:
            return
        started = time.monotonic()
        wait_seconds = started - submitted_at
        try:
            job = self._prepare(body, thresholds, with_canvas=with_canvas)
        except Exception as error:  # noqa: BLE001
            self._decoding_pace.record_other(time.monotonic() - started)
            self._batcher.fail(ticket, error)
        else:
            job.wait_seconds = wait_seconds
            self._decoding_pace.record(job.decode_seconds)
            self._batcher.put(job, ticket)

    def _prepare(self, body: Encoded, thresholds: Thresholds, *, with_canvas: bool = False) -> _PictureJob:
        started = time.monotonic()
        picture = decode(body, self._max_pixels)
        pixels, fitted = letterbox(picture, self._model.card.side)
        canvas = canvas_of(picture) if with_canvas else None
        return _PictureJob(pixels, fitted, thresholds, time.monotonic() - started, canvas)

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

    def warm_up(self) -> None:
        """Tries every batch size and both codecs: what runs for the first time is slow.

        Raises ModelNotUsable when the model does not answer as a YOLOv8 detector.
        """
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


async def gather(works: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """All results in order; the first failure cancels the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        # A failure knows this frame: with the tasks in it, their pictures would stay until the garbage collector comes.
        while tasks:
            tasks.pop().cancel()
