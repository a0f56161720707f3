"""What a person sees: the lines that a command prints into a pipe."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType

from modelrelease.cli.printing import WIDTH, plain


def lines(parts: Iterable[RenderableType]) -> list[str]:
    """80 columns, no colour."""
    text = plain(parts)
    assert "\x1b" not in text, "no colour in a pipe"
    found = text.splitlines()
    assert all(len(line) <= WIDTH for line in found), found
    return found
