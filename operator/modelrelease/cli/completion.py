"""Console script `kubectl_complete-modelrelease`: kubectl asks it what could come next.

kubectl gives the words so far, the unfinished one last (it may be empty), and reads candidates line by line, with a
tab before a description, and a last line `:N` (Kubernetes documentation, "Extend kubectl with plugins"; N as in cobra's
ShellCompDirective: 4 offers no file names).
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from modelrelease.adapters.cluster import Call, context_names
from modelrelease.cli.app import application
from modelrelease.cli.connection import Connection, Target, run_connected
from modelrelease.cli.problems import Problem
from modelrelease.cli.releases import list_names, read_release
from modelrelease.errors import ReleaseError

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
        if previous.name in _KNOWN:
            return _beginning(unfinished, ((one, "") for one in _KNOWN[previous.name](before)))
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
    """Of ModelReleases in the namespace that was typed."""
    return _asked(before, lambda opened: list_names(opened.cluster, opened.namespace))


def _namespaces(before: Sequence[str]) -> list[str]:
    async def names(connection: Connection) -> list[str]:
        found: dict[str, Any] = await connection.server.send(Call("GET", "/api/v1/namespaces", "list namespaces"))
        return [str(one["metadata"]["name"]) for one in found.get("items") or []]

    return _asked(before, names)


def _revisions(before: Sequence[str]) -> list[str]:
    """Of the ModelRelease that was typed: the words before which are neither options nor their values."""
    pairs = pairwise(before)
    name = next((word for last, word in pairs if not (last.startswith("-") or word.startswith("-"))), "")

    async def revisions(connection: Connection) -> list[str]:
        status = (await read_release(connection.cluster, connection.namespace, name)).status
        return list(dict.fromkeys(filter(None, (status.revision, *(one.revision for one in status.history)))))

    return _asked(before, revisions) if name else []


def _contexts(before: Sequence[str]) -> list[str]:
    try:
        return context_names(_kubeconfig(before))
    except ReleaseError:
        return []


_KNOWN: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "namespace": _namespaces,
    "operator_namespace": _namespaces,
    "context": _contexts,
    "revision": _revisions,
}
"""Options whose values the cluster or the kubeconfig knows."""


def _kubeconfig(before: Sequence[str]) -> Path | None:
    path = typed(before, "--kubeconfig")
    return Path(path) if path else None


def _asked(before: Sequence[str], work: Callable[[Connection], Awaitable[list[str]]]) -> list[str]:
    """What the cluster that was typed answers; nothing where it cannot be asked."""
    target = Target(
        namespace=typed(before, "-n", "--namespace"),
        context=typed(before, "--context"),
        kubeconfig=_kubeconfig(before),
    )
    try:
        return run_connected(target, work)
    except Problem:
        return []


def typed(before: Sequence[str], *options: str) -> str | None:
    """The value of an option in any of the ways to write one: -n x, -nx, --namespace x, --namespace=x."""
    for word, after in pairwise([*before, ""]):
        if word in options:
            return after
        for option in options:
            is_long = option.startswith("--")
            if word.startswith(f"{option}=" if is_long else option) and word.startswith("--") is is_long:
                return word.removeprefix(option).removeprefix("=")
    return None


def main() -> None:
    """Never fails: whoever presses the tab key wants no error."""
    sys.stdout.write(str(candidates(sys.argv[1:])))
