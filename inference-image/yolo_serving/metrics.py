"""What Prometheus sees.

Every series carries model, version, digest (first 12 digits of the sha256 of the model file) and provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_IDENTITY_LABELS: Final = ("model", "version", "digest", "provider")
_FINE_RATIO: Final = 1.25
_COARSE_RATIO: Final = 2.0
_LOWEST_SECONDS: Final = 0.0005
_HIGHEST_SECONDS: Final = 30.0
_SCORE_BUCKETS: Final = tuple(round(0.05 * step, 2) for step in range(1, 21))
_COUNT_BUCKETS: Final = (0, 1, 2, 3, 5, 10, 20, 50, 100, 300)

# A series that first appears with the value 1 hides its first event from Prometheus' `rate`.
_CODES_FROM_ZERO: Final = ("200", "429", "500", "503")

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which model this process serves, and where it runs."""

    model: str
    version: str
    digest: str
    provider: str


@dataclass(frozen=True, slots=True)
class Stages:
    """Seconds that one picture spent in each stage."""

    decode: float
    queue: float
    inference: float
    postprocess: float


def latency_buckets(objective_seconds: float, span: float = 8.0) -> tuple[float, ...]:
    """Upper bounds in seconds: 1.25 apart from objective/span to objective*span, and 2 apart outside.

    A quantile read from a histogram is known to one bucket only. With bounds 1.25 apart around the objective a P99 that
    rose by a fifth shows; the objective itself is a bound, so that the share of slower requests is exact.
    """
    fine: list[float] = [objective_seconds]
    while fine[-1] < objective_seconds * span:
        fine.append(fine[-1] * _FINE_RATIO)
    while fine[0] > objective_seconds / span:
        fine.insert(0, fine[0] / _FINE_RATIO)
    while fine[-1] < _HIGHEST_SECONDS:
        fine.append(fine[-1] * _COARSE_RATIO)
    while fine[0] > _LOWEST_SECONDS:
        fine.insert(0, fine[0] / _COARSE_RATIO)
    return tuple(float(f"{bound:.4g}") for bound in fine)


class Metrics:
    """All series of one server, in a registry of its own."""

    def __init__(self, identity: Identity, class_names: Iterable[str], objective_seconds: float) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        labels = (identity.model, identity.version, identity.digest, identity.provider)
        bounds = latency_buckets(objective_seconds)
        self._labels = labels
        self._requests = self._counter("inference_requests", "Prediction requests by status code.", "code")
        # Refusals are fast: without the code a server that refuses most requests would look faster.
        self._durations = self._histogram(
            "inference_request_duration_seconds",
            "From the first byte of a request to the end of its answer.",
            bounds,
            "code",
        )
        stage = self._histogram("inference_stage_duration_seconds", "One stage of one picture.", bounds, "stage")
        self._decode = stage.labels(*labels, "decode")
        self._queue = stage.labels(*labels, "queue")
        self._inference = stage.labels(*labels, "inference")
        self._postprocess = stage.labels(*labels, "postprocess")
        for code in _CODES_FROM_ZERO:
            self._requests.labels(*labels, code)
            self._durations.labels(*labels, code)
        self._batch = self._histogram(
            "inference_batch_size", "Pictures in one forward pass.", (1, 2, 4, 8, 16, 32, 64)
        ).labels(*labels)
        self._per_image = self._histogram(
            "inference_detections_per_image", "Detections in one picture.", _COUNT_BUCKETS
        ).labels(*labels)
        scores = self._histogram("inference_confidence", "Score of each detection.", _SCORE_BUCKETS)
        self._scores = scores.labels(*labels)
        self._empty = self._counter("inference_empty_images", "Pictures without any detection.").labels(*labels)
        by_class = self._counter("inference_detections", "Detections by class.", "class")
        self._by_class = [by_class.labels(*labels, name) for name in class_names]
        self._depth = self._gauge(
            "inference_queue_depth", "Pictures that wait for a decoding thread or a forward pass."
        )
        self._ready = self._gauge("inference_ready", "1 when this process wants traffic, else 0.")
        self._gauge("inference_model_info", "Always 1; its labels say what is served.").labels(*labels).set(1)

    def _counter(self, name: str, text: str, *more: str) -> Counter:
        return Counter(name, text, (*_IDENTITY_LABELS, *more), registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, _IDENTITY_LABELS, registry=self.registry)

    def _histogram(self, name: str, text: str, bounds: Iterable[float], *more: str) -> Histogram:
        return Histogram(name, text, (*_IDENTITY_LABELS, *more), buckets=tuple(bounds), registry=self.registry)

    def watch(self, depth: Callable[[], float], ready: Callable[[], bool]) -> None:
        """Where the queue's depth and the readiness are read from at each scrape."""
        self._depth.labels(*self._labels).set_function(depth)
        self._ready.labels(*self._labels).set_function(lambda: float(ready()))

    def request(self, code: int, seconds: float) -> None:
        """One prediction request was answered."""
        self._requests.labels(*self._labels, str(code)).inc()
        self._durations.labels(*self._labels, str(code)).observe(seconds)

    def batch(self, size: int) -> None:
        """One forward pass took place."""
        self._batch.observe(size)

    def picture(self, stages: Stages, classes: Iterable[int], scores: Iterable[float]) -> None:
        """One picture was served, with these detections."""
        self._decode.observe(stages.decode)
        self._queue.observe(stages.queue)
        self._inference.observe(stages.inference)
        self._postprocess.observe(stages.postprocess)
        count = 0
        for class_id, score in zip(classes, scores, strict=True):
            self._by_class[class_id].inc()
            self._scores.observe(score)
            count += 1
        self._per_image.observe(count)
        if not count:
            self._empty.inc()

    def tensor(self, queue_seconds: float, inference_seconds: float) -> None:
        """One input that a client prepared was served."""
        self._queue.observe(queue_seconds)
        self._inference.observe(inference_seconds)

    def exposition(self) -> bytes:
        """The series in Prometheus' text format."""
        return generate_latest(self.registry)
