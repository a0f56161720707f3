"""What the environment says, read once at start. Every variable has a default; an unusable value ends the start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from yolo_serving.batching import BatchingPolicy
from yolo_serving.connections import ConnectionLimits
from yolo_serving.cpu_quota import usable_cores
from yolo_serving.errors import BadSetting
from yolo_serving.faults import FaultPlan, parse_faults
from yolo_serving.model import Execution, Provider
from yolo_serving.model_location import ModelSource


class Scenario(StrEnum):
    """Presets of batching: answer each picture as soon as possible, or as many as possible per second."""

    REALTIME = "realtime"
    BATCH = "batch"


_PRESETS: Final[Mapping[Scenario, BatchingPolicy]] = {
    Scenario.REALTIME: BatchingPolicy(max_batch=4, max_delay_seconds=0.0, queue_size=32, deadline_seconds=1.0),
    Scenario.BATCH: BatchingPolicy(max_batch=16, max_delay_seconds=0.01, queue_size=256, deadline_seconds=10.0),
}
# Batches to run at once on a CPU; each needs the memory of a whole batch.
_MOST_LANES: Final[Mapping[Scenario, int]] = {Scenario.REALTIME: 2, Scenario.BATCH: 4}


@dataclass(frozen=True, slots=True)
class InputLimits:
    """What a request may bring: bytes of body, pixels of a picture, seconds until the body is here.

    `max_held_bytes`: of all bodies that are arriving or worked on. Besides, each decoding thread may hold a copy of the
    file it reads from a form, or the body of a client that has left.
    """

    max_body_bytes: int
    max_held_bytes: int
    max_pixels: int
    body_timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how long connections are served."""

    host: str
    port: int
    keep_alive_seconds: int
    drain_seconds: float
    finish_seconds: int


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration of one server."""

    model_name: str
    model: ModelSource
    execution: Execution
    batching: BatchingPolicy
    decode_threads: int
    limits: InputLimits
    listening: Listening
    connections: ConnectionLimits
    latency_objective_seconds: float
    faults: FaultPlan
    log_level: str
    access_log: bool


_Choice = TypeVar("_Choice", bound=StrEnum)


class _Environment:
    """Typed access to environment variables; every complaint names the variable."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str, default: str) -> str:
        return self._values.get(name, "").strip() or default

    def optional_text(self, name: str) -> str | None:
        return self._values.get(name, "").strip() or None

    def number(self, name: str, default: float, low: float, high: float) -> float:
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            raise BadSetting(f"{name}={text!r} is not a number.") from None
        if not low <= value <= high:
            raise BadSetting(f"{name}={text!r} is not between {low:g} and {high:g}.")
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.number(name, default, low, high)
        if value != int(value):
            raise BadSetting(f"{name}={self.text(name, str(default))!r} is not a whole number.")
        return int(value)

    def one_of(self, name: str, kind: type[_Choice], default: _Choice) -> _Choice:
        text = self.text(name, default).lower()
        try:
            return kind(text)
        except ValueError:
            raise BadSetting(f"{name}={text!r} is not one of {', '.join(kind)}.") from None


def read_settings(values: Mapping[str, str]) -> Settings:
    """Settings from environment variables; raises BadSetting with a sentence for the first unusable one."""
    env = _Environment(values)
    cores = usable_cores()
    max_body_bytes = env.integer("MAX_BODY_BYTES", 10 << 20, 1024, 1 << 30)
    memory = env.integer("GPU_MEMORY_LIMIT_BYTES", 0, 0, 1 << 50)
    provider = env.one_of("PROVIDER", Provider, Provider.CPU)
    scenario = env.one_of("SCENARIO", Scenario, Scenario.REALTIME)
    batching = _batching(env, scenario, min(cores, _MOST_LANES[scenario]) if provider is Provider.CPU else 1)
    # Together the lanes have as many threads as there are cores: threads that share a forward pass wait for one another
    # after each of its operators, and for whoever holds the core of one of them.
    threads = env.integer("INTRA_OP_THREADS", math.ceil(cores / batching.lanes), 1, 1024)
    level = env.text("LOG_LEVEL", "info").upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise BadSetting(f"LOG_LEVEL={level!r} is not one of debug, info, warning, error.")
    return Settings(
        model_name=env.text("MODEL_NAME", "yolov8"),
        model=ModelSource(
            env.optional_text("MODEL_URI") or env.text("MODEL_PATH", "/model/model.onnx"),
            env.optional_text("MODEL_VERSION"),
            env.optional_text("MODEL_SHA256"),
            env.integer("MODEL_MAX_BYTES", 4 << 30, 1, 1 << 50),
        ),
        execution=Execution(
            provider, threads, memory or None, tensorrt_fp16=env.integer("TENSORRT_FP16", 0, 0, 1) == 1
        ),
        batching=batching,
        decode_threads=env.integer("DECODE_THREADS", cores, 1, 1024),
        limits=InputLimits(
            max_body_bytes,
            env.integer("MAX_HELD_BYTES", max(256 << 20, max_body_bytes), max_body_bytes, 1 << 50),
            env.integer("MAX_PIXELS", 25_000_000, 1, 1 << 30),
            env.number("BODY_TIMEOUT_SECONDS", 10, 0.1, 3600),
        ),
        listening=Listening(
            env.text("HOST", "0.0.0.0"),  # noqa: S104  # a container is reached through its pod's address
            env.integer("PORT", 8000, 0, 65535),
            # Longer than Envoy's idle timeout (1 h): the side that sends requests must be the one that closes.
            env.integer("KEEP_ALIVE_SECONDS", 3900, 1, 1 << 30),
            env.number("DRAIN_SECONDS", 15, 0, 3600),
            env.integer("FINISH_SECONDS", 10, 1, 3600),
        ),
        connections=ConnectionLimits(
            env.integer("MAX_CONNECTIONS", 1024, 1, 1 << 20),
            env.number("HEAD_TIMEOUT_SECONDS", 10, 0.1, 3600),
            env.number("SEND_TIMEOUT_SECONDS", 30, 0.1, 3600),
        ),
        latency_objective_seconds=env.number("LATENCY_OBJECTIVE_SECONDS", 0.05, 0.0005, 60),
        faults=parse_faults(env.text("FAULT", "none")),
        log_level=level,
        access_log=env.integer("ACCESS_LOG", 0, 0, 1) == 1,
    )


def _batching(env: _Environment, scenario: Scenario, usual_lanes: int) -> BatchingPolicy:
    preset = _PRESETS[scenario]
    return BatchingPolicy(
        max_batch=env.integer("MAX_BATCH", preset.max_batch, 1, 1024),
        max_delay_seconds=env.number("MAX_DELAY_MILLISECONDS", preset.max_delay_seconds * 1000, 0, 60_000) / 1000,
        queue_size=env.integer("QUEUE_SIZE", preset.queue_size, 1, 1 << 20),
        deadline_seconds=env.number("DEADLINE_MILLISECONDS", preset.deadline_seconds * 1000, 1, 3_600_000) / 1000,
        lanes=env.integer("INFERENCE_LANES", usual_lanes, 1, 64),
    )
