"""How often the operator wrote to the API server, by the API server's own audit log."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from demo.watch import Version

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_NOT_COUNTED = frozenset({"events", "leases"})
_FIGURES = frozenset({"analysis", "judge", "message", "stable"})
"""Fields of the status that people like to watch. A write that changes these, what is seen of the canary's Deployment
or the messages of conditions, and nothing else, is a refresh of figures; it comes once an interval while releases are
few. Whatever else a write changes, it is an intent, or a result, and counted."""
_CONFIRMED = "confirmedWeight"
"""Goes with the next refresh after a weight was read back; a write for its sake alone is none, and counted."""
_SEEN_OF_CANARY = frozenset({"deployment", "replicas", "readyReplicas"})
"""What the cluster shows of the canary; its image and digest are what the release is about."""
_SERVERS = frozenset({"resourceVersion", "managedFields"})


@dataclass(frozen=True, slots=True)
class Writes:
    """Write requests of one user, Events and Leases left out, by `verb resource`."""

    by_kind: Counter[str]
    refreshes: int
    """Of them, writes of a status that changed figures only."""

    @property
    def total(self) -> int:
        """What a release costs the API server, refreshes of figures left out."""
        return self.by_kind.total() - self.refreshes

    @property
    def of_routes(self) -> int:
        """Writes of VirtualServices, also those that changed nothing or were refused: no watch tells of these."""
        return self.by_kind["update virtualservices"]


@dataclass(frozen=True, slots=True)
class Question:
    """Whose writes for objects of which namespace are counted, received in [since, until]."""

    user: str
    namespace: str
    since: float
    until: float

    def may_concern(self, line: str) -> bool:
        """False for most lines of the log, which holds what everybody asked of the whole cluster, at little cost."""
        return self.user in line and self.namespace in line

    def may_be_in(self, audit_log: Path) -> bool:
        """Whether the file was still written to after the time began. One that was put aside since is read, too."""
        return audit_log.stat().st_mtime >= self.since

    def concerns(self, event: dict[str, Any]) -> bool:
        """True for an entry of the audit log that is to be counted."""
        reference = event.get("objectRef", {})
        return (
            event["user"].get("username") == self.user
            and event["verb"] in _WRITES
            and reference.get("namespace") == self.namespace
            and reference.get("resource") not in _NOT_COUNTED
            and self.since <= datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp() <= self.until
        )


def writes(audit_log: Path, question: Question, told: Sequence[Version]) -> Writes:
    """Count what the question asks for, also in those logs that the API server put aside because they were full.

    The log holds no contents. Which writes of a status were refreshes is read from `told`, the versions of the
    ModelRelease that a watch told, one for each write; those told in the time that is asked for count.
    """
    logs = [path for path in audit_log.parent.glob(f"{audit_log.stem}*{audit_log.suffix}") if question.may_be_in(path)]
    mine = [event for path in logs for event in _concerned(path, question)]
    counted = Counter(f"{event['verb']} {_resource(event)}" for event in mine)
    return Writes(counted, refreshes([version for version in told if question.since <= version.at <= question.until]))


def _concerned(audit_log: Path, question: Question) -> list[dict[str, Any]]:
    with audit_log.open(encoding="utf-8") as lines:
        some = filter(question.may_concern, lines)
        return [event for event in _events(some) if question.concerns(event)]


def _events(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue  # the last line, while the server writes it


def _resource(event: dict[str, Any]) -> str:
    reference = event["objectRef"]
    return "/".join(filter(None, (reference.get("resource"), reference.get("subresource"))))


def refreshes(told: Sequence[Version]) -> int:
    """Neighbouring versions of a ModelRelease that differ in figures only."""
    manifests = [version.manifest for version in told if version.manifest is not None]
    return sum(_is_refresh(before, after) for before, after in itertools.pairwise(manifests))


def _is_refresh(before: dict[str, Any], after: dict[str, Any]) -> bool:
    if without_figures(before) != without_figures(after):
        return False
    then, now = ({**(one.get("status") or {}), _CONFIRMED: None} for one in (before, after))
    return then != now


def without_figures(manifest: dict[str, Any]) -> dict[str, Any]:
    """All of a ModelRelease that a refresh leaves as it is."""
    status = _without(manifest.get("status") or {}, _FIGURES | {_CONFIRMED})
    if "canary" in status:
        status["canary"] = _without(status["canary"], _SEEN_OF_CANARY)
    if "conditions" in status:
        status["conditions"] = [_without(one, frozenset({"message"})) for one in status["conditions"]]
    return {**manifest, "metadata": _without(manifest["metadata"], _SERVERS), "status": status}


def _without(fields: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
