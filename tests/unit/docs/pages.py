"""What pages tell people to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_FENCE = re.compile(r"^```(?P<kind>sh|console)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:kubectl|make) [^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page, as words."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def pages() -> list[Path]:
    """All that people read; what is made from the code is not written by hand and told apart."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "inference-image" / "README.md"]
    found += [ROOT / "deploy" / "README.md"]
    return [page for page in found if "decisions" not in page.parts]


def commands(page: Path) -> list[Command]:
    """The commands in code blocks, and `kubectl …` and `make …` in the text."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    lines = [line for match in _FENCE.finditer(text) for line in _lines(match["kind"], match["body"])]
    lines += _INLINE.findall(_FENCE.sub("", text))
    return [Command(name, words) for line in lines if (words := tuple(_words(line)))]


def _lines(kind: str, body: str) -> Iterator[str]:
    """Whole commands: in a console block what follows `$ `, in a shell block each line."""
    for line in body.replace("\\\n", " ").splitlines():
        if kind == "console":
            if line.startswith("$ "):
                yield line.removeprefix("$ ")
        elif line.strip():
            yield line


def _words(line: str) -> list[str]:
    words = shlex.split(line.removesuffix(" &"), comments=True)
    return [] if not words or "…" in line else words


def of_kind(program: str) -> list[Command]:
    """All commands of one program, in all pages."""
    return [command for page in pages() for command in commands(page) if command.words[0] == program]
