"""What the operator may do, and what for, from the table that its roles are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelrelease.api.permissions import LEADING, WORKING, Permission
from modelrelease.cli.reference.markdown import code, table
from modelrelease.cli.reference.markdown import page as whole_page


def page() -> str:
    """One row per purpose."""
    heading = ("group", "resource", "verbs", "what for")
    return whole_page(
        "Permissions of the operator",
        "operator/modelrelease/api/permissions.py",
        "The roles in `deploy/` are made from the same table as this page. The operator reads no Secrets through the "
        "API server. What a missing verb looks like: [Forbidden](../runbook.md#forbidden).",
        "## In every namespace that it watches",
        table(heading, _rows(WORKING)),
        "## In its own namespace",
        table(heading, _rows(LEADING)),
    )


def _rows(permissions: Iterable[Permission]) -> Iterator[tuple[str, str, str, str]]:
    for permission in permissions:
        only = f" (only {', '.join(map(code, permission.names))})" if permission.names else ""
        for use in permission.uses:
            verbs = ", ".join(map(code, use.verbs))
            yield code(permission.group) or "core", code(permission.resource) + only, verbs, f"{use.reason}."
