"""Durations as people write them in Kubernetes: `90s`, `10m`, `1h30m`, `250ms`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
PATTERN = r"^([0-9]{1,6}(\.[0-9]{1,6})?(ms|s|m|h)){1,4}$"
"""Six figures are enough for a century of hours; without a limit a duration could be beyond every calendar."""


def parse_duration(text: object) -> float:
    """Seconds, to the microsecond, in a duration such as `1h30m`; equal texts and what `exact_duration` makes of them
    give equal numbers. Raises ValueError with an example of what is right."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    if not isinstance(text, str) or not re.match(PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write for example 30s, 10m or 1h30m")
    return round(sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text)), 6)


def format_duration(seconds: float) -> str:
    """What a person likes to read: whole seconds, or milliseconds below one second."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    return exact_duration(round(seconds))


def exact_duration(seconds: float) -> str:
    """Text that `parse_duration` reads back to `seconds`, to the microsecond.

    Durations are stored so: a release goes by what it began with, also where that is 1.5s.
    """
    microseconds = round(seconds * 1_000_000)
    minutes, rest = divmod(microseconds, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    whole, fraction = divmod(rest, 1_000_000)
    left = f"{whole}.{fraction:06d}".rstrip("0").rstrip(".")
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{left}s" if rest else ""]
    return "".join(parts) or "0s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(exact_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "maxLength": 24}),
]
"""Seconds in memory, a Kubernetes duration in the resource."""
