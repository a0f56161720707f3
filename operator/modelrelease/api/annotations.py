"""Annotations by which a person steers a running release."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelrelease.api.model import GROUP


class Action(StrEnum):
    """In the order in which they win when several are set: abort beats everything."""

    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    PROMOTE = "promote"

    @property
    def annotation(self) -> str:
        return f"{GROUP}/{self.value}"


ALLOWED: dict[Action, tuple[str, ...]] = {
    Action.ABORT: (),  # any reason
    Action.PAUSE: ("true",),
    Action.RESUME: ("true",),
    Action.RETRY: ("true",),
    Action.PROMOTE: ("next", "full"),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One steering annotation as somebody wrote it: `value[@target]`, target a generation or a revision."""

    action: Action
    raw: str
    value: str
    target: str | None

    @property
    def is_allowed(self) -> bool:
        return not ALLOWED[self.action] or self.value in ALLOWED[self.action]

    def concerns(self, *, generation: int, revision: str) -> bool:
        return self.target is None or self.target in (str(generation), revision)


def read_requests(annotations: dict[str, str]) -> tuple[Request, ...]:
    """All steering annotations, the winning one first."""
    return tuple(_read(action, annotations[action.annotation]) for action in Action if action.annotation in annotations)


def unknown_names(annotations: dict[str, str]) -> tuple[str, ...]:
    """Annotations of our group that steer nothing: most likely misspelt."""
    known = {action.annotation for action in Action}
    return tuple(sorted(name for name in annotations if name.startswith(f"{GROUP}/") and name not in known))


def _read(action: Action, raw: str) -> Request:
    value, separator, target = raw.rpartition("@")
    is_target = bool(separator) and target.isalnum()
    return Request(action, raw, value if is_target else raw, target if is_target else None)
