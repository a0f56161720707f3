"""The bodies that the server answers with."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fastapi import Response
from pydantic import BaseModel, Field

from yolo_serving.metrics import Identity
from yolo_serving.predictor import Prediction


class DetectionBody(BaseModel):
    """One detected object."""

    class_id: int = Field(examples=[1])
    class_name: str = Field(examples=["circle"])
    score: float = Field(examples=[0.93])
    box: tuple[float, float, float, float] = Field(examples=[[12.5, 40.0, 61.25, 88.0]])


class PictureBody(BaseModel):
    """One picture: boxes are x1, y1, x2, y2 in pixels of the picture that was sent, upright as EXIF says."""

    width: int = Field(examples=[160])
    height: int = Field(examples=[120])
    detections: list[DetectionBody]


class PredictionBody(PictureBody):
    """What a prediction answers."""

    model: str = Field(examples=["yolov8-shapes"])
    version: str = Field(examples=["v1.1.0"])


class BatchBody(BaseModel):
    """What a prediction for several pictures answers, in the order of the pictures."""

    model: str = Field(examples=["yolov8-shapes"])
    version: str = Field(examples=["v1.1.0"])
    predictions: list[PictureBody]


class ErrorBody(BaseModel):
    """What every error answers."""

    model: str = Field(examples=["yolov8-shapes"])
    version: str = Field(examples=["v1.1.0"])
    error: str = Field(examples=["The body is not a readable JPEG or PNG picture (unknown format)."])


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
        "width": prediction.width,
        "height": prediction.height,
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
