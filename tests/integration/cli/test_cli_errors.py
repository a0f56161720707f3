"""The plugin on a real API server: one sentence and a status of its own for everything that a person can get wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from integration.crd.releases import ROOT, Releases, eventually
from localcluster.controlplane import ControlPlane
from localcluster.ports import free_ports
from modelrelease.cli import completion
from modelrelease.cli.app import PROGRAM, application
from modelrelease.cli.exits import ExitCode

SPEC = {"image": "harbor.example.com/vision/yolov8-detect:v1.2.0", "workload": {"deployment": "steered"}}
STATUS = {
    "observedGeneration": 1,
    "revision": "0123456789",
    "phase": "Progressing",
    "step": 2,
    "steps": 5,
    "weight": 5,
    "message": "Step 2 of 5.",
    "startedAt": "2026-11-21T12:00:00.000000Z",
}


def run(kubeconfig: Path | str, *words: str) -> Result:
    return CliRunner().invoke(application(), [*words, "--kubeconfig", str(kubeconfig)], prog_name=PROGRAM)


def only_sentence(result: Result) -> str:
    """What went to standard error: one line, no traceback, and nothing on standard output."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.fixture
def release(installed: ControlPlane, releases: Releases) -> Iterator[str]:
    releases.create("steered", SPEC)
    releases.write_status("steered", STATUS)
    yield "steered"
    installed.kubectl("delete", "mr", "steered", "--namespace=vision")


def test_a_release_is_shown(installed: ControlPlane, release: str) -> None:
    shown = run(installed.kubeconfig, "status", release, "-n", "vision")
    assert (ExitCode.OK, "") == (shown.exit_code, shown.stderr)
    assert "vision/steered  Progressing  step 2/5" in shown.stdout
    read = json.loads(run(installed.kubeconfig, "status", "-n", "vision", "-o", "json").stdout)
    assert release in [one["name"] for one in read["items"]]


def test_wrong_name(installed: ControlPlane, release: str) -> None:
    result = run(installed.kubeconfig, "status", "stered", "-n", "vision")
    assert ExitCode.NOT_FOUND == result.exit_code
    expected = f"Error: There is no ModelRelease 'stered' in namespace 'vision'; did you mean {release}?"
    assert expected == only_sentence(result)


@pytest.mark.parametrize("words", [("status", "x"), ("pause", "x"), ("wait", "x"), ("history", "x")])
def test_no_cluster(installed: ControlPlane, tmp_path: Path, words: tuple[str, ...]) -> None:
    (port,) = free_ports(1)
    elsewhere = tmp_path / "kubeconfig"
    elsewhere.write_text(installed.kubeconfig.read_text().replace(installed.server, f"https://127.0.0.1:{port}"))
    result = run(elsewhere, *words)
    assert ExitCode.NO_CLUSTER == result.exit_code
    sentence = only_sentence(result)
    assert f"The API server https://127.0.0.1:{port} cannot be reached" in sentence
    assert "--context" in sentence


def test_no_kubeconfig_and_no_context(installed: ControlPlane, tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere", "status")
    assert ExitCode.NO_CLUSTER == result.exit_code
    assert "Name a kubeconfig with --kubeconfig" in only_sentence(result)
    result = run(installed.kubeconfig, "status", "--context", "moon")
    assert ExitCode.NO_CLUSTER == result.exit_code
    assert "The kubeconfig has no context 'moon'; it has: " in only_sentence(result)


def test_no_permission(installed: ControlPlane, release: str) -> None:
    nobody = installed.kubeconfig_for_user("nobody")
    for words in (("status", release), ("status",), ("pause", release), ("wait", release)):
        result = run(nobody, *words, "-n", "vision")
        assert ExitCode.FORBIDDEN == result.exit_code
        sentence = only_sentence(result)
        assert sentence.startswith("Error: You may not ")
        assert sentence.endswith("Ask for the ClusterRole modelrelease-view.")


def test_a_login_that_is_not_known(installed: ControlPlane, tmp_path: Path) -> None:
    config = json.loads(installed.kubectl("config", "view", "--raw", "--output=json"))
    config["users"] = [{"name": one["name"], "user": {"token": "stale"}} for one in config["users"]]
    stale = tmp_path / "kubeconfig"
    stale.write_text(json.dumps(config), encoding="utf-8")
    result = run(stale, "status", "x")
    assert ExitCode.NO_CLUSTER == result.exit_code
    assert "does not know you; log in again." in only_sentence(result)


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"server": "http"}, "speaks https; write https:// under server: in the kubeconfig."),
        ({"certificate-authority-data": None}, "put its authority under certificate-authority-data: in the kubeconfig"),
    ],
)
def test_a_kubeconfig_that_does_not_fit_the_server(
    installed: ControlPlane, tmp_path: Path, cluster: dict[str, str | None], said: str
) -> None:
    config = json.loads(installed.kubectl("config", "view", "--raw", "--output=json"))
    described = config["clusters"][0]["cluster"]
    if "server" in cluster:
        cluster = {"server": described["server"].replace("https://", "http://")}
    config["clusters"][0]["cluster"] = {name: one for name, one in (described | cluster).items() if one}
    wrong = tmp_path / "kubeconfig"
    wrong.write_text(json.dumps(config), encoding="utf-8")
    result = run(wrong, "status", "x")
    assert ExitCode.NO_CLUSTER == result.exit_code, result.stderr
    assert said in only_sentence(result)


