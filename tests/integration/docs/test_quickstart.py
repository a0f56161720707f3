"""The quickstart on a real API server: each command is the page's, in its order; nothing else is done by hand.

What a cluster has and a bare API server has not is stood in for: pods that a kubelet would start are called ready, and
the operator's process is started here as its Deployment would, under the account that the page installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from integration.crd.releases import eventually
from localcluster.controlplane import ControlPlane
from localcluster.errors import CommandFailed
from localcluster.ports import free_ports
from unit.docs.pages import ROOT, Command, commands

PAGE = ROOT / "docs" / "quickstart.md"
INSTALLED = ("rollout", "status", "deployment/modelrelease-operator")
LOOK_SECONDS = 1.0


def ready(pod: dict[str, Any]) -> str:
    """The status that a kubelet would write."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")]
    containers = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        }
        for container in pod["spec"]["containers"]
    ]
    return json.dumps({"status": {"phase": "Running", "conditions": conditions, "containerStatuses": containers}})


@contextmanager
def pods_get_ready(control_plane: ControlPlane) -> Iterator[None]:
    """While the block runs."""
    over = threading.Event()

    def look() -> None:
        found = json.loads(control_plane.kubectl("get", "pods", "--all-namespaces", "--output=json"))
        for pod in found["items"]:
            metadata = pod["metadata"]
            if pod.get("status", {}).get("phase") != "Running" and "deletionTimestamp" not in metadata:
                words = ("--namespace", metadata["namespace"], "--subresource=status", "--type=merge", "--patch")
                control_plane.kubectl("patch", "pod", metadata["name"], *words, ready(pod))

    def keep_looking() -> None:
        while not over.wait(LOOK_SECONDS):
            try:
                look()
            except CommandFailed:
                continue  # a pod that has just gone

    thread = threading.Thread(target=keep_looking, name="pods get ready", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


@contextmanager
def operator(control_plane: ControlPlane, folder: Path) -> Iterator[Path]:
    """The process, from the ConfigMap that was installed; its log."""
    config, log = folder / "config.yaml", folder / "operator.log"
    where = ("configmap", "modelrelease-config", "--namespace=modelrelease-system")
    config.write_text(control_plane.kubectl("get", *where, r"--output=jsonpath={.data.config\.yaml}"), encoding="utf-8")
    account = control_plane.kubeconfig_for_service_account("modelrelease-system", "modelrelease-operator")
    probes, metrics = free_ports(2)
    words = ["-m", "modelrelease", "run", "--config", str(config), "--kubeconfig", str(account)]
    ports = ["--probe-port", str(probes), "--metrics-port", str(metrics)]
    own = {"POD_NAME": "operator-0", "POD_NAMESPACE": "modelrelease-system", "PYTHONPATH": str(ROOT / "operator")}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *words, *ports], env={**os.environ, **own}, stdout=stream, stderr=stream
        )
    try:
        yield log
    finally:
        process.kill()
        process.wait(10)


def phase(control_plane: ControlPlane) -> str:
    return control_plane.kubectl("get", "mr", "echo", "--namespace=try", "--output=jsonpath={.status.phase}")


def typed(control_plane: ControlPlane, page: list[Command]) -> None:
    for command in page:
        control_plane.kubectl(*command.words[1:])


def split_after(page: list[Command], words: tuple[str, ...]) -> tuple[list[Command], list[Command]]:
    """The commands up to the one with these words, and the others."""
    place = next(number for number, one in enumerate(page, 1) if set(words) <= set(one.words))
    return page[:place], page[place:]


def test_a_new_user_gets_from_nothing_to_a_release_and_back(
    bare: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # where the page is read
    page = [one for one in commands(PAGE) if one.words[0] == "kubectl" and not {"-w", "modelrelease"} & set(one.words)]
    install, rest = split_after(page, INSTALLED)
    first, rest = split_after(rest, ("modelrelease.dev/promote=full",))
    promoted, rest = split_after(rest, ("events",))
    aborted, uninstall = split_after(rest, ("--for=condition=RolledBack",))

    with pods_get_ready(bare):
        typed(bare, install)
        with operator(bare, tmp_path) as log:
            typed(bare, first[:-1])
            assert phase(bare) == "Preparing"
            typed(bare, [first[-1], *promoted])
            assert phase(bare) == "Succeeded"
            typed(bare, aborted)
            assert phase(bare) == "RolledBack"
            assert_serves(bare, "agnhost:2.53")
            typed(bare, uninstall[:1])
            assert_serves(bare, "agnhost:2.53")
            text = log.read_text(encoding="utf-8")
        typed(bare, uninstall[1:])
    assert "Traceback" not in text, text
    eventually(lambda: "modelrelease" not in bare.kubectl("get", "crd,clusterrole,namespace", "--output=name"))


def assert_serves(control_plane: ControlPlane, tag: str) -> None:
    """Stable runs the tag, and the route has its original shape."""
    words = ("--namespace=try", "--output=json")
    deployments = json.loads(control_plane.kubectl("get", "deployments", *words))["items"]
    assert ["echo"] == [each["metadata"]["name"] for each in deployments]
    assert deployments[0]["spec"]["template"]["spec"]["containers"][0]["image"].endswith(tag)
    route = json.loads(control_plane.kubectl("get", "virtualservice", "echo", *words))["spec"]["http"]
    assert [{"name": "all", "route": [{"destination": {"host": "echo"}}]}] == route
