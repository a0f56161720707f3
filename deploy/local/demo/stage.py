"""What releases stand on: the local cluster, the images and the installed operator. Safe to repeat."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from demo.errors import DemoError
from demo.images import REPOSITORY, Image, InBackground, build_inference, build_operator, write_pictures
from demo.kube import Kube
from demo.manifests import GATEWAY, GATEWAY_WORKLOAD
from demo.traffic import Target
from demo.versions import versions
from demo.waiting import wait_for
from localcluster.cluster import Cluster
from localcluster.containers import Containers
from localcluster.locks import exclusive
from localcluster.progress import Report
from modelrelease.api.permissions import LEASE_NAME

BUILD: Final = REPOSITORY / "build"
SYSTEM_NAMESPACE: Final = "modelrelease-system"
OPERATOR: Final = "modelrelease-operator"
OPERATOR_USER: Final = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{OPERATOR}"
LEASE_SECONDS: Final = 6.0
"""How long another operator waits for one that leads and says nothing any more."""
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


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as the operators' Lease says."""

    holder: str
    """Name of its pod and, after an underscore, something that each process has of its own; empty for nobody."""
    since: float
    """When it took the Lease, in unix seconds."""

    @property
    def pod(self) -> str:
        return self.holder.partition("_")[0]


def leader(kube: Kube) -> Leader:
    """The operator that leads at present; `kube` is any namespace's."""
    lease = kube.within(SYSTEM_NAMESPACE).get("lease", LEASE_NAME) or {}
    spec = lease.get("spec", {})
    since = spec.get("acquireTime")
    return Leader(spec.get("holderIdentity", ""), datetime.fromisoformat(since).timestamp() if since else 0.0)


def kill_leader(kube: Kube, containers: Containers) -> Leader:
    """SIGKILL for the process that leads, which can tidy up nothing and give nothing back. Raises DemoError where there
    is none."""
    leads = leader(kube)
    pod = kube.within(SYSTEM_NAMESPACE).get("pod", leads.pod) if leads.pod else None
    running = pod["status"].get("containerStatuses", []) if pod else []
    for container in running:
        pid = containers.pid(container["containerID"].rpartition("/")[2])
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            return leads
    raise DemoError(f"no operator leads that could be killed: {leads.holder or 'nobody'} holds the Lease")


def write_overlay(folder: Path, digest: str, prometheus: str) -> Path:
    """A kustomization over deploy/base. The image goes in by digest and the configuration by hash, so that the pod is
    replaced exactly when either changed."""
    config = yaml.safe_dump(
        {
            "providers": {"default": {"url": prometheus, "scrapeInterval": "1s"}},
            "lease": {"duration": f"{LEASE_SECONDS:g}s"},
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
