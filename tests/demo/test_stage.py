"""What is installed on the local cluster, and the runner of all tests."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

import run
import toolchain
from demo.kube import Kube
from demo.manifests import Model, canary_weight, outside_the_split, served_model, virtual_service
from demo.performance import Ground, Hand
from demo.play import only
from demo.scenes import SCENES, VERSIONS, Kill, Steer
from demo.stage import OPERATOR, write_overlay
from localcluster.containers import Containers
from localcluster.mesh import prometheus_settings
from localcluster.node import favour_pods
from modelrelease.api.status import Phase, ReleaseStatus
from modelrelease.settings import read_settings

MODEL = Model("vision", "vision.test")


def test_overlay_pins_the_image_and_restarts_the_operator_when_its_configuration_changes(tmp_path: Path) -> None:
    def stamp(prometheus: str) -> str:
        folder = write_overlay(tmp_path, "sha256:abc", prometheus)
        made = yaml.safe_load((folder / "kustomization.yaml").read_text())
        assert made["images"][0]["digest"] == "sha256:abc"
        assert made["replicas"] == [{"name": OPERATOR, "count": 1}]
        patch = yaml.safe_load(made["patches"][0]["patch"])
        annotations: dict[str, str] = patch["spec"]["template"]["metadata"]["annotations"]
        return annotations["modelrelease.dev/local-config"]

    assert stamp("http://a:9090") == stamp("http://a:9090") != stamp("http://b:9090")
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["providers"]["default"]["url"] == "http://b:9090"
    assert read_settings((tmp_path / "config.yaml").read_text(), {"POD_NAMESPACE": "a"}).gateways == {
        "istio-system/ingressgateway": [sender_in_prometheus()]
    }


def sender_in_prometheus() -> str:
    """namespace/name of the workload that the local Prometheus gives the gateway's requests."""
    jobs: Any = prometheus_settings(Path("targets"), Path("rules"))["scrape_configs"]
    (job,) = (job for job in jobs if job["job_name"] == "istio-gateway")
    said = {one["target_label"]: one["replacement"] for one in job["metric_relabel_configs"] if "replacement" in one}
    return f"{said['source_workload_namespace']}/{said['source_workload']}"


def test_serving_pods_satisfy_pod_security_restricted() -> None:
    _, deployment, *_ = served_model(MODEL, "image:v1")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_weight_of_the_canary_is_read_and_the_rest_is_compared() -> None:
    original, moved, edited = (virtual_service(MODEL) for _ in range(3))
    own = {"destination": {"host": MODEL.name}, "weight": 95}
    moved["spec"]["http"][1]["route"] = [own, {"destination": {"host": f"{MODEL.canary}.vision"}, "weight": 5}]
    edited["spec"]["http"][3]["corsPolicy"]["maxAge"] = "23h"

    assert (canary_weight(original, MODEL), canary_weight(moved, MODEL)) == (0, 5)
    assert outside_the_split(moved) == outside_the_split(original) != outside_the_split(edited)


def test_scenes_are_chosen_by_name_and_have_images() -> None:
    assert [scene.name for scene in only(["slow", "errors"])] == ["errors", "slow"]
    assert {scene.version for scene in SCENES} <= set(VERSIONS)


@pytest.mark.parametrize(
    ("said", "is_enough"), [("go1.26.3", True), ("go1.27", True), ("go1.19.8", False), ("go2.0", True), ("", False)]
)
def test_go_is_old_or_new_enough(said: str, is_enough: bool) -> None:
    assert toolchain.is_new_enough(said) is is_enough


def test_closing_line_counts_all_suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "REPORTS", tmp_path)
    assert "no tests ran" in run.closing_line(1, [])
    suite = '<testsuites><testsuite tests="{}" failures="{}" errors="0" skipped="1"/></testsuites>'
    (tmp_path / "a.xml").write_text(suite.format(10, 2))
    (tmp_path / "b.xml").write_text(suite.format(5, 0))

    (tmp_path / "cut-off.xml").write_text("<testsuites><testsuite")

    failed = ["a", "b", "cut-off", "prepare"]
    assert run.closing_line(12.345, failed[:1]).strip("=") == " 2 failed, 11 passed, 2 skipped in 12.35s "
    assert run.closing_line(12.345, failed).strip("=") == " 2 failed, 11 passed, 2 skipped, 3 errors in 12.35s "


