"""The quickstart on the local cluster, typed by somebody who reads nothing else. Alone: it removes the operator.

What stands in for a registry: the images that the page pulls are built here under the names that it gives them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.kube import Kube
from demo.stage import SYSTEM_NAMESPACE, Stage, install
from demo.waiting import wait_for
from localcluster.images import Build
from unit.docs.pages import ROOT, commands

pytestmark = pytest.mark.e2e

PAGE = ROOT / "docs" / "quickstart.md"
AGNHOST = Path(__file__).with_name("agnhost")
PLUGIN = [sys.executable, "-c", "from modelrelease.cli.app import main; main()"]
LAST = ("kubectl", "delete", "namespace", "try")
COMMAND_SECONDS = 330.0


@pytest.fixture
def empty(stage: Stage) -> Iterator[Kube]:
    """The cluster as if nobody had ever installed anything of this on it; afterwards as it was."""
    kube = stage.kube("default")
    typed(kube, ("kubectl", "delete", "modelreleases", "--all", "--all-namespaces", "--timeout=2m"), ROOT)
    typed(kube, ("kubectl", "delete", "-k", "deploy/base", "--ignore-not-found"), ROOT)
    yield kube
    kube.run("delete", "namespace", "try", "--ignore-not-found", timeout_seconds=100)
    install(stage, stage.built["operator"].digest)


@pytest.fixture
def checkout(tmp_path: Path, stage: Stage) -> Path:
    """What the page works on, edited as it says: the image, and how often Prometheus scrapes here."""
    for name in ("crds", "deploy/base", "deploy/policies", "deploy/monitoring", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    image = tmp_path / "deploy/base/operator/kustomization.yaml"
    repository, _, tag = stage.built["operator"].reference.partition(":")
    wanted = f"newName: docker.io/library/{repository}\n  newTag: {tag}"
    image.write_text(image.read_text(encoding="utf-8").replace("newTag: 0.1.0", wanted), encoding="utf-8")
    config = tmp_path / "deploy/base/operator/config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("scrapeInterval: 15s", "scrapeInterval: 1s"), "utf-8")
    return tmp_path


@pytest.fixture
def agnhost(stage: Stage, tmp_path: Path) -> dict[str, str]:
    """Each version that page and example name, with its digest. They differ by a file that nobody reads."""
    text = PAGE.read_text(encoding="utf-8") + (ROOT / "examples" / "quickstart.yaml").read_text(encoding="utf-8")
    found = {}
    for reference in sorted(set(re.findall(r"[\w./-]+/agnhost:[\d.]+", text))):
        version = reference.rpartition(":")[2]
        context = shutil.copytree(AGNHOST, tmp_path / "agnhost" / version)
        (context / "version").write_text(version, encoding="utf-8")
        build = Build(reference, context, context / "Dockerfile")
        found[version] = stage.cluster.build_image(build)
    return found


def typed(kube: Kube, words: tuple[str, ...], folder: Path) -> str:
    """What the command prints. Raises AssertionError with all of that where it ends with another status than 0."""
    if words[:2] == ("kubectl", "modelrelease"):
        command = [*PLUGIN, *words[2:], f"--kubeconfig={kube.kubeconfig}"]
    else:
        command = [str(kube.kubectl), f"--kubeconfig={kube.kubeconfig}", *words[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def test_a_stranger_gets_from_nothing_to_a_release_and_back(
    empty: Kube, checkout: Path, agnhost: dict[str, str]
) -> None:
    page = [one.words for one in commands(PAGE)]
    typing = [words for words in page[: page.index(LAST) + 1] if words[0] == "kubectl"]
    seen: list[tuple[str, list[str]]] = []
    for words in typing:
        typed(empty, words, checkout)
        if {"--for=condition=Succeeded", "--for=condition=RolledBack", "modelreleases"} & set(words):
            seen.append(serving(empty))

    promoted, kept, left_alone = seen
    assert len(set(agnhost.values())) == 3
    assert promoted == kept == left_alone == (agnhost["2.53"], ["echo"])
    names = empty.run("get", "crd,clusterrole,clusterrolebinding", "-o", "name").splitlines()
    assert [name for name in names if "modelrelease" in name and "/modelrelease-local-" not in name] == []
    wait_for("the namespaces to go", lambda: not left(empty), 60)


def serving(kube: Kube) -> tuple[str, list[str]]:
    """Digest that stable runs, and the destinations of the route."""
    kube = kube.within("try")
    image = kube.run("get", "deployment", "echo", "-o", "jsonpath={..containers[0].image}")
    hosts = kube.run("get", "virtualservice", "echo", "-o", "jsonpath={.spec.http[*].route[*].destination.host}")
    return image.rpartition("@")[2], hosts.split()


def left(kube: Kube) -> list[str]:
    """Namespaces of the quickstart that are there."""
    found = [one["metadata"]["name"] for one in kube.list("namespaces")]
    return [name for name in ("try", SYSTEM_NAMESPACE) if name in found]
