"""The bodies that the server answers with."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fastapi import Response
from pydantic import BaseModel

from yolo_serving.metrics import Identity
from yolo_serving.predictor import Prediction


class DetectionBody(BaseModel):
    """One detected object."""

    class_id: int
    class_name: str
    score: float
    box: tuple[float, float, float, float]


class PictureBody(BaseModel):
    """One picture: boxes are x1, y1, x2, y2 in pixels of the picture that was sent, upright as EXIF says."""

    width: int
    height: int
    detections: list[DetectionBody]


class PredictionBody(PictureBody):
    """What a prediction answers."""

    model: str
    version: str


class BatchBody(BaseModel):
    """What a prediction for several pictures answers, in the order of the pictures."""

    model: str
    version: str
    predictions: list[PictureBody]


class ErrorBody(BaseModel):
    """What every error answers."""

    model: str
    version: str
    error: str


def json_answer(
    identity: Identity, status: int, content: dict[str, object], headers: dict[str, str] | None = None
) -> Response:
    """Model, version and the content as JSON."""
    return plain_json_answer(status, {"model": identity.model, "version": identity.version, **content}, headers)


def plain_json_answer(status: int, content: dict[str, object], headers: dict[str, str] | None = None) -> Response:
    """The content as JSON."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Response(body, status, headers, media_type="application/json")


def picture_content(prediction: Prediction, class_names: Sequence[str]) -> dict[str, object]:
    """PictureBody as a dictionary: made by hand, because validating our own output costs as much as finding it."""
    found = prediction.detections
    rows = zip(found.classes.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return {
        "width": prediction.picture.width,
        "height": prediction.picture.height,
        "detections": [
            {
                "class_id": class_id,
                "class_name": class_names[class_id],
                "score": round(score, 4),
                "box": [round(value, 2) for value in box],
            }
            for class_id, score, box in rows
        ],
    }


def server_timing(prediction: Prediction) -> str:
    """Stages in milliseconds, as browsers' developer tools read them."""
    stages = prediction.stages
    return (
        f"decode;dur={stages.decode * 1000:.2f}, queue;dur={stages.queue * 1000:.2f}, "
        f"inference;dur={stages.inference * 1000:.2f}, post;dur={stages.postprocess * 1000:.2f}"
    )
