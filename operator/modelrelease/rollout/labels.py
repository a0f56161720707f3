"""Names and labels of what the operator adds to the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelrelease.api.model import GROUP
from modelrelease.rollout.revision import digest_of

SUFFIX = "-canary"
LABEL_LIMIT = 63
"""Longest label value that Kubernetes accepts (Kubernetes documentation, "Labels and Selectors")."""

RELEASE = f"{GROUP}/release"
REVISION = f"{GROUP}/revision"
VERDICT = f"{GROUP}/verdict"
ROUTE = f"{GROUP}/route"
"""On the canary's Deployment: the route that sends traffic to it, for the clean-up after a vanished ModelRelease."""
AUTOSCALER = f"{GROUP}/autoscaler"
"""On the canary's Deployment: stable's autoscaler, whose minimum is held, and what to put back."""
BEFORE = f"{GROUP}/before"
"""On the canary's Deployment: stable as it was when the release began."""
TEMPLATE = f"{GROUP}/template"
FINALIZER = f"{GROUP}/traffic"
MANAGED_BY = "app.kubernetes.io/managed-by"
OPERATOR = "modelrelease-operator"
"""The operator, where objects name who manages them or, in managedFields, who wrote a field."""


def suffixed(value: str, limit: int = LABEL_LIMIT) -> str:
    """`value` marked as the canary's; a value too long is cut and told apart by a hash of the whole."""
    if len(value) + len(SUFFIX) <= limit:
        return value + SUFFIX
    mark = f"-{digest_of(value, 6)}{SUFFIX}"
    return value[: limit - len(mark)].rstrip("-._") + mark


def canary_name(name: str) -> str:
    """Name of the canary beside a Deployment; at most 63 characters, since it becomes a label of its pods."""
    return suffixed(name)


def release_label(name: str) -> str:
    """The release's name as a label value."""
    if len(name) <= LABEL_LIMIT:
        return name
    mark = f"-{digest_of(name, 6)}"
    return name[: LABEL_LIMIT - len(mark)].rstrip("-._") + mark


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a plain equality selector selects these labels."""
    return all(labels.get(key) == value for key, value in selector.items())


def expression_holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """One matchExpressions entry (Kubernetes API reference, LabelSelectorRequirement)."""
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None
