"""The predictor in this process: what it holds, and for how long."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image
from test_serving_hostile import encoded

from yolo_serving.batching import BatchingPolicy
from yolo_serving.detections import Thresholds
from yolo_serving.errors import BadImage, Overloaded
from yolo_serving.metrics import Identity, Metrics
from yolo_serving.model import Execution, load_model
from yolo_serving.predictor import Predictor


@asynccontextmanager
async def running(model_file: Path, deadline_seconds: float = 10.0) -> AsyncIterator[Predictor]:
    """A predictor with one decoding thread."""
    model = load_model(model_file, Execution())
    metrics = Metrics(Identity("tiny", "v1", "0" * 12, "cpu"), model.card.class_names, 0.05)
    policy = BatchingPolicy(4, 0.0, 1000, deadline_seconds)
    predictor = Predictor(model, policy, metrics, max_pixels=25_000_000, decode_threads=1)
    predictor.warm_up()
    await predictor.start()
    try:
        yield predictor
    finally:
        await predictor.stop()


async def abandoned(work: asyncio.Future[object]) -> None:
    """As when the client leaves while the work waits for a thread."""
    await asyncio.sleep(0.05)
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def test_what_nobody_waits_for_leaves_the_queue_of_the_decoding_threads(tiny_model: Path) -> None:
    class Request:
        def answer(self) -> None:
            """Never called."""

    occupied = threading.Event()
    body = bytes(1000)
    request = Request()
    gone = weakref.ref(request)
    async with running(tiny_model) as predictor:
        occupation = asyncio.ensure_future(predictor.aside(lambda: occupied.wait(10), time.monotonic()))
        await asyncio.sleep(0.05)
        known = sys.getrefcount(body)
        try:
            await abandoned(asyncio.ensure_future(predictor.predict(body, Thresholds(), time.monotonic())))
            await abandoned(asyncio.ensure_future(predictor.aside(request.answer, time.monotonic())))
            del request
            # The loop lets go of what it just woke this test with.
            await asyncio.sleep(0)
            gc.collect()
            assert sys.getrefcount(body) == known
            assert gone() is None
            assert predictor.queue_depth() == 0
        finally:
            occupied.set()
            await occupation


async def test_pictures_that_end_in_an_error_set_the_pace(tiny_model: Path) -> None:
    broken = encoded(Image.new("RGB", (3000, 3000)), "JPEG", progressive=True)[:-2000]
    async with running(tiny_model, deadline_seconds=5.0) as predictor:
        with predictor.admitted(), predictor.admitted(500):
            pass
        for _ in range(3):
            with pytest.raises(BadImage):
                await predictor.predict(broken, Thresholds(), time.monotonic())
        with predictor.admitted(), pytest.raises(Overloaded), predictor.admitted(500):
            pass


async def test_work_aside_takes_the_time_of_the_decoding_threads(tiny_model: Path) -> None:
    async with running(tiny_model, deadline_seconds=5.0) as predictor:
        for _ in range(3):
            await predictor.aside(lambda: time.sleep(0.05), time.monotonic())
        with predictor.admitted(), pytest.raises(Overloaded), predictor.admitted(500):
            pass
