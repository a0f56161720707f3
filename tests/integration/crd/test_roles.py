"""Who may do what, asked of a real API server: the operator, and people who view, edit and promote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

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
    eventually(lambda: "yes" in allowed(found["editor"], "create") and "yes" in allowed(found["admin"], "promote"))
    eventually(lambda: "yes" in allowed(found["viewer"], "get"))
    return found


def _kubectl(binary: Path, kubeconfig: Path) -> Kubectl:
    return lambda *words: run([binary, "--kubeconfig", kubeconfig, *words], timeout_seconds=60)


def allowed(kubectl: Kubectl, verb: str, *options: str) -> str:
    try:
        return kubectl("auth", "can-i", verb, "modelreleases.modelrelease.dev", "--namespace=vision", *options).strip()
    except CommandFailed as error:
        return str(error)


def review(installed: ControlPlane, verb: str, group: str, path: str, namespace: str = "vision") -> bool:
    """Whether the operator may, with what is asked about as `resource`, `resource/subresource` or `resource//name`."""
    resource, subresource, name = (*path.split("/"), "", "")[:3]
    asked = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": OPERATOR, "resourceAttributes": {**asked, "namespace": namespace}},
    }
    answer = installed.kubectl("create", "--filename=-", "--output=json", stdin=json.dumps(body))
    return bool(json.loads(answer)["status"]["allowed"])


def test_the_operator_may_do_what_the_table_says_and_nothing_else_with_it(installed: ControlPlane) -> None:
    expected = {(each.group, each.resource, verb): verb in each.verbs for each in WORKING for verb in VERBS}
    found = {asked: review(installed, asked[2], asked[0], asked[1]) for asked in expected}
    assert expected == found


@pytest.mark.parametrize(
    ("verb", "group", "resource"),
    [
        ("get", "", "secrets"),
        ("list", "", "configmaps"),
        ("delete", "", "pods"),
        ("create", "", "pods/exec"),
        ("update", "apps", "deployments/scale"),
        ("delete", "networking.istio.io", "virtualservices"),
        ("patch", "networking.istio.io", "destinationrules"),
        ("create", "rbac.authorization.k8s.io", "rolebindings"),
        ("get", "coordination.k8s.io", "leases"),
    ],
)
def test_the_operator_may_not(installed: ControlPlane, verb: str, group: str, resource: str) -> None:
    assert not review(installed, verb, group, resource)


def test_the_operator_leads_by_its_own_lease_only(installed: ControlPlane) -> None:
    def may(verb: str, name: str) -> bool:
        return review(installed, verb, "coordination.k8s.io", f"leases//{name}", "modelrelease-system")

    verbs = {verb for each in LEADING for verb in each.verbs}
    assert dict.fromkeys(verbs, True) == {verb: may(verb, LEASE_NAME) for verb in verbs}
    assert not may("update", "somebody-elses")
    assert not may("delete", LEASE_NAME)


@pytest.mark.parametrize(("person", "verb"), list(product(PEOPLE, VERBS)))
def test_a_person_may(people: dict[str, Kubectl], person: str, verb: str) -> None:
    expected = "yes" if verb in PEOPLE[person][1] else "no"
    assert expected == ("yes" if allowed(people[person], verb).endswith("yes") else "no")


@pytest.mark.parametrize("person", PEOPLE)
def test_nobody_but_the_operator_writes_a_status(people: dict[str, Kubectl], person: str) -> None:
    assert not allowed(people[person], "patch", "--subresource=status").endswith("yes")


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
    with pytest.raises(CommandFailed) as caught:
        policy["promoter"](
            "patch", "mr", "approved", "--namespace=vision", "--type=merge", '--patch={"spec":{"image":"another:v2"}}'
        )
    assert "changing the spec takes the verb update on modelreleases" in str(caught.value)
    assert LEAST == releases.read("approved")["spec"]


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
