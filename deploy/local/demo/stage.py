"""What releases stand on: the local cluster, the images and the installed operator. Safe to repeat."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from demo.images import REPOSITORY, Image, InBackground, build_inference, build_operator, write_pictures
from demo.kube import Kube
from demo.manifests import GATEWAY, GATEWAY_WORKLOAD
from demo.traffic import Target
from demo.versions import versions
from demo.waiting import wait_for
from localcluster.cluster import Cluster
from localcluster.locks import exclusive
from localcluster.progress import Report

BUILD: Final = REPOSITORY / "build"
SYSTEM_NAMESPACE: Final = "modelrelease-system"
OPERATOR: Final = "modelrelease-operator"
OPERATOR_USER: Final = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{OPERATOR}"
_READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A cluster on which the operator runs."""

    cluster: Cluster
    built: dict[str, Image]
    """Image by version, and the operator's."""
    pictures: Path
    setup_seconds: float

    def kube(self, namespace: str) -> Kube:
        """kubectl as administrator."""
        return Kube(self.cluster.access.kubectl_binary, self.cluster.kubeconfig, namespace)

    def target(self, host: str) -> Target:
        """Traffic for this host, through the gateway."""
        return Target(self.cluster.gateway_url, host, self.pictures)

    @property
    def images(self) -> dict[str, str]:
        """Image reference by version."""
        return {version: image.reference for version, image in self.built.items()}

    def versions(self) -> dict[str, str]:
        """What runs here: Kubernetes, Istio and so on, for the report."""
        return versions(self.cluster.prometheus_url, self.built)


def set_up(wanted: Sequence[str], report: Report, *, cluster: Cluster | None = None) -> Stage:
    """Bring up what is not up, build the versions that are wanted, and install the operator as it is here."""
    began = time.monotonic()
    chosen = cluster or Cluster()
    chosen.preflight(report)
    training = InBackground()
    try:
        chosen.up(report)
        with report.part("models") as line:
            line.show("training")
            training.wait()
            line.show("ready")
    finally:
        training.stop()
    with exclusive(chosen.cache.locks / "demo-stage"):
        built = build_inference(chosen, wanted, BUILD, report)
        operator = build_operator(chosen, report)
        pictures = write_pictures(BUILD / "pictures")
        stage = Stage(chosen, {**built, "operator": operator}, pictures, 0.0)
        with report.part("operator") as line:
            line.show("installing")
            install(stage, operator.digest)
            line.show("ready")
    chosen.favour_pods()
    return replace(stage, setup_seconds=time.monotonic() - began)


def install(stage: Stage, digest: str) -> None:
    """Apply deploy/base with this image and the local Prometheus, and wait until the operator is available."""
    overlay = write_overlay(BUILD / "operator", digest, stage.cluster.prometheus_url_for_pods)
    kube = stage.kube(SYSTEM_NAMESPACE)
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=modelrelease-local")
    kube.run(*apply, "-k", str(overlay), timeout_seconds=120)
    kube.run("wait", "--for=condition=Established", "crd/modelreleases.modelrelease.dev", "--timeout=30s")
    kube.wait_rolled_out(OPERATOR, _READY_SECONDS)
    wait_for("one operator pod", lambda: len(operator_pods(kube)) == 1, _READY_SECONDS)


def operator_pods(kube: Kube) -> set[str]:
    """Names of the operator's pods; `kube` is any namespace's."""
    pods = kube.within(SYSTEM_NAMESPACE).pods("app.kubernetes.io/component=operator")
    return {pod["metadata"]["name"] for pod in pods}


def kill_operator(kube: Kube) -> set[str]:
    """Delete all of them without any grace; their names."""
    killed = operator_pods(kube)
    words = ("--grace-period=0", "--force", "--wait=false")
    if killed:
        kube.within(SYSTEM_NAMESPACE).run("delete", "pod", *sorted(killed), *words)
    return killed


def write_overlay(folder: Path, digest: str, prometheus: str) -> Path:
    """A kustomization over deploy/base. The image goes in by digest and the configuration by hash, so that the pod is
    replaced exactly when either changed."""
    config = yaml.safe_dump(
        {
            "providers": {"default": {"url": prometheus, "scrapeInterval": "1s"}},
            "lease": {"duration": "6s"},
            # The gateway runs outside of the cluster: no pods of it are to be seen.
            "gateways": {GATEWAY: [GATEWAY_WORKLOAD]},
            "logLevel": "info",
        }
    )
    stamp = {"modelrelease.dev/local-config": hashlib.sha256(config.encode()).hexdigest()[:16]}
    restamp = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": OPERATOR},
        "spec": {"template": {"metadata": {"annotations": stamp}}},
    }
    kustomization: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": SYSTEM_NAMESPACE,
        "resources": ["../../deploy/base"],
        "images": [{"name": OPERATOR, "newName": f"docker.io/library/{OPERATOR}", "digest": digest}],
        # One node, and what is measured shares its two cores: a standby would only take from them.
        "replicas": [{"name": OPERATOR, "count": 1}],
        "configMapGenerator": [{"name": "modelrelease-config", "behavior": "replace", "files": ["config.yaml"]}],
        "generatorOptions": {"disableNameSuffixHash": True},
        "patches": [{"patch": yaml.safe_dump(restamp)}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization, sort_keys=False), encoding="utf-8")
    return folder
