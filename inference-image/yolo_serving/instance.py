"""What all layers of one running server share."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_serving.faults import Faults
from yolo_serving.metrics import Identity, Metrics
from yolo_serving.readiness import Readiness


@dataclass(frozen=True, slots=True)
class Instance:
    """Whose model it serves, what it counts, what is wrong with it, and whether it wants traffic."""

    identity: Identity
    metrics: Metrics
    faults: Faults
    readiness: Readiness
