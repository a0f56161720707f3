"""Console script `kubectl_complete-modelrelease`: kubectl asks it what could come next.

kubectl gives the words so far, the unfinished one last (it may be empty), and reads candidates line by line, with a
tab before a description, and a last line `:N` (Kubernetes documentation, "Extend kubectl with plugins"; N as in cobra's
ShellCompDirective: 4 offers no file names).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from modelrelease.cli.app import application
from modelrelease.cli.connection import Connection, Target, run_connected
from modelrelease.cli.problems import Problem
from modelrelease.cli.releases import list_names

NO_FILES = 4
FILES = 0


@dataclass(frozen=True, slots=True)
class Candidates:
    """Words, each with a description, and whether file names may follow."""

    words: tuple[tuple[str, str], ...] = ()
    files: bool = False

    def __str__(self) -> str:
        lines = [f"{word}\t{about}" if about else word for word, about in self.words]
        return "\n".join([*lines, f":{FILES if self.files else NO_FILES}"]) + "\n"


def candidates(words: Sequence[str]) -> Candidates:
    """What could stand where the last of `words` is being typed."""
    *before, unfinished = words or [""]
    commands: dict[str, Any] = typer.main.get_command(application()).commands  # type: ignore[attr-defined]
    name = next((word for word in before if word in commands), None)
    if name is None:
        return _beginning(unfinished, ((one, _first_line(command.help)) for one, command in commands.items()))
    options = {text: option for option in commands[name].params for text in option.opts if text.startswith("-")}
    previous = options.get(before[-1])
    if previous is not None and not getattr(previous, "is_flag", False):
        if isinstance(previous.default, StrEnum):
            return _beginning(unfinished, ((str(choice), "") for choice in type(previous.default)))
        return Candidates(files=previous.name in {"kubeconfig", "filename", "out", "provider"})
    if unfinished.startswith("-"):
        return _beginning(unfinished, ((text, _first_line(option.help)) for text, option in options.items()))
    if any(one.param_type_name == "argument" for one in commands[name].params):
        return _beginning(unfinished, ((one, "") for one in _names(before)))
    return Candidates()


def _beginning(unfinished: str, words: Iterator[tuple[str, str]]) -> Candidates:
    return Candidates(tuple((word, about) for word, about in words if word.startswith(unfinished)))


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _names(before: Sequence[str]) -> list[str]:
    """Names of ModelReleases in the namespace that was typed; none where the cluster cannot be asked."""

    async def names(connection: Connection) -> list[str]:
        return await list_names(connection.cluster, connection.namespace)

    kubeconfig = _typed(before, "--kubeconfig")
    target = Target(
        namespace=_typed(before, "-n", "--namespace"),
        context=_typed(before, "--context"),
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
    )
    try:
        return run_connected(target, names)
    except Problem:
        return []


def _typed(before: Sequence[str], *options: str) -> str | None:
    return next((after for word, after in pairwise(before) if word in options), None)


def main() -> None:
    """Never fails: whoever presses the tab key wants no error."""
    sys.stdout.write(str(candidates(sys.argv[1:])))
