"""What `kubectl apply -k` installs, on a real API server with Pod Security in force."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.crd.releases import ROOT
from localcluster.controlplane import ControlPlane
from localcluster.errors import CommandFailed


def rendered(installed: ControlPlane, path: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(installed.kubectl("kustomize", ROOT / path)) if each]


def only(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    found = [each for each in documents if each["kind"] == kind]
    assert len(found) == 1
    return found[0]


def pod_of(deployment: dict[str, Any], name: str) -> dict[str, Any]:
    template = deployment["spec"]["template"]
    namespace = deployment["metadata"]["namespace"]
    metadata = {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def test_applying_again_changes_nothing(installed: ControlPlane) -> None:
    said = installed.kubectl("diff", "--server-side", "--kustomize", ROOT / "deploy" / "base")
    assert said == ""


def test_the_operators_pod_is_admitted_where_pods_are_restricted(installed: ControlPlane) -> None:
    deployment = only(rendered(installed, "deploy/base"), "Deployment")
    pod = pod_of(deployment, "admitted")
    assert "pod/admitted created" in installed.kubectl("create", "--dry-run=server", "-f-", stdin=json.dumps(pod))
    del pod["spec"]["containers"][0]["securityContext"]
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        installed.kubectl("create", "--dry-run=server", "-f-", stdin=json.dumps(pod))


def test_the_operator_cannot_write_to_its_file_system(installed: ControlPlane) -> None:
    pod = only(rendered(installed, "deploy/base"), "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp"}  # noqa: S108 - inside of the container


def test_one_namespace_needs_nothing_beyond_it(installed: ControlPlane) -> None:
    documents = rendered(installed, "deploy/namespaced")
    cluster_wide = {"Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    assert cluster_wide.isdisjoint(each["kind"] for each in documents)
    assert {"vision"} == {each["metadata"]["namespace"] for each in documents}
    installed.kubectl("create", "namespace", "single")
    moved = yaml.safe_dump_all(documents).replace("namespace: vision", "namespace: single")
    installed.kubectl("apply", "--server-side", "--filename=-", stdin=moved)
    account = "--as=system:serviceaccount:single:modelrelease-operator"
    assert installed.kubectl("auth", "can-i", "update", "deployments", "--namespace=single", account).strip() == "yes"
    with pytest.raises(CommandFailed):
        installed.kubectl("auth", "can-i", "update", "deployments", "--namespace=vision", account)


def test_the_policy_is_off_unless_switched_on(installed: ControlPlane) -> None:
    kinds = {each["kind"] for each in rendered(installed, "deploy/base")}
    assert not [kind for kind in kinds if kind.startswith("ValidatingAdmissionPolicy")]


def test_one_file_installs_what_kustomize_does(installed: ControlPlane) -> None:
    """deploy/install.yaml is rendered by our own few lines; here they are held against kustomize."""
    kustomized = rendered(installed, "deploy/base")
    in_one_file = [*yaml.safe_load_all((ROOT / "deploy" / "install.yaml").read_text(encoding="utf-8"))]
    assert by_name(kustomized) == by_name(in_one_file)


def by_name(documents: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in documents
    }
    assert len(found) == len(documents)
    return found


def test_one_line_adds_scraping_alerts_and_dashboards(installed: ControlPlane, tmp_path: Path) -> None:
    lines = {"resources": [ROOT / "deploy" / "base"], "components": [ROOT / "deploy" / "monitoring"]}
    relative = {key: [os.path.relpath(path, tmp_path) for path in paths] for key, paths in lines.items()}
    head = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "modelrelease-system",
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(head | relative), encoding="utf-8")
    documents = by_name(list(yaml.safe_load_all(installed.kubectl("kustomize", tmp_path))))
    added = set(documents) - set(by_name(rendered(installed, "deploy/base")))
    assert {
        ("ServiceMonitor", "modelrelease-system", "modelrelease-operator"),
        ("PrometheusRule", "modelrelease-system", "modelrelease-operator"),
        ("ConfigMap", "modelrelease-system", "modelrelease-dashboards"),
    } == added
    monitor = documents["ServiceMonitor", "modelrelease-system", "modelrelease-operator"]["spec"]
    service = documents["Service", "modelrelease-system", "modelrelease-operator"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {end["port"] for end in monitor["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    dashboards = documents["ConfigMap", "modelrelease-system", "modelrelease-dashboards"]["data"]
    assert {"overview.json", "release.json"} == set(dashboards)


def test_in_another_namespace_the_role_goes_to_the_account_there_and_the_policy_needs_nothing(
    installed: ControlPlane, tmp_path: Path
) -> None:
    lines = {"resources": [ROOT / "deploy" / "base"], "components": [ROOT / "deploy" / "policies" / "images"]}
    relative = {key: [os.path.relpath(path, tmp_path) for path in paths] for key, paths in lines.items()}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"namespace": "ml-ops"} | relative), encoding="utf-8")
    documents = list(yaml.safe_load_all(installed.kubectl("kustomize", tmp_path)))
    account = only(documents, "ServiceAccount")["metadata"]
    bound = [
        (subject["namespace"], subject["name"])
        for kind in ("ClusterRoleBinding", "RoleBinding")
        for subject in only(documents, kind)["subjects"]
    ]
    assert {("ml-ops", "modelrelease-operator")} == {(account["namespace"], account["name"]), *bound}
    assert "paramKind" not in only(documents, "ValidatingAdmissionPolicy")["spec"]


def test_a_pod_is_left_when_nodes_are_drained_and_only_metrics_and_probes_can_be_reached(
    installed: ControlPlane,
) -> None:
    documents = rendered(installed, "deploy/base")
    deployment = only(documents, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["replicas"] == 2
    budget = only(documents, "PodDisruptionBudget")["spec"]
    assert (1, labels) == (budget["maxUnavailable"], budget["selector"]["matchLabels"])
    policy = only(documents, "NetworkPolicy")["spec"]
    assert labels == policy["podSelector"]["matchLabels"]
    ports = {port["name"] for port in deployment["template"]["spec"]["containers"][0]["ports"]}
    assert [ports] == [{port["port"] for port in rule["ports"]} for rule in policy["ingress"]]


def test_the_probes_ask_where_the_container_listens(installed: ControlPlane) -> None:
    container = only(rendered(installed, "deploy/base"), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {"metrics": 8080, "health": 8081} == ports
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {"health"} == {probe["port"] for probe in probes.values()}
    assert {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"} == {
        name: probe["path"] for name, probe in probes.items()
    }


def test_the_operator_can_be_taken_away_and_leaves_what_people_wrote(installed: ControlPlane) -> None:
    """By the command of deploy/README.md, in a namespace of its own."""
    command = "kubectl delete -k deploy/base/operator -n modelrelease-system"
    assert command in (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    namespace = "taken-away"
    installed.kubectl("create", "namespace", namespace)
    base = ROOT / "deploy" / "base" / "operator"
    installed.kubectl("apply", "--server-side", "--kustomize", base, "--namespace", namespace)
    release = {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "metadata": {"name": "detector", "namespace": namespace, "finalizers": ["modelrelease.dev/traffic"]},
        "spec": {"image": "m:v2", "workload": {"deployment": "detector"}},
    }
    installed.apply(json.dumps(release))
    said = installed.kubectl("delete", "--kustomize", base, "--namespace", namespace)
    gone = {line.partition(" ")[0].partition(".")[0] for line in said.splitlines()}
    kinds = {"configmap", "deployment", "networkpolicy", "poddisruptionbudget", "role", "rolebinding", "service"}
    assert kinds | {"serviceaccount"} == gone
    found = json.loads(installed.kubectl("get", "mr", "detector", "--namespace", namespace, "--output=json"))
    assert "deletionTimestamp" not in found["metadata"]
    installed.kubectl("patch", "mr", "detector", "--namespace", namespace, "--type=merge", "--patch", NO_FINALIZERS)
    installed.kubectl("delete", "mr", "detector", "--namespace", namespace)


NO_FINALIZERS = '{"metadata": {"finalizers": null}}'
