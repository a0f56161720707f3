"""Answers on the screen, 80 columns wide where nobody says otherwise, or as JSON or YAML for programs."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TextIO, TypeVar

import yaml
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from modelrelease.api.durations import format_duration
from modelrelease.api.model import Model
from modelrelease.api.status import Phase

WIDTH = 80
Shown = TypeVar("Shown", bound=Model)
_BLOCKS = "▁▂▃▄▅▆▇█"
_FULL, _EMPTY = "█", "░"
_STYLES: dict[Phase, str] = {
    Phase.STABLE: "green",
    Phase.SUCCEEDED: "green",
    Phase.ROLLING_BACK: "red",
    Phase.ROLLED_BACK: "red",
    Phase.FAILED: "red",
    Phase.PAUSED: "yellow",
}


class Output(StrEnum):
    """Forms of an answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def console(stream: TextIO | None = None) -> Console:
    """As wide as the terminal, else 80 columns without colour."""
    out = stream or sys.stdout
    is_terminal = out.isatty()
    width = None if is_terminal else int(os.environ.get("COLUMNS") or WIDTH)
    return Console(file=out, width=width, no_color=not is_terminal or None, highlight=False, markup=False, emoji=False)


def emit(view: Shown, output: Output, render: Callable[[Shown], Iterable[RenderableType]]) -> None:
    """Print one answer: for people by `render`, for programs as the fields of the view."""
    if output is Output.TABLE:
        screen = console()
        if screen.is_terminal:
            screen.print(Group(*render(view)))
        else:
            sys.stdout.write(plain(render(view)))
        return
    sys.stdout.write(serialised(view, output))


def plain(parts: Iterable[RenderableType]) -> str:
    """The parts as they go into a pipe: 80 columns, no colour, nothing at the ends of lines."""
    stream = io.StringIO()
    screen = console(stream)
    for part in parts:
        screen.print(part)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def resampled(values: Sequence[float | None], width: int) -> list[float | None]:
    """At most `width` values, each the mean of its part of all."""
    size = max(1, -(-len(values) // width))
    pieces = [[value for value in values[at : at + size] if value is not None] for at in range(0, len(values), size)]
    return [sum(piece) / len(piece) if piece else None for piece in pieces]


def serialised(view: Model, output: Output) -> str:
    """The view as JSON or YAML, with the names that the resource itself would use."""
    body = view.model_dump(mode="json", by_alias=True)
    if output is Output.JSON:
        return json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=WIDTH)


def phase_text(phase: Phase) -> Text:
    return Text(str(phase), style=_STYLES.get(phase, "cyan"))


def bar(share: float, width: int = 20, style: str = "cyan") -> Text:
    """A share of what is needed, 0 to 1, as a bar with its figure."""
    filled = round(min(max(share, 0.0), 1.0) * width)
    return Text.assemble((_FULL * filled, style), (_EMPTY * (width - filled), "dim"), f" {share:>4.0%}")


def sparkline(values: Sequence[float | None], width: int = 60, top: float | None = None) -> str:
    """The newest `width` values as little columns; a gap where there is none. top: the value of a full column."""
    shown = list(values)[-width:]
    known = [value for value in shown if value is not None]
    highest = max([top or 0.0, *known], default=0.0) or 1.0
    last = len(_BLOCKS) - 1
    return "".join(" " if value is None else _BLOCKS[min(last, int(value / highest * last + 0.5))] for value in shown)


def table(*headings: str, right: Iterable[str] = ()) -> Table:
    """A table without lines, as kubectl prints them."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    aligned = set(right)
    for heading in headings:
        made.add_column(heading, justify="right" if heading in aligned else "left", overflow="fold")
    return made


def ago(at_seconds: float | None, now: float) -> str:
    """How long ago, in the two largest units; a dash where there is no time."""
    return "-" if at_seconds is None else lasting(max(0.0, now - at_seconds))


def lasting(seconds: float) -> str:
    """A duration in its two largest units: 42s, 3m5s, 1h20m, 2d4h."""
    if seconds >= 86400:
        days, rest = divmod(round(seconds), 86400)
        return f"{days}d{rest // 3600}h"
    if seconds >= 3600:
        return format_duration(round(seconds / 60) * 60)
    return format_duration(round(seconds)) if seconds >= 1 else "0s"


def ratio(value: float | None) -> str:
    """A share of requests in per cent."""
    return "-" if value is None else f"{value:.2%}"


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"
