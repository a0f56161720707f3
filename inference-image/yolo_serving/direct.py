"""`POST /predict` without the framework around it.

FastAPI's middleware, routing, dependencies and exit stacks take a third of the time that the event loop has for a
request, and here they have nothing to do: the body is read by the handler and options are nearly always the same few.
Whatever is unusual about a request goes through FastAPI, which also describes the route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import Request, Response

from yolo_serving.errors import Refused
from yolo_serving.front import Asgi, ClientLeft, Receive, Send
from yolo_serving.options import PredictOptions, usual_options

Handler = Callable[[Request, PredictOptions], Awaitable[Response]]


class DirectPrediction:
    """Wraps the ASGI application; `predict` is the handler that its own route for /predict has."""

    def __init__(
        self, app: Asgi, predict: Handler, on_refusal: Callable[[Refused], Response], on_defect: Callable[[], Response]
    ) -> None:
        self._app = app
        self._predict = predict
        self._on_refusal = on_refusal
        self._on_defect = on_defect

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serves one ASGI scope."""
        usual = scope["type"] == "http" and scope["path"] == "/predict" and scope["method"] == "POST"
        options = usual_options(scope["query_string"]) if usual else None
        if options is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await self._predict(Request(scope, receive), options)
        except Refused as error:
            response = self._on_refusal(error)
        except ClientLeft:
            raise
        except Exception:
            # As Starlette does: an answer first, and then the error for `Front` to log.
            await self._on_defect()(scope, receive, send)
            raise
        await response(scope, receive, send)