@pytest.mark.parametrize(("program", "is_done"), [("", True), ("raise SystemExit(1)", False)])
def test_preparation_tells_whether_all_is_there(
    program: str, is_done: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LOGS", tmp_path)

    assert run.Preparation(("-c", program)).wait(10) is is_done


def test_suites_beside_others_say_what_they_have_to_say_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(run, "REPORTS", tmp_path / "junit")
    (tmp_path / "test_good.py").write_text("def test_good():\n    pass\n")
    (tmp_path / "test_bad.py").write_text("def test_bad():\n    assert 'the reason' == ''\n")
    suites = [run.Suite(name, (str(tmp_path / f"test_{name}.py"), "-p", "no:xdist")) for name in ("good", "bad")]

    beside = run.Beside()
    beside.add(suites[:1])
    beside.add(suites[1:])
    failed = beside.wait()

    assert failed == ["bad"]
    shown = capsys.readouterr().out
    assert shown.index("1 passed") < shown.index("the reason") < shown.index("1 failed")
    assert run.closing_line(1, failed).strip("=") == " 1 failed, 1 passed in 1.00s "


class Unprepared:
    """A preparation that fails."""

    def wait(self) -> bool:
        """Nothing is there."""
        return False


def test_what_fails_before_a_test_can_is_an_error_of_the_closing_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "REPORTS", tmp_path)
    monkeypatch.setattr(run, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(run, "CHECKS", (("python", "-c", "raise SystemExit(1)"), ("python", "-c", "")))
    monkeypatch.setattr(run, "UNIT", (run.Suite("too-slow", ("tests",), limit_seconds=0.01),))
    monkeypatch.setattr(run, "INFERENCE", ())
    monkeypatch.setattr(run, "Preparation", Unprepared)

    status = run.main([])

    *_, failed, closing = capsys.readouterr().out.splitlines()
    assert failed == "failed: python -c raise SystemExit(1), prepare, too-slow"
    assert closing.strip("=").startswith(" 3 errors in ")
    assert status == 1


def test_pods_are_favoured_where_there_are_any(tmp_path: Path) -> None:
    shares, weight = tmp_path / "cpu.shares", tmp_path / "cpu.weight"
    shares.write_text("1024")
    favour_pods(((shares, 10_240), (weight, 1_000)))
    assert (shares.read_text(), weight.exists()) == ("10240", False)


class Kubectl(Kube):
    """Remembers what was run; the operator leads in a pod, and after a kill another one does."""

    ran: list[tuple[str, ...]] = []  # noqa: RUF012 - of the test's own class

    def run(self, *words: str, stdin: str | None = None, timeout_seconds: float = 0) -> str:  # noqa: ARG002
        self.ran.append((self.namespace, *words))
        if words[:2] == ("get", "lease"):
            asked = sum(one[1:3] == ("get", "lease") for one in self.ran)
            holder = {"holderIdentity": "b_2" if asked > 2 else "a_1", "acquireTime": "2026-11-21T13:00:00.5Z"}
            return json.dumps({"spec": holder})
        return json.dumps({"status": {"containerStatuses": [{"containerID": "containerd://c0ffee"}]}})

    def within(self, namespace: str) -> Kube:
        return Kubectl(self.kubectl, self.kubeconfig, namespace)


class Running(Containers):
    """One container, and it runs in a process of the test's own."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def pid(self, container: str) -> int | None:
        return self._pid if container == "c0ffee" else None


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_scene_is_steered_in_order_and_each_act_is_told(victim: subprocess.Popen[bytes]) -> None:
    Kubectl.ran.clear()
    told: list[str] = []
    kube = Kubectl(Path("kubectl"), Path("config"), "vision")
    ground = cast(Ground, SimpleNamespace(kube=kube, model=MODEL, containers=Running(victim.pid)))
    acts = (Steer("promote", "full", at_step=1, after_seconds=0), Kill(Phase.PROMOTING, after_seconds=0))
    hand = Hand(ground, acts, told.append)
    for step, phase in ((0, Phase.PREPARING), (1, Phase.PROGRESSING), (5, Phase.BAKING)):
        hand.steer(ReleaseStatus(step=step, phase=phase))
    assert victim.poll() is None

    hand.steer(ReleaseStatus(step=5, phase=Phase.PROMOTING))
    assert victim.wait(5) == -signal.SIGKILL
    assert hand.takeovers == []
    for _ in range(2):
        hand.steer(ReleaseStatus(step=5, phase=Phase.PROMOTING))

    assert [words[:2] for words in Kubectl.ran if words[1] != "get"] == [("vision", "annotate")]
    assert [one.successor for one in hand.takeovers] == ["b_2"]
    assert hand.takeovers[0].successor_since == datetime(2026, 11, 21, 13, 0, 0, 500_000, UTC).timestamp()
    assert ["promote=full" in told[0], "was killed with SIGKILL" in told[1]] == [True, True]
