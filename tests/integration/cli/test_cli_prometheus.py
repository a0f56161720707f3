"""`plan` and `backtest` on a real API server and a real Prometheus with an hour and more of history."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from integration.cli.past import Traffic, openmetrics, remembering
from localcluster.controlplane import ControlPlane
from modelrelease.api.status import format_time
from modelrelease.cli.app import PROGRAM, application
from modelrelease.cli.exits import ExitCode

NAMESPACE = "measured"
PAST = int(time.time()) - 1800
"""When the release of the past was over."""
NAME = "yolov8-detect"
LABELS = {"app": NAME}
CONTAINER = {"name": "server", "image": "harbor.example.com/vision/yolov8-detect:v1.0.0"}
RESOURCES = {"requests": {"cpu": "2"}, "limits": {"nvidia.com/gpu": "1"}}
POD = {"containers": [CONTAINER | {"resources": RESOURCES}]}
OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": POD},
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"selector": LABELS, "ports": [{"port": 80}]},
    },
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"hosts": [NAME], "http": [{"route": [{"destination": {"host": NAME}}]}]},
    },
]
RELEASE = {
    "apiVersion": "modelrelease.dev/v1alpha1",
    "kind": "ModelRelease",
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "spec": {"image": "harbor.example.com/vision/yolov8-detect:v1.1.0", "workload": {"deployment": NAME}},
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    now = int(time.time())
    stable = Traffic(NAME, now - 4500, now, rps=40, error_rate=0.004)
    canary = Traffic(f"{NAME}-canary", PAST - 600, PAST, rps=2, error_rate=0.5, latency_ms=80)
    with remembering(
        tmp_path_factory.mktemp("past"), openmetrics(NAMESPACE, [stable, canary], (now - 4500, now))
    ) as url:
        yield url


@pytest.fixture(scope="module")
def serving(installed: ControlPlane) -> Iterator[ControlPlane]:
    installed.apply(yaml.safe_dump_all(OBJECTS))
    yield installed
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "release.yaml"
    path.write_text(yaml.safe_dump(RELEASE), encoding="utf-8")
    return path


def run(control_plane: ControlPlane, *words: str | Path) -> Result:
    common = ("--kubeconfig", str(control_plane.kubeconfig), "-n", NAMESPACE)
    return CliRunner().invoke(application(), [*map(str, words), *common], prog_name=PROGRAM)


def test_a_backtest_on_an_hour_answers_in_time(serving: ControlPlane, address: str, manifest: Path) -> None:
    """Ten seconds as a person waits for it, the best of three: tests share their machine with others."""
    lasted = []
    while len(lasted) < 3 and min(lasted, default=10.0) >= 10.0:
        began = time.monotonic()
        result = run(serving, "backtest", NAME, "-f", manifest, "--prometheus", address, "-o", "json")
        lasted.append(time.monotonic() - began)
    assert ExitCode.OK == result.exit_code, result.stderr
    read = json.loads(result.stdout)
    assert read["minutes"] > 59
    assert read["requestsPerSecond"] == pytest.approx(40, rel=0.05)
    assert read["errorRate"] == pytest.approx(0.004, rel=0.2)
    assert (50, 0) == (read["runs"], read["rolledBack"])
    assert read["steps"][0]["passed"] == 50
    assert min(lasted) < 10, lasted


def test_a_plan_with_measured_traffic(serving: ControlPlane, address: str, manifest: Path) -> None:
    result = run(serving, "plan", "-f", manifest, "--prometheus", address, "-o", "json")
    read = json.loads(result.stdout)
    found = {finding["about"]: finding for finding in read["findings"]}
    assert "The API server would take it." == found["resource"]["message"]
    assert "No pod of yolov8-detect is available" in found["stable"]["message"]
    assert "good" == found["route"]["level"]
    assert "At 100 % 2 more pods with 2 GPUs must fit" in found["room"]["message"]
    assert ExitCode.FINDINGS == result.exit_code
    assert read["traffic"]["requestsPerSecond"] == pytest.approx(40, rel=0.05)
    assert [1, 5, 20, 50] == [step["weight"] for step in read["steps"]]
    assert all(60 <= step["typicalSeconds"] < 4 * 3600 for step in read["steps"])
    kinds = [change["kind"] for change in read["changes"]]
    assert ["ModelRelease", "Deployment", "Service", "VirtualService", "Deployment"] == kinds
    text = run(serving, "plan", "-f", manifest, "--prometheus", address).stdout
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_plan_says_what_the_api_server_would_refuse(serving: ControlPlane, address: str, tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    wrong = RELEASE | {"metadata": RELEASE["metadata"] | {"labels": {"a label": "x"}}}  # type: ignore[operator]
    path.write_text(yaml.safe_dump(wrong), encoding="utf-8")
    result = run(serving, "plan", "-f", path, "--prometheus", address, "-o", "json")
    (refused,) = [one for one in json.loads(result.stdout)["findings"] if one["about"] == "resource"]
    assert "a label" in refused["message"]


def test_somebody_with_the_role_edit_has_a_plan_and_is_told_what_it_lacks(
    serving: ControlPlane, address: str, manifest: Path
) -> None:
    """The role is that of every cluster, without Istio's kinds; acting as somebody else counts as being them."""
    serving.kubectl("create", "rolebinding", "planner", "--clusterrole=edit", "--user=planner", f"-n={NAMESPACE}")
    config = yaml.safe_load(serving.kubectl("config", "view", "--raw"))
    config["users"][0]["user"] |= {"as": "planner", "as-groups": ["system:authenticated"]}
    path = manifest.with_name("kubeconfig")
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ["plan", "-f", manifest, "--prometheus", address, "-n", NAMESPACE, "--kubeconfig", path]
    result = CliRunner().invoke(application(), [*map(str, words), "-o", "json"], prog_name=PROGRAM)
    read = json.loads(result.stdout)
    found = {finding["about"]: finding for finding in read["findings"]}
    assert "note" == found["rights"]["level"]
    assert "You may not read virtualservices, authorizationpolicies, " in found["rights"]["message"]
    assert "you may not list nodes" in found["room"]["message"]
    assert ["ModelRelease", "Deployment", "Service", "Deployment"] == [one["kind"] for one in read["changes"]]
    assert read["traffic"]["requestsPerSecond"] > 30


