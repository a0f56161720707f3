"""The Helm chart, by a real Helm: it installs what deploy/base does, and takes nothing with it when it goes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.crd.releases import ROOT, eventually
from integration.crd.test_install import by_name, only, rendered
from localcluster.controlplane import ControlPlane
from localcluster.folders import Cache
from localcluster.progress import Silent
from localcluster.provision import go

CHART = ROOT / "deploy" / "chart"
NAMESPACE = "modelrelease-system"
DIGEST = "sha256:" + "0123456789abcdef" * 4

pytestmark = pytest.mark.timeout(1800)  # where Helm is not in the cache, it is compiled first

Helm = Callable[..., str]
Documents = dict[tuple[str, str, str], dict[str, Any]]


class HelmFailedError(Exception):
    """What Helm said on standard error."""


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    program = go.build(Cache.from_environment(), go.HELM, Silent()) / "helm"
    home = tmp_path_factory.mktemp("helm")
    folders = {f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}

    def run(*words: str | Path) -> str:
        done = subprocess.run(
            [program, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, **folders},
        )
        if done.returncode:
            raise HelmFailedError(done.stderr)
        return done.stdout

    return run


def template(helm: Helm, *values: str, namespace: str = NAMESPACE) -> Documents:
    """What would be installed, in the namespace in which Helm would put it."""
    version = go.KUBERNETES.version()
    words = [word for value in values for word in ("--set-json", value)]
    text = helm("template", "modelrelease", CHART, f"--namespace={namespace}", f"--kube-version={version}", *words)
    documents = [each for each in yaml.safe_load_all(text) if each]
    everywhere = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for document in documents:
        if document["kind"] not in everywhere and not document["kind"].startswith("ValidatingAdmission"):
            document["metadata"].setdefault("namespace", namespace)
    return by_name(documents)


def deployment_of(documents: Documents) -> dict[str, Any]:
    return only(list(documents.values()), "Deployment")


def without_helms_own(documents: Documents) -> Documents:
    """The chart's own additions: a checksum that restarts the pods, and a mark that keeps the definition."""
    deployment = deployment_of(documents)
    assert len(deployment["spec"]["template"]["metadata"]["annotations"].pop("checksum/config")) == 64
    definition = only(list(documents.values()), "CustomResourceDefinition")
    assert {"helm.sh/resource-policy": "keep"} == definition["metadata"].pop("annotations")
    return documents


def configured(documents: Documents) -> Documents:
    """The configuration as what it says, not as how it is written."""
    for (kind, _, name), document in documents.items():
        if (kind, name) == ("ConfigMap", "modelrelease-config"):
            document["data"] = {key: yaml.safe_load(text) for key, text in document["data"].items()}
    return documents


def test_the_chart_installs_what_kustomize_does(installed: ControlPlane, helm: Helm) -> None:
    base = by_name(rendered(installed, "deploy/base"))
    del base["Namespace", "", NAMESPACE]  # Helm is told the namespace; --create-namespace makes it
    assert configured(base) == configured(without_helms_own(template(helm)))


def test_in_one_namespace_the_chart_installs_what_kustomize_does(installed: ControlPlane, helm: Helm) -> None:
    config = yaml.safe_load((ROOT / "deploy" / "namespaced" / "config.yaml").read_text(encoding="utf-8"))
    assert config.pop("watchNamespace") == "$(POD_NAMESPACE)", "the chart writes it by itself"
    charted = template(helm, "namespaced=true", f"config={json.dumps(config)}", namespace="vision")
    expected = configured(by_name(rendered(installed, "deploy/namespaced")))
    once = {"CustomResourceDefinition", "ClusterRole"}  # what a cluster needs once
    found = configured(without_helms_own(charted))
    assert expected == {key: document for key, document in found.items() if key[0] not in once}
    assert {"modelrelease-view", "modelrelease-edit", "modelrelease-promote"} == {
        name for kind, _, name in found if kind == "ClusterRole"
    }


def test_everything_optional_is_off_and_one_value_each_switches_it_on(helm: Helm) -> None:
    base = set(template(helm))

    def added(*values: str) -> set[tuple[str, str]]:
        return {(kind, name) for kind, _, name in set(template(helm, *values)) - base}

    kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    assert {(kind, "modelrelease-promote") for kind in kinds} == added("policies.promote=true")
    assert {(kind, "modelrelease-images") for kind in kinds} == added("policies.images.enabled=true")
    assert {("ServiceMonitor", "modelrelease-operator")} == added("monitoring.serviceMonitor=true")
    assert {("PrometheusRule", "modelrelease-operator")} == added("monitoring.prometheusRule=true")
    assert {("ConfigMap", "modelrelease-dashboards")} == added("monitoring.dashboards=true")
    gone = base - set(template(helm, "podDisruptionBudget.enabled=false", "networkPolicy.enabled=false"))
    assert {"PodDisruptionBudget", "NetworkPolicy"} == {kind for kind, _, _ in gone}


def test_what_the_policy_on_images_asks_for_comes_from_values(helm: Helm) -> None:
    def variables(*values: str) -> dict[str, str]:
        documents = template(helm, "policies.images.enabled=true", *values)
        policy = documents["ValidatingAdmissionPolicy", "", "modelrelease-images"]
        return {one["name"]: one["expression"] for one in policy["spec"]["variables"]}

    written = yaml.safe_load_all((ROOT / "deploy/policies/images/policy.yaml").read_text(encoding="utf-8"))
    assert {one["name"]: one["expression"] for one in next(written)["spec"]["variables"]} == variables()
    asked = variables("policies.images.requireDigest=false", 'policies.images.registries=["ghcr.io/vision"]')
    assert ("false", '["ghcr.io/vision"]') == (asked["requireDigest"], asked["registries"])


