"""The HTTP interface."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from PIL import Image
from starlette.exceptions import HTTPException

from yolo_serving.answers import (
    BatchBody,
    PredictionBody,
    json_answer,
    picture_content,
    server_timing,
)
from yolo_serving.bodies import BodyReader, pictures_in, unless_client_leaves
from yolo_serving.descriptions import (
    DRAWN_PICTURE,
    ERRORS,
    EXPOSITION,
    FORM_BODY,
    PICTURE_BODY,
    name_what_is_served,
)
from yolo_serving.direct import DirectPrediction
from yolo_serving.errors import BadImage, Refused
from yolo_serving.faults import Faults
from yolo_serving.front import Front
from yolo_serving.instance import Instance
from yolo_serving.metrics import CONTENT_TYPE, Identity, Metrics
from yolo_serving.model import Model
from yolo_serving.open_inference import OpenInference
from yolo_serving.options import DetectionOptions, PredictOptions
from yolo_serving.page import page
from yolo_serving.pictures import Encoded
from yolo_serving.predictor import Prediction, Predictor, gather
from yolo_serving.readiness import Readiness
from yolo_serving.rendering import render
from yolo_serving.settings import InputLimits, Settings


@dataclass(frozen=True, slots=True)
class Server:
    """The ASGI application and what is behind it."""

    app: Front
    instance: Instance


def build_server(settings: Settings, model: Model, identity: Identity) -> Server:
    """Wires the parts around a loaded model and warms it up; raises ModelNotUsable when it is no YOLOv8 detector."""
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
    predictor.warm_up()
    instance.metrics.watch(predictor.queue_depth, lambda: instance.readiness.ready)
    routes = _Routes(settings.limits, model, predictor, instance)
    app = DirectPrediction(routes.application(), routes.predict, routes.refusal, routes.defect)
    return Server(Front(app, instance, access_log=settings.access_log), instance)


class _Routes:
    """The handlers. Predictions are answered with bytes made here: no validation of our own output."""

    def __init__(self, limits: InputLimits, model: Model, predictor: Predictor, instance: Instance) -> None:
        self._bodies = BodyReader(limits)
        self._names = model.card.class_names
        self._open_inference = OpenInference(self._bodies, model, predictor, instance)
        self._predictor = predictor
        self._identity = instance.identity
        self._metrics = instance.metrics
        self._readiness = instance.readiness

    def application(self) -> FastAPI:
        """The ASGI application."""
        app = FastAPI(
            title=f"{self._identity.model} {self._identity.version}",
            version="1",
            lifespan=self._lifespan,
            docs_url=None,
            redoc_url=None,
        )
        app.add_api_route(
            "/predict", self.predict, methods=["POST"], response_model=None,
            responses={200: {"model": PredictionBody, **DRAWN_PICTURE}, **ERRORS}, openapi_extra=PICTURE_BODY,
        )  # fmt: skip
        app.add_api_route(
            "/predict/batch", self.predict_batch, methods=["POST"], response_model=None,
            responses={200: {"model": BatchBody}, **ERRORS}, openapi_extra=FORM_BODY,
        )  # fmt: skip
        app.include_router(self._open_inference.router())
        app.add_api_route("/health", self.health, methods=["GET"], response_model=None)
        app.add_api_route("/ready", self.ready, methods=["GET"], response_model=None)
        app.add_api_route(
            "/metrics", self.exposition, methods=["GET"], response_model=None,
            response_class=Response, responses=EXPOSITION,
        )  # fmt: skip
        app.exception_handler(RequestValidationError)(self._on_bad_options)
        app.exception_handler(HTTPException)(self._on_http_error)
        app.exception_handler(Refused)(self._on_refusal)
        app.exception_handler(Exception)(self._on_defect)
        app.add_api_route("/docs", lambda: HTMLResponse(page(app.openapi())), include_in_schema=False)
        # Last: another route would have the description made anew.
        name_what_is_served(app, {"name": self._identity.model, "version": self._identity.version})
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        await self._predictor.start()
        self._readiness.serve()
        yield
        await self._predictor.stop()

    async def predict(self, request: Request, options: Annotated[PredictOptions, Query()]) -> Response:
        """Detects objects in one picture: the body (JPEG or PNG), or the one file of a form."""
        self._predictor.require_place()
        async with self._bodies.read(request) as body:
            # The deadline is the server's: how slowly a client sends is not its doing.
            arrived_at = time.monotonic()
            pictures = pictures_in(request, body, self._predictor.most_at_once)
            if len(pictures) != 1:
                raise BadImage(f"The form has {len(pictures)} files; /predict takes one, /predict/batch several.")
            # The place is taken only now: a body that comes slowly keeps nobody out.
            with self._predictor.admitted():
                return await self._predict(request, pictures[0], options, arrived_at)

    async def _predict(self, request: Request, body: Encoded, options: PredictOptions, arrived_at: float) -> Response:
        work = self._predictor.predict(body, options.thresholds(), arrived_at, with_canvas=options.render is not None)
        prediction = await unless_client_leaves(request, work)
        headers = {"server-timing": server_timing(prediction)}
        if prediction.canvas is None:
            return json_answer(self._identity, 200, picture_content(prediction, self._names), headers)
        drawing = self._predictor.aside(partial(self._drawn, prediction.canvas, prediction), arrived_at)
        return Response(await drawing, 200, headers, media_type="image/png")

    def _drawn(self, canvas: Image.Image, prediction: Prediction) -> bytes:
        return render(canvas, (prediction.width, prediction.height), prediction.detections, self._names)

    async def predict_batch(self, request: Request, options: Annotated[DetectionOptions, Query()]) -> Response:
        """Detects objects in all files of a form, all or none."""
        self._predictor.require_place()
        thresholds = options.thresholds()
        async with self._bodies.read(request) as body:
            arrived_at = time.monotonic()
            pictures = pictures_in(request, body, self._predictor.most_at_once)
            await self._predictor.aside(partial(self._predictor.require_pixels, pictures), arrived_at)
            with self._predictor.admitted(len(pictures)):
                work = gather(self._predictor.predict(picture, thresholds, arrived_at) for picture in pictures)
                predictions = await unless_client_leaves(request, work)
        contents = [picture_content(prediction, self._names) for prediction in predictions]
        return json_answer(self._identity, 200, {"predictions": contents})

    async def health(self) -> Response:
        """Live: the process answers and its inference loop runs."""
        alive = self._predictor.alive
        status = "ok" if alive else "the inference loop has ended"
        return json_answer(self._identity, 200 if alive else 503, {"status": status})

    async def ready(self) -> Response:
        """Ready: the model is loaded on the provider that was asked for, warm, and the process is not about to end."""
        status = 200 if self._readiness.ready else 503
        return json_answer(self._identity, status, {"status": self._readiness.phase.value})

    async def exposition(self) -> Response:
        """Metrics in Prometheus' text format."""
        return Response(self._metrics.exposition(), media_type=CONTENT_TYPE)

    async def _on_refusal(self, _request: Request, error: Refused) -> Response:
        return self.refusal(error)

    def refusal(self, error: Refused) -> Response:
        """The answer to a request that cannot be served."""
        return json_answer(self._identity, error.status, {"error": str(error)}, error.headers)

    async def _on_defect(self, _request: Request, _error: Exception) -> Response:
        """Starlette raises the error again afterwards; `Front` logs it."""
        return self.defect()

    def defect(self) -> Response:
        """The answer to a request on which the server failed."""
        sentence = "The server failed on this request; its log has the reason."
        return json_answer(self._identity, 500, {"error": sentence})

    async def _on_bad_options(self, _request: Request, error: RequestValidationError) -> Response:
        problems = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return json_answer(self._identity, 422, {"error": f"The request has an unusable option: {problems}."})

    async def _on_http_error(self, request: Request, error: HTTPException) -> Response:
        sentence = f"{request.method} {request.url.path}: {error.detail}."
        return json_answer(self._identity, error.status_code, {"error": sentence}, dict(error.headers or {}))