def test_without_prometheus_the_rest_of_a_plan_is_there(serving: ControlPlane, manifest: Path) -> None:
    read = json.loads(run(serving, "plan", "-f", manifest, "-o", "json").stdout)
    (traffic,) = [one for one in read["findings"] if one["about"] == "traffic"]
    assert "It cannot be said how long the steps take." in traffic["message"]
    assert read["changes"]
    assert read["traffic"] is None


def test_a_backtest_without_prometheus_is_one_sentence(serving: ControlPlane, manifest: Path) -> None:
    result = run(serving, "backtest", NAME, "-f", manifest)
    assert (ExitCode.NO_METRICS, "") == (result.exit_code, result.stdout)
    assert "Prometheus" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_check_finds_what_is_there_and_what_is_not(serving: ControlPlane, address: str, manifest: Path) -> None:
    serving.kubectl("apply", "-f", manifest)
    result = run(serving, "check", NAME, "--prometheus", address, "-o", "json")
    serving.kubectl("delete", "-f", manifest)
    found = {one["about"]: (one["level"], one["message"]) for one in json.loads(result.stdout)["findings"]}
    assert ("good", "ModelReleases are served as this plugin knows them.") == found["resource"]
    assert ("good", "The operator's role has every verb that it needs, and its account has the role.") == found["role"]
    assert ("good", "VirtualServices are served as networking.istio.io/v1.") == found["istio"]
    assert ("good", "In namespace measured you may view, release and steer, promote.") == found["you"]
    assert "No operator holds the Lease modelrelease-system/modelrelease-operator" in found["operator"][1]
    assert "series of 2 targets were found." in found[f"{NAME} prometheus"][1]
    assert ("good", "Targets are scraped each 15 s, as configured.") == found[f"{NAME} scrapes"]
    assert ExitCode.FINDINGS == result.exit_code


@pytest.mark.parametrize(
    ("subjects", "expected"),
    [
        ([{"kind": "ServiceAccount", "name": "modelrelease-operator", "namespace": "ml-ops"}], "is bound to ml-ops/"),
        ([], "Nobody has the operator's role"),
    ],
    ids=["an-account-elsewhere", "nobody"],
)
def test_a_role_that_the_operators_account_has_not_is_found(
    serving: ControlPlane, subjects: list[dict[str, str]], expected: str
) -> None:
    path = "clusterrolebinding/modelrelease-operator"
    before = json.loads(serving.kubectl("get", path, "--output=json"))["subjects"]
    bind = ("patch", path, "--type=merge")
    serving.kubectl(*bind, f"--patch={json.dumps({'subjects': subjects})}")
    try:
        result = run(serving, "check", "-o", "json")
    finally:
        serving.kubectl(*bind, f"--patch={json.dumps({'subjects': before})}")
    (role,) = [one for one in json.loads(result.stdout)["findings"] if one["about"] == "role"]
    assert ("problem", True) == (role["level"], expected in role["message"])


