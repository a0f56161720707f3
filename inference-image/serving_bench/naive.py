"""The handler that one would write first: no batching, no bounds. What the server is compared with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from yolo_serving.detections import Detections, Thresholds, detect
from yolo_serving.model import Execution, Model, load_model
from yolo_serving.pictures import decode, fill_input, letterbox


def detect_one(model: Model, body: bytes) -> Detections:
    """Decoding, one forward pass for one picture, detections."""
    pixels, fitted = letterbox(decode(body, 25_000_000), model.card.side)
    batch = np.empty((1, 3, model.card.side, model.card.side), np.float32)
    fill_input(pixels, batch[0])
    found = detect(model.run(batch)[0], Thresholds())
    return Detections(fitted.to_original(found.boxes), found.scores, found.classes)


def application() -> FastAPI:
    """Reads MODEL_PATH and INTRA_OP_THREADS like the server."""
    model = load_model(Path(os.environ["MODEL_PATH"]), Execution(threads=int(os.environ["INTRA_OP_THREADS"])))
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, list[object]]:
        found = await run_in_threadpool(detect_one, model, await request.body())
        return {
            "boxes": found.boxes.tolist(),
            "scores": found.scores.tolist(),
            "classes": [model.card.class_names[index] for index in found.classes],
        }

    return app


if __name__ == "__main__":
    uvicorn.run(application(), host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
