"""Policies that guard stable's pods but would not guard the canary's. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from modelrelease.ports import Kind, Manifest
from modelrelease.rollout.labels import expression_holds, matches

POLICY_KINDS = (
    Kind.NETWORK_POLICY,
    Kind.AUTHORIZATION_POLICY,
    Kind.PEER_AUTHENTICATION,
    Kind.REQUEST_AUTHENTICATION,
)


def uncovered(
    policies: Sequence[tuple[Kind, Manifest]], stable_labels: Mapping[str, str], canary_labels: Mapping[str, str]
) -> tuple[str, ...]:
    """`Kind/name` of each policy that selects stable's pods but not the canary's."""
    return tuple(
        f"{kind.value.kind}/{cast(dict[str, Any], policy)['metadata']['name']}"
        for kind, policy in policies
        if _selects(kind, policy, stable_labels) and not _selects(kind, policy, canary_labels)
    )


def _selects(kind: Kind, policy: Manifest, labels: Mapping[str, str]) -> bool:
    spec = cast(dict[str, Any], policy).get("spec") or {}
    if kind is Kind.NETWORK_POLICY:
        return _label_selector(spec.get("podSelector") or {}, labels)
    return matches((spec.get("selector") or {}).get("matchLabels") or {}, labels)


def _label_selector(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if not matches(selector.get("matchLabels") or {}, labels):
        return False
    return all(expression_holds(expression, labels) for expression in selector.get("matchExpressions") or [])
