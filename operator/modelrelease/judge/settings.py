"""What a release tolerates and how sure its judge must be; frozen for a release."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ErrorTolerance:
    """How much worse than stable's the canary's error rate may be.

    The canary's rate counts as no worse while it is at most ``max_ratio * stable + max_increase`` (shares, 0 to 1).
    ``ceiling`` is an absolute limit on the canary's error rate, whatever stable does; None: no such limit.
    """

    max_ratio: float = 1.1
    max_increase: float = 0.001
    ceiling: float | None = None

    def __post_init__(self) -> None:
        _require(math.isfinite(self.max_ratio) and self.max_ratio >= 1, "max_ratio must be at least 1")
        _require(0 <= self.max_increase < 1, "max_increase must be in [0, 1)")
        _require(self.ceiling is None or 0 < self.ceiling < 1, "ceiling must be in (0, 1)")


@dataclass(frozen=True, slots=True)
class LatencyTolerance:
    """How much slower than stable's the canary's P99 may be; ``ceiling_ms`` is an absolute limit on it."""

    max_ratio: float = 1.2
    ceiling_ms: float | None = None

    def __post_init__(self) -> None:
        _require(math.isfinite(self.max_ratio) and self.max_ratio > 1, "max_ratio must be above 1")
        _require(self.ceiling_ms is None or self.ceiling_ms > 0, "ceiling_ms must be positive")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the judge is told about a release.

    ``false_rollback_probability`` (alpha) and ``missed_regression_probability`` (beta) hold per release.
    ``harm_budget`` is the share of all requests that may be harmed before a step is allowed to grow.
    ``weights`` are the canary's percentages of traffic, one per declared step; ``interval_seconds`` is the grid.

    Raises:
        ValueError: a value that makes no sense.
    """

    false_rollback_probability: float = 0.01
    missed_regression_probability: float = 0.01
    errors: ErrorTolerance = field(default_factory=ErrorTolerance)
    latency: LatencyTolerance = field(default_factory=LatencyTolerance)
    harm_budget: float = 0.002
    weights: tuple[int, ...] = (1, 5, 20, 50, 100)
    interval_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("false_rollback_probability", "missed_regression_probability"):
            _require(0 < getattr(self, name) < 1, f"{name} must be in (0, 1)")
        _require(0 <= self.harm_budget < 1, "harm_budget must be in [0, 1)")
        _require(self.interval_seconds > 0, "interval_seconds must be positive")
        _require(bool(self.weights), "weights must name at least one step")
        _require(all(0 < weight <= 100 for weight in self.weights), "weights are percentages, 1 to 100")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
