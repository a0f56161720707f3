"""The HTTP interface."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from yolo_serving.bodies import read_body, require_picture_type
from yolo_serving.detections import Thresholds
from yolo_serving.errors import Refused
from yolo_serving.faults import Faults
from yolo_serving.front import Asgi, Front
from yolo_serving.instance import Instance
from yolo_serving.metrics import CONTENT_TYPE, Identity, Metrics
from yolo_serving.model import Model
from yolo_serving.predictor import Prediction, Predictor
from yolo_serving.readiness import Readiness
from yolo_serving.settings import InputLimits, Settings

_DEFAULTS = Thresholds()
Confidence = Annotated[float, Query(ge=0, le=1, description="Least score of a detection.")]
Overlap = Annotated[float, Query(ge=0, le=1, description="Largest overlap (IoU) of two detections of one class.")]
MaxDetections = Annotated[int, Query(ge=1, le=300, description="Most detections in one picture.")]


class DetectionBody(BaseModel):
    """One detected object."""

    class_id: int
    class_name: str
    score: float
    box: tuple[float, float, float, float]


class PredictionBody(BaseModel):
    """What a prediction answers: boxes are x1, y1, x2, y2 in pixels of the picture that was sent."""

    model: str
    version: str
    width: int
    height: int
    detections: list[DetectionBody]


class ErrorBody(BaseModel):
    """What every error answers."""

    error: str
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Server:
    """The ASGI application and what is behind it."""

    app: Asgi
    instance: Instance


def build_server(settings: Settings, model: Model, identity: Identity) -> Server:
    """Wires the parts around a loaded model."""
    instance = Instance(
        identity,
        Metrics(identity, model.card.class_names, settings.latency_objective_seconds),
        Faults(settings.faults),
        Readiness(settings.listening.drain_seconds, never=settings.faults.never_ready),
    )
    predictor = Predictor(
        model, settings.batching, instance.metrics,
        max_pixels=settings.limits.max_pixels, decode_threads=settings.decode_threads,
    )  # fmt: skip
    instance.metrics.watch(predictor.queue_depth, lambda: instance.readiness.ready)
    app = _Routes(settings.limits, model, predictor, instance).application()
    return Server(Front(app, instance, access_log=settings.access_log), instance)


_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The body is no picture that can be decoded."},
    413: {"model": ErrorBody, "description": "More bytes or pixels than accepted."},
    415: {"model": ErrorBody, "description": "A content type that is not served."},
    422: {"model": ErrorBody, "description": "An option out of its range."},
    429: {"model": ErrorBody, "description": "The queue is full; see Retry-After."},
    503: {"model": ErrorBody, "description": "The answer would have come too late."},
}
_PICTURE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


class _Routes:
    """The handlers. Predictions are answered with bytes made here: no validation of our own output."""

    def __init__(self, limits: InputLimits, model: Model, predictor: Predictor, instance: Instance) -> None:
        self._limits = limits
        self._model = model
        self._predictor = predictor
        self._identity = instance.identity
        self._metrics = instance.metrics
        self._readiness = instance.readiness

    def application(self) -> FastAPI:
        """The ASGI application."""
        app = FastAPI(title=f"{self._identity.model} {self._identity.version}", version="1", lifespan=self._lifespan)
        app.add_api_route(
            "/predict", self.predict, methods=["POST"], response_model=None,
            responses={200: {"model": PredictionBody}, **_ERRORS}, openapi_extra=_PICTURE_BODY,
        )  # fmt: skip
        app.add_api_route("/health", self.health, methods=["GET"], response_model=None)
        app.add_api_route("/ready", self.ready, methods=["GET"], response_model=None)
        app.add_api_route("/metrics", self.exposition, methods=["GET"], response_model=None)
        app.exception_handler(RequestValidationError)(self._on_bad_options)
        app.exception_handler(HTTPException)(self._on_http_error)
        app.exception_handler(Refused)(self._on_refusal)
        app.exception_handler(Exception)(self._on_defect)
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        await self._predictor.start()
        self._readiness.serve()
        yield
        await self._predictor.stop()

    async def predict(
        self,
        request: Request,
        conf: Confidence = _DEFAULTS.confidence,
        iou: Overlap = _DEFAULTS.iou,
        max_det: MaxDetections = _DEFAULTS.max_detections,
    ) -> Response:
        """Detects objects in the picture in the body (JPEG or PNG)."""
        arrived_at = time.monotonic()
        require_picture_type(request)
        with self._predictor.admitted():
            body = await read_body(request, self._limits)
            prediction = await self._predictor.predict(body, Thresholds(conf, iou, max_det), arrived_at)
        return self._json(200, self._prediction(prediction), {"server-timing": _server_timing(prediction)})

    async def health(self) -> Response:
        """Live: the process answers and its inference loop runs."""
        alive = self._predictor.alive
        return self._json(200 if alive else 503, {"status": "ok" if alive else "the inference loop has ended"})

    async def ready(self) -> Response:
        """Ready: the model is loaded on the provider that was asked for, warm, and the process is not about to end."""
        ready = self._readiness.ready
        return self._json(200 if ready else 503, {"status": self._readiness.phase.value})

    async def exposition(self) -> Response:
        """Metrics in Prometheus' text format."""
        return Response(self._metrics.exposition(), media_type=CONTENT_TYPE)

    def _json(self, status: int, content: dict[str, object], headers: dict[str, str] | None = None) -> Response:
        named = {"model": self._identity.model, "version": self._identity.version, **content}
        body = json.dumps(named, separators=(",", ":")).encode()
        return Response(body, status, headers, media_type="application/json")

    def _prediction(self, prediction: Prediction) -> dict[str, object]:
        found = prediction.detections
        names = self._model.card.class_names
        rows = zip(found.classes.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
        return {
            "width": prediction.width,
            "height": prediction.height,
            "detections": [
                {
                    "class_id": class_id,
                    "class_name": names[class_id],
                    "score": round(score, 4),
                    "box": [round(value, 2) for value in box],
                }
                for class_id, score, box in rows
            ],
        }

    async def _on_refusal(self, _request: Request, error: Refused) -> Response:
        return self._json(error.status, {"error": str(error)}, error.headers)

    async def _on_defect(self, _request: Request, _error: Exception) -> Response:
        """Starlette raises the error again afterwards; `Front` logs it."""
        return self._json(500, {"error": "The server failed on this request; its log has the reason."})

    async def _on_bad_options(self, _request: Request, error: RequestValidationError) -> Response:
        problems = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return self._json(422, {"error": f"The request has an unusable option: {problems}."})

    async def _on_http_error(self, request: Request, error: HTTPException) -> Response:
        sentence = f"{request.method} {request.url.path}: {error.detail}."
        return self._json(error.status_code, {"error": sentence}, dict(error.headers or {}))


def _server_timing(prediction: Prediction) -> str:
    """Stages in milliseconds, as browsers' developer tools read them."""
    stages = prediction.stages
    parts = {
        "decode": stages.decode, "queue": stages.queue, "inference": stages.inference, "post": stages.postprocess
    }  # fmt: skip
    return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in parts.items())
