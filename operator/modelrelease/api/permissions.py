"""Every permission that the operator has, and what for: roles, documentation and checks come from this table.

A verb that the table lacks is a call that fails, and a verb that no code uses is a risk without a use; both are found
by tests on a real API server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from modelrelease.api.model import GROUP, PLURAL

LEASE_NAME = "modelrelease-operator"


@dataclass(frozen=True, slots=True)
class Use:
    """Verbs that one purpose needs."""

    verbs: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Permission:
    """What the operator may do with one resource."""

    group: str
    resource: str
    uses: tuple[Use, ...]
    names: tuple[str, ...] = ()
    """Only objects with these names; empty means all."""

    @property
    def verbs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(verb for use in self.uses for verb in use.verbs))


WORKING: tuple[Permission, ...] = (
    Permission(
        GROUP,
        PLURAL,
        (
            Use(("get", "list", "watch"), "find releases, notice changes, and see what a watch has missed"),
            Use(("patch",), "the finalizer that takes the canary away; remove annotations acted upon"),
        ),
    ),
    Permission(
        GROUP, f"{PLURAL}/status", (Use(("update",), "record intent before each effect, and say what goes on"),)
    ),
    Permission(
        "apps",
        "deployments",
        (
            Use(("get", "list", "watch"), "see stable and canary, and act at once when the canary's pods are gone"),
            Use(("create",), "the canary's Deployment; stable's where workload.template is given"),
            Use(("patch",), "size of the canary and of what workload.replicas is for, and the verdict on the canary"),
            Use(("update",), "the pod template of stable, at promotion"),
            Use(("delete",), "the canary, with the Service and DestinationRule that belong to it"),
        ),
    ),
    Permission(
        "",
        "services",
        (
            Use(("get",), "ports and selector of stable's Service, which the canary's copies"),
            Use(("create",), "the canary's Service; stable's where workload.template is given"),
        ),
    ),
    Permission(
        "",
        "pods",
        (Use(("list",), "digests that run, crash loops, why pods do not get ready, and who serves a Gateway"),),
    ),
    Permission("", "events", (Use(("create", "patch"), "tell the story of a release to people"),)),
    Permission(
        "autoscaling",
        "horizontalpodautoscalers",
        (
            Use(("list",), "find the autoscaler of stable"),
            Use(("patch",), "hold its minReplicas while traffic leaves stable, and put it back"),
        ),
    ),
    Permission(
        "networking.istio.io",
        "virtualservices",
        (
            Use(("get",), "read the weights back"),
            Use(("update",), "move the traffic"),
            Use(("create",), "where traffic.hosts is given and none is there"),
        ),
    ),
    Permission(
        "networking.istio.io", "gateways", (Use(("get",), "whose requests the route splits, so that only they count"),)
    ),
    Permission(
        "networking.istio.io",
        "destinationrules",
        (
            Use(("list",), "the traffic policy of stable's host"),
            Use(("create",), "its copy for the canary's host"),
        ),
    ),
    Permission(
        "networking.k8s.io",
        "networkpolicies",
        (Use(("list",), "name policies that select stable's pods but not the canary's"),),
    ),
    *(
        Permission(
            "security.istio.io",
            resource,
            (Use(("list",), "name policies that select stable's pods but not the canary's"),),
        )
        for resource in ("authorizationpolicies", "peerauthentications", "requestauthentications")
    ),
)
"""In every namespace that is watched."""

LEADING: tuple[Permission, ...] = (
    Permission("coordination.k8s.io", "leases", (Use(("create",), "the Lease that lets one replica write at a time"),)),
    Permission(
        "coordination.k8s.io", "leases", (Use(("get", "update"), "take, renew and give back the Lease"),), (LEASE_NAME,)
    ),
)
"""In the operator's own namespace only. `create` cannot be bound to a name: no name is known when it is checked."""


def rules(permissions: tuple[Permission, ...]) -> Iterator[tuple[dict[str, list[str]], tuple[Use, ...]]]:
    """RBAC policy rules, each with the uses that it is there for."""
    for permission in permissions:
        rule = {
            "apiGroups": [permission.group],
            "resources": [permission.resource],
            "verbs": list(permission.verbs),
        }
        if permission.names:
            rule["resourceNames"] = list(permission.names)
        yield rule, permission.uses