def test_who_edits_but_may_not_promote_is_told_one_remedy(installed: ControlPlane, release: str) -> None:
    editor = installed.kubeconfig_for_user("one-remedy")
    words = ("--clusterrole=edit", "--user=one-remedy", "--namespace=vision")
    installed.kubectl("create", "rolebinding", "one-remedy", *words)
    result = run(editor, "promote", release, "-n", "vision")
    assert ExitCode.FORBIDDEN == result.exit_code
    sentence = only_sentence(result)
    assert sentence.startswith("Error: A policy of this cluster refuses it: setting the annotation")
    assert sentence.endswith("ask for the ClusterRole modelrelease-promote in namespace vision.")
    assert 1 == sentence.lower().count("ask for")


@pytest.fixture
def of_another_version(tmp_path: Path) -> Iterator[ControlPlane]:
    """A cluster of its own that serves v2 of the resource only; one that changes what it serves would answer 404 to
    other tests for a while."""
    definition = yaml.safe_load((ROOT / "crds" / "modelreleases.modelrelease.dev.yaml").read_text(encoding="utf-8"))
    for version in definition["spec"]["versions"]:
        version["name"] = "v2"
    manifest = tmp_path / "definition.yaml"
    manifest.write_text(yaml.safe_dump(definition), encoding="utf-8")
    with ControlPlane() as cluster:
        cluster.kubectl("apply", "--server-side", "--filename", manifest)
        cluster.kubectl("wait", "--for=condition=Established", "crd/modelreleases.modelrelease.dev")
        cluster.kubectl("create", "namespace", "vision")
        eventually(lambda: cluster.kubectl("get", "mr", "--namespace=vision") is not None)
        yield cluster


def test_another_version_of_the_resource(of_another_version: ControlPlane) -> None:
    result = run(of_another_version.kubeconfig, "status", "-n", "vision")
    assert ExitCode.WRONG_VERSION == result.exit_code
    expected = (
        "Error: This cluster serves modelrelease.dev in v2, but this plugin knows v1alpha1; install the plugin that "
        "belongs to the operator of this cluster."
    )
    assert expected == only_sentence(result)


def test_a_status_of_another_version(installed: ControlPlane, release: str, releases: Releases) -> None:
    releases.write_status(release, STATUS | {"phase": "Levitating"})
    result = run(installed.kubeconfig, "status", release, "-n", "vision")
    assert ExitCode.WRONG_VERSION == result.exit_code
    assert "cannot read phase" in only_sentence(result)


def test_a_wish_is_bound_to_the_release_that_was_seen(
    installed: ControlPlane, release: str, releases: Releases
) -> None:
    result = run(installed.kubeconfig, "pause", release, "-n", "vision", "--timeout", "300ms")
    assert ExitCode.TIMED_OUT == result.exit_code
    assert "the operator has not answered within 300ms" in only_sentence(result)
    metadata = releases.read(release)["metadata"]
    assert {"modelrelease.dev/pause": "true@0123456789"} == metadata["annotations"]
    managed = installed.kubectl("get", "mr", release, "--namespace=vision", "--output=json", "--show-managed-fields")
    assert "kubectl-modelrelease" in [entry["manager"] for entry in json.loads(managed)["metadata"]["managedFields"]]


def test_a_wish_that_is_answered(installed: ControlPlane, release: str, releases: Releases) -> None:
    """The operator's part is played by hand: record, then remove."""

    def operator() -> None:
        name, value = "modelrelease.dev/abort", "too slow@0123456789"
        eventually(lambda: name in (releases.read(release)["metadata"].get("annotations") or {}))
        handled = {"name": name, "value": value, "at": STATUS["startedAt"]}
        releases.write_status(release, STATUS | {"phase": "RollingBack", "lastHandled": [handled]})
        installed.kubectl("annotate", "mr", release, "--namespace=vision", f"{name}-")

    playing = threading.Thread(target=operator)
    playing.start()
    result = run(installed.kubeconfig, "abort", release, "-n", "vision", "--reason", "too slow", "-o", "json")
    playing.join(60)
    assert not playing.is_alive(), result.stderr
    assert ExitCode.OK == result.exit_code, result.stderr
    read = json.loads(result.stdout)
    assert ("abort", "too slow@0123456789", "RollingBack") == (read["action"], read["value"], read["phase"])


def test_names_are_completed_from_the_cluster(installed: ControlPlane, release: str) -> None:
    words = ["pause", "--kubeconfig", str(installed.kubeconfig), "-n", "vision", "st"]
    assert f"{release}\n:4\n" == str(completion.candidates(words))


def test_values_of_options_are_completed_from_cluster_and_kubeconfig(installed: ControlPlane, release: str) -> None:
    common = ["explain", "--kubeconfig", str(installed.kubeconfig)]
    assert "vision\n:4\n" == str(completion.candidates([*common, "-n", "vis"]))
    context = installed.kubectl("config", "current-context").strip()
    assert f"{context}\n" in str(completion.candidates([*common, "--context", ""]))
    assert "0123456789\n:4\n" == str(completion.candidates([*common, "-n", "vision", release, "--revision", ""]))


def test_the_console_scripts_say_the_same_into_a_pipe(installed: ControlPlane, release: str) -> None:
    code = "import sys; from modelrelease.cli.app import main; main()"
    words = ["status", release, "-n", "vision", "--kubeconfig", str(installed.kubeconfig)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT / "operator",
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert "\x1b" not in done.stdout
    assert "vision/steered  Progressing  step 2/5" in done.stdout
