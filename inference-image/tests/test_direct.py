"""Which requests take the direct way, and what becomes of those on which the handler fails."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import pytest
from fastapi import Request, Response

from yolo_serving.direct import DirectPrediction
from yolo_serving.errors import BadImage, Refused
from yolo_serving.front import ClientLeft, Receive, Send
from yolo_serving.options import PredictOptions, usual_options


async def framework(_scope: MutableMapping[str, Any], _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})


async def status(
    *, path: str = "/predict", method: str = "POST", query: bytes = b"", error: Exception | None = None
) -> list[int]:
    """Statuses that were sent; 200 by the handler, 299 by the framework."""
    sent: list[int] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            sent.append(message["status"])

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def predict(_request: Request, options: PredictOptions) -> Response:
        if error is not None:
            raise error
        assert options == usual_options(query)
        return Response(status_code=200)

    def refusal(refused: Refused) -> Response:
        return Response(status_code=refused.status)

    app = DirectPrediction(framework, predict, refusal, lambda: Response(status_code=500))
    scope = {"type": "http", "path": path, "method": method, "query_string": query, "headers": []}
    try:
        await app(scope, receive, send)
    except ValueError:
        assert sent == [500]
    except ClientLeft:
        assert sent == []
    return sent


@pytest.mark.parametrize("query", [b"", b"conf=0.5", b"render=png&iou=1&max_det=3"])
async def test_usual_requests_go_straight_to_the_handler(query: bytes) -> None:
    assert await status(query=query) == [200]


@pytest.mark.parametrize(
    "query",
    [
        b"conf=2",
        b"conf=x",
        b"conf=nan",
        b"conf",
        b"conf=0.1&conf=0.2",
        b"render=jpg",
        b"max_det=1.5",
        b"\xff=1",
        b"other=1",
        b"=",
    ],
)
async def test_unusual_options_go_through_the_framework(query: bytes) -> None:
    assert await status(query=query) == [299]


async def test_other_paths_and_methods_go_through_the_framework() -> None:
    assert await status(path="/predict/batch") == [299]
    assert await status(path="/predict/") == [299]
    assert await status(method="GET") == [299]


async def test_failures_are_answered_unless_nobody_is_there() -> None:
    assert await status(error=BadImage("no picture")) == [400]
    assert await status(error=ValueError("a defect")) == [500]
    assert await status(error=ClientLeft()) == []


def test_options_are_what_the_query_says() -> None:
    assert usual_options(b"conf=0.5&iou=0.25&max_det=7&render=png") == PredictOptions(
        conf=0.5, iou=0.25, max_det=7, render="png"
    )
    assert usual_options(b"") == PredictOptions.model_validate({})


def test_long_queries_are_not_remembered() -> None:
    long = b"conf=0." + b"5" * 60_000
    known = sys.getrefcount(long)
    assert usual_options(long) == usual_options(b"conf=0." + b"5" * 20)
    assert sys.getrefcount(long) == known
