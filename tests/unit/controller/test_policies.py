"""Policies that guard stable's pods but would not guard the canary's."""

from __future__ import annotations

from typing import Any

import pytest

from modelrelease.controller.policies import uncovered
from modelrelease.ports import Kind

STABLE = {"app": "yolo", "tier": "gpu"}
CANARY = {"app": "yolo-canary", "tier": "gpu"}
NETWORK, AUTHORIZATION = Kind.NETWORK_POLICY, Kind.AUTHORIZATION_POLICY


def _expression(operator: str, *values: str, key: str = "app") -> dict[str, Any]:
    entry = {"key": key, "operator": operator, "values": list(values)}
    return {"podSelector": {"matchExpressions": [entry]}}


CASES: dict[str, tuple[Kind, dict[str, Any], bool]] = {
    "by the suffixed label": (NETWORK, {"podSelector": {"matchLabels": {"app": "yolo"}}}, True),
    "by another label": (NETWORK, {"podSelector": {"matchLabels": {"tier": "gpu"}}}, False),
    "all pods": (NETWORK, {"podSelector": {}}, False),
    "other pods": (NETWORK, {"podSelector": {"matchLabels": {"app": "else"}}}, False),
    "In": (NETWORK, _expression("In", "yolo", "else"), True),
    "In both": (NETWORK, _expression("In", "yolo", "yolo-canary"), False),
    "NotIn": (NETWORK, _expression("NotIn", "yolo-canary"), True),
    "Exists": (NETWORK, _expression("Exists"), False),
    "DoesNotExist": (NETWORK, _expression("DoesNotExist", key="other"), False),
    "authorization by label": (AUTHORIZATION, {"selector": {"matchLabels": {"app": "yolo"}}}, True),
    "authorization of all": (AUTHORIZATION, {}, False),
    "peers": (Kind.PEER_AUTHENTICATION, {"selector": {"matchLabels": {"app": "yolo"}}}, True),
    "requests": (Kind.REQUEST_AUTHENTICATION, {"selector": {"matchLabels": {"app": "yolo"}}}, True),
}


@pytest.mark.parametrize(("kind", "spec", "expected"), CASES.values(), ids=[name.replace(" ", "-") for name in CASES])
def test_which_policies_do_not_cover_the_canary(kind: Kind, spec: dict[str, Any], expected: bool) -> None:
    policy: Any = {"metadata": {"name": "p"}, "spec": spec}
    assert ((f"{kind.value.kind}/p",) if expected else ()) == uncovered([(kind, policy)], STABLE, CANARY)
