"""The table of permissions: complete, minimal in what can be seen without running, and what the manifests grant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from modelrelease.api.permissions import LEADING, LEASE_NAME, WORKING
from modelrelease.ports import Kind

ROOT = Path(__file__).parents[3]


def load(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return document


def test_every_kind_that_the_operator_touches_is_in_the_table_and_no_other() -> None:
    touched = {(kind.value.group, kind.value.plural) for kind in Kind}
    granted = {(each.group, each.resource.partition("/")[0]) for each in (*WORKING, *LEADING)}
    assert touched == granted


def test_nothing_is_granted_wholesale() -> None:
    words = {word for each in (*WORKING, *LEADING) for word in (each.group, each.resource, *each.verbs)}
    assert set() == words & {"*", "secrets", "escalate", "bind", "impersonate", "deletecollection"}


def test_every_verb_is_granted_once_and_has_a_reason() -> None:
    for each in (*WORKING, *LEADING):
        verbs = [verb for use in each.uses for verb in use.verbs]
        assert sorted(set(verbs)) == sorted(verbs), each.resource
        assert all(use.reason for use in each.uses), each.resource


def test_one_namespace_grants_what_all_namespaces_grant() -> None:
    cluster, namespaced = load("deploy/base/clusterrole.yaml"), load("deploy/namespaced/role.yaml")
    assert ("ClusterRole", "Role") == (cluster["kind"], namespaced["kind"])
    assert cluster["rules"] == namespaced["rules"]
    assert len(WORKING) == len(cluster["rules"])


def test_only_the_operators_own_lease_may_be_changed() -> None:
    rules = load("deploy/base/operator/role-lease.yaml")["rules"]
    assert [["create"]] == [rule["verbs"] for rule in rules if "resourceNames" not in rule]
    assert [[LEASE_NAME]] == [rule["resourceNames"] for rule in rules if "resourceNames" in rule]
