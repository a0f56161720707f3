"""The operator as a process under its own account in one namespace: its Role is enough for a release and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.crd.releases import ROOT, eventually
from localcluster.controlplane import ControlPlane
from localcluster.ports import free_ports

NAMESPACE = "operated"


@dataclass(frozen=True, slots=True)
class Operator:
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> list[dict[str, object]]:
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture
def operator(installed: ControlPlane, tmp_path: Path) -> Iterator[Operator]:
    manifests = installed.kubectl("kustomize", ROOT / "deploy" / "namespaced")
    installed.kubectl("create", "namespace", NAMESPACE)
    installed.apply(manifests.replace("namespace: vision", f"namespace: {NAMESPACE}"))
    account = installed.kubeconfig_for_service_account(NAMESPACE, "modelrelease-operator")
    probes, metrics = free_ports(2)
    log = tmp_path / "operator.log"
    words = ["-m", "modelrelease", "run", "--config", str(ROOT / "deploy" / "namespaced" / "config.yaml")]
    ports = ["--probe-port", str(probes), "--metrics-port", str(metrics)]
    environment = {**os.environ, "POD_NAME": "operator-0", "POD_NAMESPACE": NAMESPACE, "PYTHONPATH": "operator"}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *words, "--kubeconfig", str(account), *ports],
            cwd=ROOT,
            env=environment,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield Operator(process, log)
    finally:
        process.kill()
        process.wait(10)


def test_the_role_is_enough_for_a_release_and_its_end(installed: ControlPlane, operator: Operator) -> None:
    def names(kind: str) -> list[str]:
        return installed.kubectl("get", kind, "--namespace", NAMESPACE, "--output=name").split()

    example = (ROOT / "examples" / "gpu.yaml").read_text(encoding="utf-8")
    installed.apply(example.replace("namespace: vision", f"namespace: {NAMESPACE}"))
    eventually(lambda: "deployment.apps/yolov8-detect-canary" in names("deployments"), 60)
    eventually(lambda: "service/yolov8-detect-canary" in names("services"))
    eventually(lambda: "event/" in "".join(names("events")))
    minimum = installed.kubectl(
        "get", "hpa", "yolov8-detect", "--namespace", NAMESPACE, "--output=jsonpath={.spec.minReplicas}"
    )
    installed.kubectl("delete", "mr", "yolov8-detect", "--namespace", NAMESPACE, "--timeout=60s")
    eventually(lambda: "deployment.apps/yolov8-detect-canary" not in names("deployments"))
    assert "deployment.apps/yolov8-detect" in names("deployments")
    assert minimum == "4"
    operator.process.send_signal(signal.SIGTERM)
    assert operator.process.wait(30) == 0
    text = operator.log.read_text(encoding="utf-8")
    assert "orbidden" not in text, text
    assert "Traceback" not in text, text
    effects = [str(line["effect"]).partition("(")[0] for line in operator.said() if line["event"] == "effect"]
    assert {"AddFinalizer", "SetAutoscalerMinimum", "DeleteCanary", "RemoveFinalizer"} <= set(effects)
