"""What goes wrong, in one sentence with the remedy."""

from __future__ import annotations

import aiohttp

from modelrelease.cli.exits import ExitCode
from modelrelease.errors import Conflict, Forbidden, InvalidResource, MetricsUnavailable, ReleaseError, Terminal

_NOT_ALLOWED = "The operator may not"
"""How the adapter's sentence begins, which speaks for the operator."""


class Problem(Exception):
    """Ends the command: the sentence goes to standard error."""

    def __init__(self, sentence: str, code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(sentence)
        self.code = code


class Missing(Problem):
    """An object is not there; the reason may be that its kind is not."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, ExitCode.NOT_FOUND)


def problem_of(error: ReleaseError, address: str) -> Problem:
    """What an error of the adapters means to a person at a terminal.

    address: of the API server.
    """
    sentence, cause = str(error), error.__cause__
    match error:
        case Forbidden():
            said = sentence.replace(_NOT_ALLOWED, "You may not", 1).rstrip(".")
            return Problem(f"{said}. Ask for the ClusterRole modelrelease-view, -edit or -promote.", ExitCode.FORBIDDEN)
        case MetricsUnavailable():
            return Problem(sentence, ExitCode.NO_METRICS)
        case InvalidResource():
            return Problem(sentence, ExitCode.USAGE)
        case Conflict():
            return Problem(f"{sentence} Somebody else wrote at the same time; try again.")
        case Terminal(reason="NoCluster"):
            remedy = "Name a kubeconfig with --kubeconfig or in KUBECONFIG."
            return Problem(f"{sentence.rstrip('.')}. {remedy}", ExitCode.NO_CLUSTER)
        case Terminal(reason="NoContext"):
            return Problem(sentence, ExitCode.NO_CLUSTER)
    if getattr(cause, "status", None) == 401:
        return Problem(f"The API server {address} does not know you; log in again.", ExitCode.NO_CLUSTER)
    if isinstance(cause, aiohttp.ClientError | OSError):
        why = str(cause) or "no answer in time"
        remedy = "check that the cluster runs and that --context names the right one"
        return Problem(f"The API server {address} cannot be reached ({why}); {remedy}.", ExitCode.NO_CLUSTER)
    return Problem(sentence)
