"""Faults that a demonstration image is built with.

The environment variable FAULT, set when such an image is built, holds one or more faults separated by commas. They
exist so that a release operator has something bad to take off the air; a good image has FAULT=none. Nothing can change
them while the process runs, except that `errors-when-file`, made for tests, follows the existence of a file.

    errors[:RATIO]             that share of the predictions answers 500 (default 1)
    errors-after:SECONDS       every prediction answers 500 from that time after the process' start
    errors-when-file:PATH[:RATIO]  that share of the predictions answers 500 while the file exists (default 1)
    slow:MILLISECONDS[:RATIO]  that share of the predictions waits that much longer (default 1)
    crash[:SECONDS]            the process dies that time after it became ready (default 10)
    crash-after:REQUESTS       the process dies at that prediction
    never-ready                readiness is never reached
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from yolo_serving.errors import BadSetting

_FILE_CHECK_SECONDS: Final = 0.02
_DEFAULT_CRASH_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What is wrong with this image. The default is: nothing."""

    error_ratio: float = 0.0
    errors_after_seconds: float = math.inf
    errors_when_file: Path | None = None
    errors_when_file_ratio: float = 1.0
    slow_seconds: float = 0.0
    slow_ratio: float = 0.0
    crash_after_ready_seconds: float | None = None
    crash_after_requests: int | None = None
    never_ready: bool = False


def parse_faults(text: str) -> FaultPlan:
    """Reads the value of FAULT; raises BadSetting with the allowed forms for anything else."""
    given: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part != "none":
            given.update(_parse_fault(part))
    return FaultPlan(**given)  # type: ignore[arg-type]  # each value was made for its field just above


def _parse_fault(part: str) -> dict[str, object]:
    name, _, rest = part.partition(":")
    values = rest.split(":") if rest else []
    match name, values:
        case "errors", []:
            return {"error_ratio": 1.0}
        case "errors", [ratio]:
            return {"error_ratio": _number(part, ratio, 1.0)}
        case "errors-after", [seconds]:
            return {"errors_after_seconds": _number(part, seconds)}
        case "errors-when-file", [path]:
            return {"errors_when_file": Path(path)}
        case "errors-when-file", [path, ratio]:
            return {"errors_when_file": Path(path), "errors_when_file_ratio": _number(part, ratio, 1.0)}
        case "slow", [milliseconds]:
            return {"slow_seconds": _number(part, milliseconds) / 1000, "slow_ratio": 1.0}
        case "slow", [milliseconds, ratio]:
            return {"slow_seconds": _number(part, milliseconds) / 1000, "slow_ratio": _number(part, ratio, 1.0)}
        case "crash", []:
            return {"crash_after_ready_seconds": _DEFAULT_CRASH_SECONDS}
        case "crash", [seconds]:
            return {"crash_after_ready_seconds": _number(part, seconds)}
        case "crash-after", [requests]:
            return {"crash_after_requests": int(_number(part, requests))}
        case "never-ready", []:
            return {"never_ready": True}
        case _:
            raise BadSetting(
                f"FAULT={part!r} is not known; use none, errors[:RATIO], errors-after:SECONDS, "
                "errors-when-file:PATH[:RATIO], slow:MILLISECONDS[:RATIO], crash[:SECONDS], crash-after:REQUESTS or "
                "never-ready."
            )


def _number(part: str, text: str, highest: float = math.inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= highest or math.isinf(value):
        raise BadSetting(
            f"FAULT={part!r}: {text!r} is not a number from 0{f' to {highest:g}' if highest < math.inf else ' up'}."
        )
    return value


class Faults:
    """The plan at work. Clock (seconds) and dice (0 up to 1) come from outside, for tests."""

    def __init__(
        self,
        plan: FaultPlan,
        *,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
        die: Callable[[], None] = lambda: os._exit(70),
    ) -> None:
        self.plan = plan
        self._clock = clock
        self._dice = dice
        self._die = die
        self._started_at = clock()
        self._predictions = 0
        self._file_seen = False
        self._file_checked_at = -math.inf

    def begin_prediction(self) -> None:
        """Counts a prediction; ends the process where the plan says so."""
        self._predictions += 1
        limit = self.plan.crash_after_requests
        if limit is not None and self._predictions >= limit:
            self._die()

    def extra_delay_seconds(self) -> float:
        """How much longer this prediction takes."""
        return self.plan.slow_seconds if self._dice() < self.plan.slow_ratio else 0.0

    def fails(self) -> bool:
        """Whether this prediction answers 500."""
        if self._clock() - self._started_at >= self.plan.errors_after_seconds:
            return True
        return self._dice() < (self.plan.errors_when_file_ratio if self._file_exists() else self.plan.error_ratio)

    def _file_exists(self) -> bool:
        if self.plan.errors_when_file is None:
            return False
        now = self._clock()
        if now - self._file_checked_at >= _FILE_CHECK_SECONDS:
            self._file_seen = self.plan.errors_when_file.exists()
            self._file_checked_at = now
        return self._file_seen

    def crash(self) -> None:
        """Ends the process at once, without a goodbye to anyone."""
        self._die()
