"""What a client may ask for in the query of a prediction."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from yolo_serving.detections import Thresholds

_DEFAULTS = Thresholds()
# Bytes of a query that are kept. All options together have fewer; a request line may have 64 KiB.
_LONGEST_REMEMBERED = 200


class DetectionOptions(BaseModel):
    """What counts as a detection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conf: float = Field(_DEFAULTS.confidence, ge=0, le=1, description="Least score of a detection.")
    iou: float = Field(_DEFAULTS.iou, ge=0, le=1, description="Largest overlap (IoU) of two detections of one class.")
    max_det: int = Field(_DEFAULTS.max_detections, ge=1, le=300, description="Most detections in one picture.")

    def thresholds(self) -> Thresholds:
        """The same for the detector."""
        return Thresholds(self.conf, self.iou, self.max_det)


class PredictOptions(DetectionOptions):
    """What `/predict` takes."""

    render: Literal["png"] | None = Field(None, description="Answer the picture with the boxes in it.")


def usual_options(query: bytes) -> PredictOptions | None:
    """The options in a query string; None where there is something in it that deserves a refusal.

    Cached where it is short: a client asks with the same few options all the time.
    """
    return _remembered_options(query) if len(query) <= _LONGEST_REMEMBERED else _options(query)


def _options(query: bytes) -> PredictOptions | None:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query))
        given = dict(pairs)
        return PredictOptions.model_validate_strings(given) if len(given) == len(pairs) else None
    except (ValueError, ValidationError):
        return None


_remembered_options = lru_cache(maxsize=1024)(_options)
