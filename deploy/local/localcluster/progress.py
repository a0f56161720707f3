"""What a person sees while parts are built and started: one line each, with seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Line(Protocol):
    """The progress of one part."""

    def show(self, state: str) -> None:
        """Replace what the line says, e.g. `building` or `ready`."""


class Report(Protocol):
    """Hands out one line per part; lines may be written from several threads."""

    def part(self, name: str) -> _LineContext: ...


class _LineContext(Protocol):
    def __enter__(self) -> Line: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


class Silent:
    """For tests and programs: says nothing."""

    @contextmanager
    def part(self, name: str) -> Iterator[Line]:  # noqa: ARG002 - the name is part of the protocol
        yield self

    def show(self, state: str) -> None:
        """Nothing to see."""


class _PlainLine:
    def __init__(self) -> None:
        self.state = ""

    def show(self, state: str) -> None:
        self.state = state


class Plain:
    """One finished line per part: for logs and pipes, where a moving line would be noise."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def part(self, name: str) -> Iterator[Line]:
        """Print the line when the part is done, with its last state."""
        line, began = _PlainLine(), time.monotonic()
        try:
            yield line
        except BaseException:
            line.state = "failed"
            raise
        finally:
            seconds = time.monotonic() - began
            self._console.print(f"{name:<24} {line.state:<10} {seconds:6.1f} s", highlight=False, markup=False)


class _LiveLine:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def show(self, state: str) -> None:
        self._progress.update(self._task, state=state)


class Live:
    """Moving lines on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()

    @contextmanager
    def part(self, name: str) -> Iterator[Line]:
        """Stop the clock of the line when the part is done."""
        with self._lock:
            task = self._progress.add_task(name, total=1, state="")
        line = _LiveLine(self._progress, task)
        try:
            yield line
        except BaseException:
            line.show("failed")
            raise
        finally:
            self._progress.update(task, completed=1)
            self._progress.stop_task(task)


@contextmanager
def reporting(console: Console) -> Iterator[Report]:
    """The report that fits where the output goes."""
    if not console.is_terminal:
        yield Plain(console)
        return
    columns = (
        SpinnerColumn(finished_text="·"),
        TextColumn("{task.description:<24}"),
        TextColumn("{task.fields[state]:<12}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield Live(progress)
