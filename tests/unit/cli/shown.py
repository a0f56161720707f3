"""What a person sees: the lines that a command prints into a pipe."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import RenderableType

from modelrelease.cli.printing import WIDTH, console


def lines(parts: Iterable[RenderableType]) -> list[str]:
    """80 columns, no colour."""
    stream = io.StringIO()
    screen = console(stream)
    for part in parts:
        screen.print(part)
    text = stream.getvalue()
    assert "\x1b" not in text, "no colour in a pipe"
    found = [line.rstrip() for line in text.splitlines()]
    assert all(len(line) <= WIDTH for line in found), found
    return found
