"""The table of permissions: complete, minimal in what can be seen without running, and what the manifests grant."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from modelrelease.api.permissions import LEADING, LEASE_NAME, WORKING
from modelrelease.controller.policies import POLICY_KINDS
from modelrelease.ports import Kind

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "operator" / "modelrelease"

VERB_OF_METHOD = {
    "get": ("get",),
    "list": ("list",),
    "create": ("create",),
    "_create": ("create", "get"),  # the executor's: where a name is taken it looks by whom
    "replace": ("update",),
    "patch": ("patch",),
    "delete": ("delete",),
    "replace_status": ("update",),
}
WATCHED = {Kind.MODEL_RELEASE: ("list", "watch"), Kind.DEPLOYMENT: ("list", "watch")}
"""By kopf, which builds its own requests."""


def load(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return document


def uses_in_code() -> Iterator[tuple[str, str, str]]:
    """Group, resource and verb of every call of the port `Cluster` that names a kind; what people run acts as them."""
    for path in (path for path in PACKAGE.rglob("*.py") if PACKAGE / "cli" not in path.parents):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=method),
                    args=[ast.Attribute(value=ast.Name(id="Kind"), attr=name), *_],
                ) if method in VERB_OF_METHOD:
                    yield from used(Kind[name], VERB_OF_METHOD[method], "/status" if method == "replace_status" else "")
    for kind, verbs in (*WATCHED.items(), *((kind, ("list",)) for kind in POLICY_KINDS)):
        yield from used(kind, verbs)


def used(kind: Kind, verbs: tuple[str, ...], subresource: str = "") -> Iterator[tuple[str, str, str]]:
    for verb in verbs:
        yield kind.value.group, kind.value.plural + subresource, verb


def test_what_is_granted_is_what_the_code_does() -> None:
    granted = {(each.group, each.resource, verb) for each in (*WORKING, *LEADING) for verb in each.verbs}
    done = set(uses_in_code())
    assert set() == done - granted, "calls that the API server would refuse: grant them, with a reason"
    assert set() == granted - done, "granted, but nothing does it: take it out of the table"


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