def test_dashboards_come_through_the_templates_unchanged(helm: Helm) -> None:
    documents = template(helm, "monitoring.dashboards=true")
    data = documents["ConfigMap", NAMESPACE, "modelrelease-dashboards"]["data"]
    folder = ROOT / "deploy" / "monitoring" / "dashboards"
    assert {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir()} == {
        name: json.loads(text) for name, text in data.items()
    }


def test_values_reach_the_pod(helm: Helm) -> None:
    values = (
        "replicas=3",
        f'image={{"repository": "registry.example/operator", "tag": "v9", "digest": "{DIGEST}"}}',
        'secretName="prometheus-token"',
        'tolerations=[{"operator": "Exists"}]',
        'podAnnotations={"team": "vision"}',
        'priorityClassName="system-cluster-critical"',
    )
    spec = deployment_of(template(helm, *values))["spec"]
    pod = spec["template"]["spec"]
    assert (3, f"registry.example/operator@{DIGEST}") == (spec["replicas"], pod["containers"][0]["image"])
    assert {"secretName": "prometheus-token", "optional": True} in [one.get("secret") for one in pod["volumes"]]
    assert ([{"operator": "Exists"}], "system-cluster-critical") == (pod["tolerations"], pod["priorityClassName"])
    annotations = spec["template"]["metadata"]["annotations"]
    assert {"team": "vision", "prometheus.io/scrape": "true"}.items() <= annotations.items()


def test_pods_are_replaced_when_the_configuration_changes_and_only_then(helm: Helm) -> None:
    def template_of(*values: str) -> dict[str, Any]:
        found: dict[str, Any] = deployment_of(template(helm, *values))["spec"]["template"]
        return found

    assert template_of() == template_of("networkPolicy.enabled=false")
    assert template_of() != template_of('config.logLevel="debug"')


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('config.providers.default.scrapeIntervall="1s"', "scrapeIntervall"),
        ('config.providers.default.url="prometheus:9090"', "pattern"),
        ("replica=3", "replica"),
        ("replicas=0", "replicas"),
        ('image.digest="latest"', "digest"),
        ("monitoring.alerts=true", "alerts"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_installed(helm: Helm, value: str, said: str) -> None:
    with pytest.raises(HelmFailedError, match="values don't meet the specifications of the schema") as refused:
        template(helm, value)
    assert said in str(refused.value)


def test_it_is_installed_upgraded_and_uninstalled_while_a_release_stands_in_its_middle(
    installed: ControlPlane, helm: Helm
) -> None:
    namespace = "charted"
    installed.kubectl("create", "namespace", namespace)
    installed.apply(_mid_release(namespace))
    where = (f"--namespace={namespace}", f"--kubeconfig={installed.kubeconfig}")
    once = ("--set=crds.install=false", "--set=peopleRoles.install=false", "--set=namespaced=true")

    def names(kind: str) -> set[str]:
        return set(installed.kubectl("get", kind, f"--namespace={namespace}", "--output=name").split())

    def serving() -> tuple[str, ...]:
        """What traffic and those who serve it are; resourceVersion tells any write."""
        kinds = ("virtualservices", "deployments", "services", "modelreleases")
        found = json.loads(installed.kubectl("get", ",".join(kinds), f"--namespace={namespace}", "--output=json"))
        mine = [each["metadata"] for each in found["items"] if each["metadata"]["name"].startswith("detector")]
        return tuple(sorted(f"{each['uid']} {each['resourceVersion']}" for each in mine))

    eventually(lambda: len(serving()) == 4)
    settled = _settled(serving)
    helm("install", "modelrelease", CHART, *where, *once)
    assert "deployment.apps/modelrelease-operator" in names("deployments")
    helm("upgrade", "modelrelease", CHART, *where, *once, "--set=config.logLevel=debug", "--set=replicas=1")
    helm("uninstall", "modelrelease", *where, "--wait")
    eventually(lambda: "deployment.apps/modelrelease-operator" not in names("deployments"))
    assert {f"{kind}/modelrelease-operator" for kind in ("role", "serviceaccount")}.isdisjoint(
        names("role.rbac.authorization.k8s.io,serviceaccounts")
    )
    assert settled == serving()


def _settled(serving: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """Once the controllers have written their part of what was just created."""
    seen: list[tuple[str, ...]] = []

    def is_quiet() -> bool:
        seen.append(serving())
        return len(seen) > 5 and len(set(seen[-5:])) == 1

    eventually(is_quiet)
    return seen[-1]


def _mid_release(namespace: str) -> str:
    """A release that gives its canary 5 %, as the operator leaves it when it ends."""
    pod = {"metadata": {"labels": {"app": "detector"}}, "spec": {"containers": [{"name": "c", "image": "m:v1"}]}}
    destinations = [
        {"destination": {"host": "detector"}, "weight": 95},
        {"destination": {"host": "detector-canary"}, "weight": 5},
    ]
    specs: dict[tuple[str, str], dict[str, Any]] = {
        ("apps/v1", "Deployment"): {"selector": {"matchLabels": {"app": "detector"}}, "template": pod},
        ("v1", "Service"): {"selector": {"app": "detector"}, "ports": [{"port": 80}]},
        ("networking.istio.io/v1", "VirtualService"): {"hosts": ["d.example"], "http": [{"route": destinations}]},
        ("modelrelease.dev/v1alpha1", "ModelRelease"): {"image": "m:v2", "workload": {"deployment": "detector"}},
    }
    return yaml.safe_dump_all(
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": "detector", "namespace": namespace},
            "spec": spec,
        }
        for (version, kind), spec in specs.items()
    )
