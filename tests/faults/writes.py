"""What the operator asks of the API server, and which of its writes are the same one in two runs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[a-z]+))?$"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, taken apart."""

    method: str
    plural: str
    namespace: str
    name: str
    subresource: str
    is_watch: bool
    body: dict[str, Any] | None

    @property
    def is_write(self) -> bool:
        return self.method not in ("GET", "HEAD", "OPTIONS")

    @property
    def is_lease(self) -> bool:
        return self.plural == "leases"

    @property
    def signature(self) -> str:
        """The same for the same write of two runs, whatever the names of Events and the figures in status."""
        what = f"{self.method} {self.plural}{'/' + self.subresource if self.subresource else ''}"
        body = self.body or {}
        if self.plural == "events":
            return f"{what} {body.get('reason', '')}".strip()
        if self.subresource == "status":
            return f"{what} {_status_signature(body.get('status') or {})}"
        if self.plural == "virtualservices":
            return f"{what} {_weights(body)}"
        if self.method == "PATCH":
            return f"{what} {self.name} {json.dumps(_without_identity(body), sort_keys=True)}"
        if self.plural == "deployments" and self.method == "PUT":
            containers = body["spec"]["template"]["spec"]["containers"]
            return f"{what} {self.name} {containers[0]['image']}"
        return f"{what} {self.name or (body.get('metadata') or {}).get('name', '')}"

    @property
    def is_refresh(self) -> bool:
        """A status write that may be one of figures only: its number differs from run to run."""
        return self.subresource == "status"


def read_request(request: web.Request, raw: bytes) -> Asked:
    """Take a request apart; what is no resource has an empty plural."""
    found = _PATH.match(request.path)
    parts = found.groupdict() if found else {}
    body: Any = json.loads(raw) if raw else None
    return Asked(
        request.method,
        parts.get("plural") or "",
        parts.get("namespace") or "",
        parts.get("name") or "",
        parts.get("subresource") or "",
        request.query.get("watch") in ("true", "1"),
        body if isinstance(body, dict) else None,
    )


def _status_signature(status: dict[str, Any]) -> str:
    keys = ("phase", "step", "weight", "outcome", "outcomeReason")
    return " ".join(f"{key}={status[key]}" for key in keys if key in status)


def _weights(body: dict[str, Any]) -> str:
    try:
        route = body["spec"]["http"][0]["route"]
    except (KeyError, IndexError):
        return ""
    return ",".join(str(entry.get("weight", "-")) for entry in route)


def _without_identity(body: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        key: value for key, value in (body.get("metadata") or {}).items() if key not in ("resourceVersion", "uid")
    }
    return {**body, "metadata": metadata}
