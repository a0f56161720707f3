"""The Open Inference Protocol v2 over HTTP: what KServe, Triton and their clients speak."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from yolo_serving.answers import plain_json_answer
from yolo_serving.bodies import BodyReader, unless_client_leaves
from yolo_serving.descriptions import ERRORS, infer_body
from yolo_serving.errors import NoSuchModel
from yolo_serving.instance import Instance
from yolo_serving.model import Model
from yolo_serving.predictor import Predictor
from yolo_serving.tensors import HEADER_LENGTH, TensorSpec, answer, parse_request

_READ_ERRORS: dict[int | str, dict[str, Any]] = {code: ERRORS[code] for code in (404, 503)}


class OpenInference:
    """Handlers below /v2."""

    def __init__(self, bodies: BodyReader, model: Model, predictor: Predictor, instance: Instance) -> None:
        self._bodies = bodies
        self._model = model
        self._predictor = predictor
        self._identity = instance.identity
        self._readiness = instance.readiness
        self._spec = TensorSpec(model.input_name, model.output_name, model.card.side, predictor.most_at_once)

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
        reads: dict[str, Callable[..., Awaitable[Response]]] = {
            "": self.server,
            "/health/live": self.live,
            "/health/ready": self.ready,
            "/models/{name}": self.model,
            "/models/{name}/ready": self.model_ready,
            "/models/{name}/versions/{version}": self.version,
            "/models/{name}/versions/{version}/ready": self.version_ready,
        }
        for path, handler in reads.items():
            router.add_api_route(path, handler, methods=["GET"], response_model=None, responses=_READ_ERRORS)
        infers: dict[str, Callable[..., Awaitable[Response]]] = {
            "/models/{name}/infer": self.infer,
            "/models/{name}/versions/{version}/infer": self.version_infer,
        }
        body = infer_body(self._spec, self._identity.model)
        for path, handler in infers.items():
            router.add_api_route(
                path, handler, methods=["POST"], response_model=None, responses=ERRORS, openapi_extra=body
            )
        return router

    async def server(self) -> Response:
        """Name, version and extensions of the server."""
        content: dict[str, object] = {
            "name": "yolo-serving",
            "version": self._identity.version,
            "extensions": ["binary_tensor_data"],
        }
        return plain_json_answer(200, content)

    async def live(self) -> Response:
        """200 while inference can make progress."""
        alive = self._predictor.alive
        return plain_json_answer(200 if alive else 503, {"live": alive})

    async def ready(self) -> Response:
        """200 while traffic is welcome."""
        ready = self._readiness.ready
        return plain_json_answer(200 if ready else 503, {"ready": ready})

    async def model(self, name: str) -> Response:
        """Inputs and outputs of the model. -1 is any size."""
        return await self.version(name, self._identity.version)

    async def version(self, name: str, version: str) -> Response:
        """Inputs and outputs of the model. -1 is any size."""
        self._require(name, version)
        side = self._spec.side
        rows = 4 + len(self._model.card.class_names)
        content: dict[str, object] = {
            "name": self._identity.model,
            "versions": [self._identity.version],
            "platform": "onnx_onnxruntime",
            "inputs": [{"name": self._spec.input_name, "datatype": "FP32", "shape": [-1, 3, side, side]}],
            "outputs": [{"name": self._spec.output_name, "datatype": "FP32", "shape": [-1, rows, -1]}],
        }
        return plain_json_answer(200, content)

    async def model_ready(self, name: str) -> Response:
        """200 while the model is ready."""
        return await self.version_ready(name, self._identity.version)

    async def version_ready(self, name: str, version: str) -> Response:
        """200 while the model is ready."""
        self._require(name, version)
        return await self.ready()

    async def infer(self, request: Request, name: str) -> Response:
        """Raw head for prepared tensors (RGB in 0..1), as JSON or binary."""
        return await self.version_infer(request, name, self._identity.version)

    async def version_infer(self, request: Request, name: str, version: str) -> Response:
        """Raw head for prepared tensors (RGB in 0..1), as JSON or binary."""
        self._require(name, version)
        self._predictor.require_place(prepared=True)
        async with self._bodies.read(request) as body:
            return await unless_client_leaves(request, self._answer(request, body))

    async def _answer(self, request: Request, body: bytes) -> Response:
        arrived_at = time.monotonic()
        header_length = request.headers.get(HEADER_LENGTH)
        # One place until it is known how many inputs there are: reading them takes time and memory too.
        with self._predictor.admitted(prepared=True):
            wanted = await self._predictor.aside(lambda: parse_request(body, header_length, self._spec), arrived_at)
        named = {"model_name": self._identity.model, "model_version": self._identity.version}
        with self._predictor.admitted(len(wanted.values), prepared=True):
            head = await self._predictor.infer(wanted.values, arrived_at)
            content, headers = await self._predictor.aside(lambda: answer(named, wanted, head, self._spec), arrived_at)
        return Response(content, 200, headers)

    def _require(self, name: str, version: str) -> None:
        if (name, version) != (self._identity.model, self._identity.version):
            raise NoSuchModel(f"Here is {self._identity.model} {self._identity.version}, not {name} {version}.")
