"""What was looked at and how it was found: good, worth knowing, or to be mended first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from pydantic import Field
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from modelrelease.api.model import Model


class Level(StrEnum):
    GOOD = "good"
    NOTE = "note"
    PROBLEM = "problem"


class Finding(Model):
    """One thing that was looked at."""

    about: str = Field(description="What was looked at.")
    level: Level = Field(description="good, note, or problem: to be mended first.")
    message: str = Field(description="What was found and, where it is not good, what to do.")


_ABOUT_CHARACTERS = 24
_MARKS = {Level.GOOD: ("✓", "green"), Level.NOTE: ("!", "yellow"), Level.PROBLEM: ("✗", "red")}


def good(about: str, message: str) -> Finding:
    return Finding(about=about, level=Level.GOOD, message=message)


def remark(about: str, message: str) -> Finding:
    return Finding(about=about, level=Level.NOTE, message=message)


def problem(about: str, message: str) -> Finding:
    return Finding(about=about, level=Level.PROBLEM, message=message)


def has_problem(findings: Iterable[Finding]) -> bool:
    return any(finding.level is Level.PROBLEM for finding in findings)


def render_findings(findings: Iterable[Finding]) -> Iterator[RenderableType]:
    shown = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 0))
    shown.add_column()
    shown.add_column(max_width=_ABOUT_CHARACTERS, overflow="fold")
    shown.add_column(overflow="fold")  # never cut: the remedy comes last
    for finding in findings:
        mark, style = _MARKS[finding.level]
        shown.add_row(Text(mark, style=style), Text(finding.about, style="bold"), Text(finding.message))
    yield shown
