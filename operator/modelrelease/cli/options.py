"""What all commands share: options for the cluster and the form of the answer, and how they end."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from modelrelease.cli.connection import Target
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.printing import Output
from modelrelease.cli.problems import Problem

DEBUG = "MODELRELEASE_DEBUG"
"""When set in the environment, an error that nobody foresaw shows where it happened."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the ModelRelease.")]
Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="Longest wait, such as 90s, 10m or 2h.")]

_SHARED: dict[str, tuple[Any, Any]] = {
    "namespace": (
        Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace. Default: that of the context.")],
        None,
    ),
    "context": (Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")], None),
    "kubeconfig": (Annotated[Path | None, typer.Option("--kubeconfig", help="Path of the kubeconfig.")], None),
}
_OUTPUT: dict[str, tuple[Any, Any]] = {
    "output": (Annotated[Output, typer.Option("--output", "-o", help="Form of the answer.")], Output.TABLE)
}


def command(run: Callable[..., ExitCode | None]) -> Callable[..., None]:
    """A command for typer. `run` takes the Target first, and `output` where it gives more than one form of answer.

    The options of all commands are added, a Problem becomes one sentence on standard error, and what `run` returns is
    the exit status.
    """
    hints = get_type_hints(run, include_extras=True)
    own = list(inspect.signature(run).parameters.values())[1:]
    shared = {**_OUTPUT, **_SHARED} if "output" in hints else _SHARED
    parameters = [one.replace(annotation=hints[one.name]) for one in own if one.name not in shared]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in shared.items()
    ]

    def started(**values: Any) -> None:
        target = Target(**{name: values.pop(name) for name in _SHARED})
        raise typer.Exit(guarded(lambda: run(target, **values)))

    started.__name__, started.__doc__ = run.__name__, run.__doc__
    started.__annotations__ = {one.name: one.annotation for one in parameters}
    started.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return started


def guarded(run: Callable[[], ExitCode | None]) -> ExitCode:
    """The exit status; every error is one sentence."""
    try:
        return run() or ExitCode.OK
    except Problem as problem:
        return complain(str(problem), problem.code)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does. Nothing may be written any more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets a sentence, never a traceback
        if os.environ.get(DEBUG):
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return complain(f"This is a defect of the plugin ({what}); set {DEBUG}=1 and report what it prints.")


def complain(sentence: str, code: ExitCode = ExitCode.ERROR) -> ExitCode:
    sys.stderr.write(f"Error: {sentence}\n")
    return code


def note(sentence: str) -> None:
    """Progress for people: on standard error, so that standard output holds the answer only."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
