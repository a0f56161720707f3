"""Who may do what, asked of a real API server: the operator, and people who view, edit and promote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.crd.releases import Releases, eventually
from localcluster.commands import run
from localcluster.controlplane import ControlPlane
from localcluster.errors import CommandFailed
from modelrelease.api.permissions import LEADING, LEASE_NAME, WORKING

OPERATOR = "system:serviceaccount:modelrelease-system:modelrelease-operator"
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "promote")
LEAST = {"image": "harbor.example.com/vision/yolov8-detect:v1.2.0", "workload": {"deployment": "yolov8-detect"}}
READ = {"get", "list", "watch"}
PROMOTE = "modelrelease.dev/promote"

PEOPLE = {
    "viewer": ("view", READ),
    "editor": ("edit", READ | {"create", "update", "patch", "delete"}),
    "promoter": ("modelrelease-promote", READ | {"patch", "promote"}),
    "admin": ("admin", READ | {"create", "update", "patch", "delete", "promote"}),
}
"""Role in the namespace, and what it lets its holder do with ModelReleases."""

AGGREGATED = {"viewer": "get", "editor": "create", "admin": "promote"}
"""What shows that a controller has added our rules to the roles that every cluster has."""

Kubectl = Callable[..., str]


@pytest.fixture(scope="session")
def people(installed: ControlPlane) -> dict[str, Kubectl]:
    """kubectl by person."""
    binary = installed.access.kubectl_binary
    found: dict[str, Kubectl] = {}
    for person, (role, _) in PEOPLE.items():
        installed.kubectl(
            "create", "rolebinding", person, f"--clusterrole={role}", f"--user={person}", "--namespace=vision"
        )
        found[person] = _kubectl(binary, installed.kubeconfig_for_user(person))
    asked = [Ask(person, verb, "modelrelease.dev", "modelreleases") for person, verb in AGGREGATED.items()]
    eventually(lambda: all(answers(installed, asked).values()))
    return found


def _kubectl(binary: Path, kubeconfig: Path) -> Kubectl:
    return lambda *words: run([binary, "--kubeconfig", kubeconfig, *words], timeout_seconds=60)


@dataclass(frozen=True, slots=True)
class Ask:
    """May `user` do `verb` on `path`: `resource`, `resource/subresource` or `resource//name`?"""

    user: str
    verb: str
    group: str
    path: str
    namespace: str = "vision"

    def review(self) -> dict[str, Any]:
        resource, subresource, name = (*self.path.split("/"), "", "")[:3]
        attributes = {"verb": self.verb, "group": self.group, "resource": resource, "subresource": subresource}
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": self.user, "resourceAttributes": attributes | {"name": name, "namespace": self.namespace}},
        }


def answers(installed: ControlPlane, asked: Sequence[Ask]) -> dict[Ask, bool]:
    """All in one go; kubectl would take a third of a second for each."""
    body = {"apiVersion": "v1", "kind": "List", "items": [each.review() for each in asked]}
    words = ("create", "--filename=-", "--output=jsonpath={.status.allowed}{'\\n'}")
    told = installed.kubectl(*words, stdin=json.dumps(body)).split()
    return {each: word == "true" for each, word in zip(asked, told, strict=True)}


def test_the_operator_may_do_what_the_table_says_and_nothing_else_with_it(installed: ControlPlane) -> None:
    expected = {
        Ask(OPERATOR, verb, each.group, each.resource): verb in each.verbs for each in WORKING for verb in VERBS
    }
    assert expected == answers(installed, list(expected))


def test_the_operator_may_not(installed: ControlPlane) -> None:
    others = [
        ("get", "", "secrets"),
        ("list", "", "configmaps"),
        ("delete", "", "pods"),
        ("create", "", "pods/exec"),
        ("delete", "", "services"),
        ("update", "apps", "deployments/scale"),
        ("delete", "networking.istio.io", "virtualservices"),
        ("patch", "networking.istio.io", "destinationrules"),
        ("create", "rbac.authorization.k8s.io", "rolebindings"),
        ("get", "coordination.k8s.io", "leases"),
    ]
    expected = {Ask(OPERATOR, *other): False for other in others}
    assert expected == answers(installed, list(expected))


def test_the_operator_leads_by_its_own_lease_only(installed: ControlPlane) -> None:
    def lease(verb: str, name: str) -> Ask:
        return Ask(OPERATOR, verb, "coordination.k8s.io", f"leases//{name}", "modelrelease-system")

    expected = {lease(verb, LEASE_NAME): True for each in LEADING for verb in each.verbs}
    expected |= {lease("update", "somebody-elses"): False, lease("delete", LEASE_NAME): False}
    assert expected == answers(installed, list(expected))


@pytest.mark.usefixtures("people")
def test_people_may_do_what_their_role_says_and_write_no_status(installed: ControlPlane) -> None:
    resource = ("modelrelease.dev", "modelreleases")
    expected = {Ask(person, verb, *resource): verb in verbs for person, (_, verbs) in PEOPLE.items() for verb in VERBS}
    expected |= {
        Ask(person, verb, "modelrelease.dev", "modelreleases/status"): False
        for person in PEOPLE
        for verb in ("update", "patch")
    }
    assert expected == answers(installed, list(expected))


@pytest.fixture(scope="session")
def policy(installed: ControlPlane, people: dict[str, Kubectl]) -> Iterator[dict[str, Kubectl]]:
    """People, once the policy on promotions is in force."""
    Releases(installed).create("policed", LEAST)

    def is_refused() -> bool:
        try:
            people["editor"]("annotate", "mr", "policed", "--namespace=vision", "--overwrite", f"{PROMOTE}=full")
        except CommandFailed:
            return True
        return False

    eventually(is_refused)
    installed.kubectl("annotate", "mr", "policed", "--namespace=vision", f"{PROMOTE}-")
    yield people
    installed.kubectl("delete", "mr", "policed", "--namespace=vision")


def annotate(kubectl: Kubectl, name: str, *annotations: str) -> None:
    kubectl("annotate", "mr", name, "--namespace=vision", "--overwrite", *annotations)


def test_who_edits_may_abort_but_not_promote(policy: dict[str, Kubectl], releases: Releases) -> None:
    releases.create("edited", LEAST)
    annotate(policy["editor"], "edited", "modelrelease.dev/abort=wrong weights")
    with pytest.raises(CommandFailed) as caught:
        annotate(policy["editor"], "edited", f"{PROMOTE}=next")
    assert (
        f"setting the annotation {PROMOTE} takes the verb promote on modelreleases: ask for the ClusterRole "
        "modelrelease-promote in namespace vision"
    ) in str(caught.value)
    assert PROMOTE not in releases.read("edited")["metadata"]["annotations"]


def test_an_annotation_cannot_be_smuggled_in_when_a_release_is_made(policy: dict[str, Kubectl], tmp_path: Path) -> None:
    metadata = {"name": "smuggled", "namespace": "vision", "annotations": {PROMOTE: "full"}}
    body = {"apiVersion": "modelrelease.dev/v1alpha1", "kind": "ModelRelease", "metadata": metadata, "spec": LEAST}
    manifest = tmp_path / "smuggled.json"
    manifest.write_text(json.dumps(body), encoding="utf-8")
    with pytest.raises(CommandFailed, match="takes the verb promote"):
        policy["editor"]("create", "--filename", manifest)
    policy["admin"]("create", "--filename", manifest)


def test_who_promotes_can_change_nothing_else(policy: dict[str, Kubectl], releases: Releases) -> None:
    releases.create("approved", LEAST)
    annotate(policy["promoter"], "approved", f"{PROMOTE}=next")
    assert releases.read("approved")["metadata"]["annotations"][PROMOTE] == "next"
    held = '--patch={"metadata":{"finalizers":["vision.example.com/hold"],"labels":{"team":"vision"}}}'
    policy["admin"]("patch", "mr", "approved", "--namespace=vision", "--type=merge", held)
    for patch in (
        {"spec": {"image": "another:v2"}},
        {"metadata": {"finalizers": []}},
        {"metadata": {"labels": {"team": "other"}}},
        {"metadata": {"labels": None}},
        {"metadata": {"annotations": {"modelrelease.dev/abort": "no"}}},
        {"metadata": {"annotations": {"modelrelease.dev/retry": "true", PROMOTE: "full"}}},
    ):
        words = ("patch", "mr", "approved", "--namespace=vision", "--type=merge", f"--patch={json.dumps(patch)}")
        with pytest.raises(CommandFailed) as caught:
            policy["promoter"](*words)
        assert f"changing anything but the annotation {PROMOTE} takes the verb update" in str(caught.value)
    assert LEAST == releases.read("approved")["spec"]
    policy["admin"](
        "patch", "mr", "approved", "--namespace=vision", "--type=merge", '--patch={"metadata":{"finalizers":[]}}'
    )


def test_what_was_promoted_may_be_touched_by_who_may_not_promote(
    policy: dict[str, Kubectl], releases: Releases
) -> None:
    """Removing the annotation is the operator's own work, and an edit beside it is no promotion."""
    releases.create("touched", LEAST)
    annotate(policy["admin"], "touched", f"{PROMOTE}=full")
    annotate(policy["editor"], "touched", "team=vision")
    with pytest.raises(CommandFailed, match="takes the verb promote"):
        annotate(policy["editor"], "touched", f"{PROMOTE}=next")
    annotate(policy["editor"], "touched", f"{PROMOTE}-")
    assert {"team": "vision"} == releases.read("touched")["metadata"]["annotations"]
