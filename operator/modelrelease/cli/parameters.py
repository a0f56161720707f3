"""What people write on the command line, read with a sentence where it cannot be."""

from __future__ import annotations

from modelrelease.api.durations import parse_duration
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Problem


def seconds_of(text: str) -> float:
    """A duration such as 90s or 1h30m, longer than nothing."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise Problem(f"{str(error)[0].upper()}{str(error)[1:]}.", ExitCode.USAGE) from error
    if seconds <= 0:
        raise Problem(f"{text!r} is no time at all; write for example 30s or 10m.", ExitCode.USAGE)
    return seconds
