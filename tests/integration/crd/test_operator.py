"""The operator as a process under its own account in one namespace: its Role is enough for a release and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
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
    probes: int
    metrics: int

    def said(self) -> list[dict[str, object]]:
        """Its log; every line is JSON, those of libraries too."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def get(self, port: int, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            text: str = response.read().decode()
        return text

    def counted(self) -> dict[str, float]:
        """Value by series, as Prometheus scrapes them."""
        lines = [line for line in self.get(self.metrics, "/metrics").splitlines() if not line.startswith("#")]
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


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
        yield Operator(process, log, probes, metrics)
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
    check_what_it_tells_while_a_release_is_under_way(operator)
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


def check_what_it_tells_while_a_release_is_under_way(operator: Operator) -> None:
    assert ("ok", "ok") == (operator.get(operator.probes, "/livez"), operator.get(operator.probes, "/readyz"))
    told = operator.counted()
    release = f'release="yolov8-detect",release_namespace="{NAMESPACE}"'
    assert (1, 1) == (told["modelrelease_leader"], told['modelrelease_releases{phase="Preparing"}'])
    assert 1 == told[f'modelrelease_release_phase{{phase="Preparing",{release}}}']
    requests = {series for series in told if series.startswith("modelrelease_api_requests_total")}
    created = 'modelrelease_api_requests_total{code="201",resource="deployments",verb="POST"}'
    assert created in requests
    # In one namespace it may not look at gateways in another, and says so to the release.
    assert set() == {series for series in requests if 'code="403"' in series and 'resource="gateways"' not in series}
    assert told['modelrelease_events_total{reason="ReleaseStarted",type="Normal"}'] == 1
    assert told["modelrelease_reconcile_seconds_count"] > 0
    named = {series for series in told if "yolov8-detect" in series and not series.startswith("modelrelease_release_")}
    assert set() == named, "no counter grows with the number of releases"
