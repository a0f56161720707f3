"""The plugin's commands, and where the console script begins."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from modelrelease.cli.exits import MEANINGS

PROGRAM = "kubectl modelrelease"

COMMANDS: dict[str, str] = {
    "status": "status",
    "watch": "watch",
    "promote": "steering",
    "abort": "steering",
    "pause": "steering",
    "resume": "steering",
    "retry": "steering",
    "wait": "wait",
    "history": "history",
    "plan": "plan",
    "backtest": "backtest",
    "check": "check",
    "explain": "explain",
    "report": "report",
}
"""Command and the module below `commands` that has it."""

_AS_IT_STANDS = "\b\n"
"""Before lines that are not to be joined into a paragraph."""
_EPILOG = f"{_AS_IT_STANDS}Exit status:\n" + "\n".join(
    f"{code.value:>5}  {meaning}" for code, meaning in MEANINGS.items()
)


class _Group(TyperGroup):
    """Says what is wrong with an option without the library's own `Value error`."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


def application() -> typer.Typer:
    """All commands."""
    made = typer.Typer(
        name=PROGRAM,
        cls=_Group,
        help="See and steer releases of models: what they do, why, and how long they will take.",
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, module in COMMANDS.items():
        made.command(name)(getattr(import_module(f"modelrelease.cli.commands.{module}"), name))
    return made


def main() -> None:
    """Console script `kubectl-modelrelease`, which kubectl finds by its name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every terminal has bars, nor every name's letters
    application()(args=sys.argv[1:], prog_name=PROGRAM)


if __name__ == "__main__":
    main()