def test_a_check_by_somebody_without_rights_says_so(serving: ControlPlane) -> None:
    nobody = serving.kubeconfig_for_user("nobody-checks")
    result = CliRunner().invoke(application(), ["check", "--kubeconfig", str(nobody), "-n", NAMESPACE])
    assert ExitCode.FORBIDDEN == result.exit_code
    assert "You may not list modelreleases measured" in result.stderr


def test_what_somebody_may_not_read_is_no_fault_of_the_cluster(serving: ControlPlane, manifest: Path) -> None:
    serving.kubectl("apply", "-f", manifest)
    serving.kubectl("create", "rolebinding", "looker", "--clusterrole=view", "--user=looker", f"-n={NAMESPACE}")
    words = ["check", NAME, "--kubeconfig", str(serving.kubeconfig_for_user("looker")), "-n", NAMESPACE, "-o", "json"]
    result = CliRunner().invoke(application(), words)
    serving.kubectl("delete", "-f", manifest)
    findings = json.loads(result.stdout)["findings"]
    unread = [one for one in findings if "ou may not" in one["message"]]
    assert {"resource", "role", "operator", f"{NAME} rights", f"{NAME} prometheus"} == {one["about"] for one in unread}
    assert "problem" not in {one["level"] for one in unread}
    assert not any("The operator may not" in one["message"] for one in findings)


@pytest.fixture
def ended(serving: ControlPlane, manifest: Path) -> Iterator[dict[str, Any]]:
    """A release that is over, as the operator leaves it in status and Events."""
    serving.kubectl("apply", "-f", manifest)
    body = json.loads(serving.kubectl("get", "mr", NAME, "-n", NAMESPACE, "-o", "json"))
    entry = {
        "revision": "0123456789",
        "image": "harbor.example.com/vision/yolov8-detect:v1.1.0",
        "outcome": "RolledBack",
        "reason": "ErrorRateTooHigh",
        "message": "v1.1.0 has more errors than stable.",
        "startedAt": format_time(PAST - 600),
        "finishedAt": format_time(PAST),
        "duration": "10m",
    }
    body["status"] = {"phase": "RolledBack", "observedGeneration": 1, "revision": "0123456789", "history": [entry]}
    serving.kubectl("replace", "--subresource=status", "--filename=-", stdin=json.dumps(body))
    about = {"kind": "ModelRelease", "uid": body["metadata"]["uid"], "namespace": NAMESPACE, "name": NAME}
    told = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "told", "namespace": NAMESPACE},
        "involvedObject": about,
        "reason": "StepStarted",
        "message": "Step 1 of 5: v1.1.0 gets 5 % of the traffic.",
        "type": "Normal",
        "count": 1,
        "firstTimestamp": whole(PAST - 590),
        "lastTimestamp": whole(PAST - 590),
    }
    serving.kubectl("create", "--filename=-", stdin=json.dumps(told))
    yield entry
    serving.kubectl("delete", "event/told", f"mr/{NAME}", "-n", NAMESPACE)


def whole(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def test_a_release_of_the_past_is_explained_and_reported(
    serving: ControlPlane, address: str, ended: dict[str, Any], tmp_path: Path
) -> None:
    shown = run(serving, "explain", NAME, "--prometheus", address)
    assert ExitCode.OK == shown.exit_code, shown.stderr
    assert "measured/yolov8-detect  v1.1.0  RolledBack  (ErrorRateTooHigh)" in shown.stdout
    assert "+10s  StepStarted  Step 1 of 5" in shown.stdout
    assert "- Its first decisions: the API server forgets Events" in shown.stdout
    read = json.loads(run(serving, "explain", NAME, "--prometheus", address, "-o", "json").stdout)
    canary = sum(one["canary"]["requests"] for one in read["slices"])
    assert canary == pytest.approx(600 * 2, rel=0.15)
    page = tmp_path / "page.html"
    written = run(serving, "report", NAME, "--prometheus", address, "--out", page)
    assert (ExitCode.OK, f"{page} was written.\n") == (written.exit_code, written.stderr)
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 3
    assert ended["message"] in text
    missing = run(serving, "report", NAME, "--revision", "ffffffffff", "--prometheus", address)
    assert ExitCode.NOT_FOUND == missing.exit_code
