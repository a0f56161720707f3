"""The control plane that integration tests start: real answers, real rights, no leftovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.controlplane import ControlPlane
from localcluster.errors import CommandFailed
from localcluster.part import wait_until
from localcluster.processes import started_at

pytestmark = pytest.mark.integration

OWNER = """
import json, time
from localcluster.controlplane import ControlPlane
plane = ControlPlane().start()
print(json.dumps({"pids": plane.pids, "folder": str(plane.kubeconfig.parent)}), flush=True)
time.sleep(120)
"""
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: note, namespace: default}\ndata: {text: hello}\n"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane(controller_manager=True) as started:
        yield started


def writes_by(plane: ControlPlane, user: str) -> list[tuple[str, str]]:
    """Verb and resource of each write of a user, from the audit log."""
    rows = [json.loads(line) for line in plane.audit_log.read_text(encoding="utf-8").splitlines()]
    return [(row["verb"], row["objectRef"]["resource"]) for row in rows if row["user"]["username"] == user]


def test_objects_are_kept_and_writes_are_counted(plane: ControlPlane) -> None:
    plane.apply(CONFIG_MAP)

    assert plane.kubectl("get", "configmap", "note", "--output=jsonpath={.data.text}") == "hello"
    assert ("patch", "configmaps") in writes_by(plane, "admin")
    assert not [verb for verb, _ in writes_by(plane, "admin") if verb in {"get", "list", "watch"}]


def test_a_user_may_do_what_rbac_says_and_nothing_else(plane: ControlPlane) -> None:
    as_alice = ("--kubeconfig", plane.kubeconfig_for_user("alice", ["readers"]))
    with pytest.raises(CommandFailed, match="Forbidden"):
        plane.kubectl("get", "pods", *as_alice)

    plane.kubectl("create", "role", "read", "--verb=get,list", "--resource=pods")
    plane.kubectl("create", "rolebinding", "read", "--role=read", "--group=readers")

    assert wait_until(lambda: plane.kubectl("auth", "can-i", "list", "pods", *as_alice).strip() == "yes", 10)
    assert "yes" not in plane.kubectl("auth", "whoami", *as_alice)


def test_a_service_account_is_known_by_its_token(plane: ControlPlane) -> None:
    path = plane.kubeconfig_for_service_account("default", "default")

    assert "system:serviceaccount:default:default" in plane.kubectl("auth", "whoami", "--kubeconfig", path)


def test_what_depends_on_a_deleted_object_goes_too(plane: ControlPlane) -> None:
    plane.kubectl("create", "deployment", "web", "--image=example.com/web:v1")
    assert wait_until(lambda: "web-" in plane.kubectl("get", "replicasets", "--output=name"), 20, pause_seconds=0.3)

    plane.kubectl("delete", "deployment", "web", "--wait=false")

    assert wait_until(lambda: "web-" not in plane.kubectl("get", "replicasets", "--output=name"), 20, pause_seconds=0.3)


def test_two_at_once_do_not_see_each_other(plane: ControlPlane) -> None:
    with ControlPlane() as other:
        other.kubectl("create", "namespace", "only-here")

        assert other.server != plane.server
        assert "only-here" not in plane.kubectl("get", "namespaces", "--output=name")


def test_nothing_is_left_when_it_stops() -> None:
    plane = ControlPlane().start()
    pids, folder = plane.pids, plane.kubeconfig.parent
    assert set(pids) == {"etcd", "kube-apiserver"}

    plane.stop()

    assert [started_at(pid) for pid in pids.values()] == [None, None]
    assert not folder.exists()


def test_nothing_is_left_when_the_test_process_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        told = json.loads(owner.stdout.readline())

        owner.send_signal(signal.SIGKILL)

    assert wait_until(lambda: all(started_at(pid) is None for pid in told["pids"].values()), 15)
    assert wait_until(lambda: not Path(told["folder"]).exists(), 15)
