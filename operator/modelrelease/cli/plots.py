"""Small line plots as SVG inside a page, without a library or anything to load."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 200
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 26
Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Line:
    """label: in the legend. style: a class of the page's style sheet. points: (unix seconds, value), None for a gap."""

    label: str
    style: str
    points: Points


@dataclass(frozen=True, slots=True)
class Frame:
    """span: of the time axis. top: of the value axis. unit: written behind values."""

    span: tuple[float, float]
    top: float
    unit: str

    def x(self, at: float) -> float:
        start, end = self.span
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - start) / max(1e-9, end - start)

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(value, self.top) / self.top)


def plot(title: str, lines: Sequence[Line], marks: Sequence[tuple[float, str]], frame: Frame) -> str:
    """A figure. marks: vertical lines at (unix seconds, what happened)."""
    legend = " ".join(f'<span class="{line.style}">■ {escape(line.label)}</span>' for line in lines)
    body = [_axes(frame), *(_mark(at, label, frame) for at, label in marks)]
    body += [f'<path class="{line.style}" d="{_path(line.points, frame)}"/>' for line in lines]
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'
    return f"<figure><figcaption>{escape(title)} {legend}</figcaption>{svg}</figure>"


def top_of(lines: Sequence[Line], least: float) -> float:
    """A little above the highest value."""
    known = [value for line in lines for _, value in line.points if value is not None]
    return max([least, *known]) * 1.05


def _path(points: Points, frame: Frame) -> str:
    """Lines between gaps. Each begins with a line of no length, which round caps show: a point alone is a dot."""
    parts, is_drawing = [], False
    for at, value in points:
        if value is None:
            is_drawing = False
            continue
        parts.append(f"{'L' if is_drawing else 'M'}{frame.x(at):.1f} {frame.y(value):.1f}{'' if is_drawing else 'h0'}")
        is_drawing = True
    return "".join(parts)


def _axes(frame: Frame) -> str:
    parts = []
    for share in (0.0, 0.5, 1.0):
        value, y = frame.top * share, frame.y(frame.top * share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}{escape(frame.unit)}</text>')
    start, end = frame.span
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = start + (end - start) * share
        anchor = "end" if share == 1 else "start" if share == 0 else "middle"
        clock = time.strftime("%H:%M:%S", time.gmtime(at))
        parts.append(f'<text x="{frame.x(at):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{clock}</text>')
    return "".join(parts)


def _mark(at: float, label: str, frame: Frame) -> str:
    x = frame.x(at)
    return (
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
        f"<title>{escape(label)}</title></line>"
    )
