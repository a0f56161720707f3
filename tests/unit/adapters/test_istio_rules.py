"""The canary's DestinationRule."""

from __future__ import annotations

import copy
from typing import Any, cast

from modelrelease.adapters.istio import canary_destination_rule
from modelrelease.ports import Manifest

RULE: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "detector", "namespace": "vision", "resourceVersion": "7", "labels": {"team": "vision"}},
    "spec": {
        "host": "detector",
        "exportTo": ["."],
        "trafficPolicy": {
            "loadBalancer": {"simple": "LEAST_REQUEST"},
            "connectionPool": {"http": {"http1MaxPendingRequests": 8}, "tcp": {"maxConnections": 64}},
        },
        "subsets": [
            {"name": "cpu", "labels": {"kind": "cpu"}},
            {
                "name": "gpu",
                "labels": {"kind": "gpu"},
                "trafficPolicy": {"connectionPool": {"http": {"http1MaxPendingRequests": 2}}},
            },
        ],
    },
}


def rule(**spec: Any) -> Manifest:
    changed = copy.deepcopy(RULE)
    changed["spec"] |= spec
    return cast(Manifest, changed)


def built(source: Manifest, subset: str | None = None) -> dict[str, Any] | None:
    made = canary_destination_rule(
        source, name="detector-canary", canary_host="detector-canary", subset=subset, labels={"a": "b"}
    )
    return cast(dict[str, Any] | None, made)


def test_it_has_stables_policy_for_the_canarys_host() -> None:
    expected = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "detector-canary", "namespace": "vision", "labels": {"a": "b"}},
        "spec": {"host": "detector-canary", "trafficPolicy": RULE["spec"]["trafficPolicy"], "exportTo": ["."]},
    }
    assert expected == built(rule())
    assert expected == built(rule(), "cpu"), "a subset without a policy inherits the host's"


def test_the_policy_of_the_used_subset_replaces_field_by_field() -> None:
    made = built(rule(), "gpu")
    assert made is not None
    expected = {
        "loadBalancer": {"simple": "LEAST_REQUEST"},
        "connectionPool": {"http": {"http1MaxPendingRequests": 2}},
    }
    assert expected == made["spec"]["trafficPolicy"]


def test_without_a_policy_there_is_no_rule() -> None:
    without = cast(dict[str, Any], rule())
    del without["spec"]["trafficPolicy"]
    assert built(cast(Manifest, without)) is None
    assert built(cast(Manifest, without), "cpu") is None
    assert built(cast(Manifest, without), "gpu") is not None


def test_the_copy_shares_nothing_with_the_original() -> None:
    source = rule()
    made = built(source)
    assert made is not None
    made["spec"]["trafficPolicy"]["loadBalancer"]["simple"] = "RANDOM"
    assert rule() == source
