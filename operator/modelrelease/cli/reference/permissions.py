"""What the operator may do, and what for, from the table that its roles are made from; and what people need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelrelease.api.permissions import LEADING, WORKING, Permission
from modelrelease.cli.reference.markdown import code, table
from modelrelease.cli.reference.markdown import page as whole_page

_PROMETHEUS = (
    "`get` ConfigMap `modelrelease-config` in the operator's namespace and `services/proxy` in that of Prometheus; "
    "neither with `--prometheus`"
)
PEOPLE = (
    ("`status`, `watch`, `wait`, `history`", "`view`", "nothing"),
    ("`abort`, `pause`, `resume`, `retry`", "`edit`", "nothing"),
    ("`promote`", "`edit`; where the policy on promotions is installed, `view` and `modelrelease-promote`", "nothing"),
    ("`backtest`, `explain`, `report`", "`view`", f"`get`, `list` Istio's kinds; {_PROMETHEUS}"),
    ("`plan`", "`edit`", f"`get`, `list` Istio's kinds; `list` nodes and pods of the cluster; {_PROMETHEUS}"),
    (
        "`check`",
        "`view`",
        "`get`, `list` Istio's kinds; `get` the CRD, the operator's role, and the Lease in the operator's namespace; "
        f"{_PROMETHEUS}",
    ),
)
"""Commands, the role they take, and what else they read."""


def page() -> str:
    """One row per purpose."""
    heading = ("group", "resource", "verbs", "what for")
    return whole_page(
        "Permissions",
        "operator/modelrelease/api/permissions.py",
        "The roles in `deploy/` are made from the same table as this page. The operator reads no Secrets through the "
        "API server. What a missing verb looks like: [Forbidden](../runbook.md#forbidden).",
        "## In every namespace that it watches",
        table(heading, _rows(WORKING)),
        "## In its own namespace",
        table(heading, _rows(LEADING)),
        "## Of people who use the plugin",
        "`view` and `edit` are the roles that every cluster has, to which `modelrelease-view` and `modelrelease-edit` "
        "are added. What somebody may not read is left out of an answer, which says so; only without the role the "
        "command ends.",
        table(("commands", "role in the namespace", "for the whole answer also"), PEOPLE),
    )


def _rows(permissions: Iterable[Permission]) -> Iterator[tuple[str, str, str, str]]:
    for permission in permissions:
        only = f" (only {', '.join(map(code, permission.names))})" if permission.names else ""
        for use in permission.uses:
            verbs = ", ".join(map(code, use.verbs))
            yield code(permission.group) or "core", code(permission.resource) + only, verbs, f"{use.reason}."
