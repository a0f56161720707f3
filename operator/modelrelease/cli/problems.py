"""What goes wrong, in one sentence with the remedy."""

from __future__ import annotations

import re

import aiohttp

from modelrelease.api.model import PLURAL
from modelrelease.cli.exits import ExitCode
from modelrelease.errors import Conflict, Forbidden, InvalidResource, MetricsUnavailable, ReleaseError, Terminal

_BY_ADMISSION = re.compile(r"denied (?:the )?request: (?P<why>.*)", re.DOTALL)
_BY_RIGHTS = re.compile(r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"')
_READING = ("get", "list", "watch")


class Problem(Exception):
    """Ends the command: the sentence goes to standard error."""

    def __init__(self, sentence: str, code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(sentence)
        self.code = code


class Missing(Problem):
    """An object is not there; the reason may be that its kind is not."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, ExitCode.NOT_FOUND)


def refusal_of(error: Forbidden) -> str:
    """Why the API server said no, with one remedy: what a policy asks for, else the role that lets a person do it."""
    sentence = str(error).rstrip(".")
    if by_admission := _BY_ADMISSION.search(sentence):
        return f"A policy of this cluster refuses it: {' '.join(by_admission['why'].split())}."
    if (by_rights := _BY_RIGHTS.search(sentence)) is None:
        return f"{sentence}."
    verb, resource = by_rights["verb"], by_rights["resource"]
    if resource != PLURAL:
        return f"{sentence}. Ask for a role that may {verb} {resource}."
    remedy = "view" if verb in _READING else "edit (to approve only: modelrelease-promote)"
    return f"{sentence}. Ask for the ClusterRole modelrelease-{remedy}."


def sentence_of(error: Problem | ReleaseError) -> str:
    """What one part of an answer lacks, and the remedy, where the rest of the answer is given all the same."""
    match error:
        case Forbidden():
            return refusal_of(error)
        case MetricsUnavailable():
            return f"{str(error).rstrip('.')}. Where Prometheus is somewhere else, give its address with --prometheus."
    return str(error)


def problem_of(error: ReleaseError, address: str) -> Problem:
    """What an error of the adapters means to a person at a terminal.

    address: of the API server.
    """
    sentence = sentence_of(error)
    match error:
        case Forbidden():
            return Problem(sentence, ExitCode.FORBIDDEN)
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
    unreached = _unreached(error.__cause__, address)
    return Problem(unreached, ExitCode.NO_CLUSTER) if unreached else Problem(sentence)


def _unreached(cause: BaseException | None, address: str) -> str:
    """The sentence where no API server, or none that knows who asks, was talked to; else empty."""
    status = getattr(cause, "status", None)
    if status == 401:
        return f"The API server {address} does not know you; log in again."
    if status == 400 and "HTTPS server" in str(getattr(cause, "body", "")):
        return f"The API server {address} speaks https; write https:// under server: in the kubeconfig."
    if isinstance(cause, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return (
            f"The certificate of the API server {address} is not trusted ({cause}); put its authority under "
            "certificate-authority-data: in the kubeconfig, or check that server: names the right cluster."
        )
    if isinstance(cause, aiohttp.ClientError | OSError):
        why = str(cause) or "no answer in time"
        remedy = "check that the cluster runs and that --context names the right one"
        return f"The API server {address} cannot be reached ({why}); {remedy}."
    return ""
