"""What the plugin says where something is refused or wrong: what it is, whose fault, and one remedy."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from typer.testing import CliRunner

from fakes.cluster import FakeCluster
from modelrelease.cli.app import application
from modelrelease.cli.changes import changes_of
from modelrelease.cli.commands.status import look
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.findings import Level, good, problem, render_findings
from modelrelease.cli.manifests import read_manifest, specification_of
from modelrelease.cli.problems import Problem, problem_of, refusal_of
from modelrelease.cli.survey import findings_of, survey
from modelrelease.errors import Forbidden, MetricsUnavailable
from modelrelease.ports import Kind, Manifest
from simulation import World
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, release
from unit.cli.shown import lines

ROOT = Path(__file__).parents[3]
RIGHTS = (
    'You may not {verb} x: "x" is forbidden: User "ann" cannot {verb} resource "{resource}" in API group "" in the '
    'namespace "vision"'
)
POLICY = (
    'You may not apply x: modelreleases.modelrelease.dev "x" is forbidden: ValidatingAdmissionPolicy '
    "'modelrelease-promote' with binding 'modelrelease-promote' denied request: setting the annotation takes the verb "
    "promote: ask for the ClusterRole modelrelease-promote in namespace vision"
)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (RIGHTS.format(verb="get", resource="modelreleases"), "Ask for the ClusterRole modelrelease-view."),
        (RIGHTS.format(verb="patch", resource="modelreleases"), "modelrelease-edit (to approve only: modelrelease-"),
        (RIGHTS.format(verb="get", resource="services/proxy"), "Ask for a role that may get services/proxy."),
        ('You may not create x: "x" is forbidden: exceeded quota: pods', "exceeded quota: pods."),
        (POLICY, "A policy of this cluster refuses it: setting the annotation takes the verb promote: ask for the"),
        ('admission webhook "a.b" denied the request: no Fridays', "refuses it: no Fridays."),
    ],
)
def test_a_refusal_has_one_remedy(said: str, remedy: str) -> None:
    sentence = refusal_of(Forbidden(said))
    assert remedy in sentence
    assert sentence.lower().count("ask for") <= 1


def test_prometheus_out_of_reach_comes_with_a_remedy() -> None:
    found = problem_of(MetricsUnavailable("Prometheus x:9090 could not be asked: refused."), "https://x")
    assert str(found).endswith("refused. Where Prometheus is somewhere else, give its address with --prometheus.")
    assert found.code is ExitCode.NO_METRICS


class Guarded(FakeCluster):
    """Lets somebody read only what is named."""

    def __init__(self, inner: FakeCluster, readable: set[Kind]) -> None:
        self.__dict__ = inner.__dict__
        self.readable = readable

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        self._guard(kind)
        return await super().get(kind, namespace, name)

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None) -> list[Manifest]:
        self._guard(kind)
        return await super().list(kind, namespace, labels)

    def _guard(self, kind: Kind) -> None:
        if kind not in self.readable:
            raise Forbidden(f"You may not read {kind.value.plural}")


BUILT_IN = {Kind.DEPLOYMENT, Kind.SERVICE, Kind.POD, Kind.AUTOSCALER, Kind.NETWORK_POLICY}


@pytest.mark.parametrize(
    ("readable", "changes", "about"),
    [
        ({Kind.MODEL_RELEASE}, ["ModelRelease"], ["rights"]),
        (
            {Kind.MODEL_RELEASE, *BUILT_IN},
            ["ModelRelease", "Deployment", "Service", "Deployment"],
            ["rights", "stable"],
        ),
    ],
)
async def test_what_a_person_may_not_read_is_a_note_and_not_the_end(
    readable: set[Kind], changes: list[str], about: list[str]
) -> None:
    world = World()
    world.deploy_stable(3)
    await world.run(10)
    manifest = release(NEW_IMAGE)
    spec = specification_of(manifest)
    found = await survey(Guarded(world.cluster, readable), NAMESPACE, NAME, spec)
    findings = list(findings_of(found, spec))
    assert about == [one.about for one in findings]
    assert Level.PROBLEM not in {one.level for one in findings}
    assert "virtualservices" in findings[0].message
    assert changes == [one.kind for one in changes_of(found.present, manifest, spec, NAMESPACE)]


async def test_pods_that_may_not_be_seen_are_said() -> None:
    world = World()
    world.deploy_stable(1)
    world.apply()
    await world.run(10)
    view = await look(Guarded(world.cluster, {Kind.MODEL_RELEASE}), NAMESPACE, NAME)
    assert "Pods are not shown. You may not read deployments." in view.warnings


async def test_without_any_right_it_is_the_end() -> None:
    world = World()
    world.deploy_stable(1)
    with pytest.raises(Forbidden):
        await survey(Guarded(world.cluster, set()), NAMESPACE, NAME, specification_of(release(NEW_IMAGE)))


def test_nothing_of_a_finding_is_cut() -> None:
    name, remedy = "n" * 49, "r" * 90
    text = "".join("".join(lines(render_findings([good(f"{name} scrapes", "Well."), problem("x", remedy)]))).split())
    assert "…" not in text
    assert "n" * 10 in text
    assert text.count("r") >= len(remedy)


SPEC: dict[str, Any] = {"image": "x:v2", "workload": {"deployment": "x"}}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"imgae": "x:v2", "workload": {"deployment": "x"}},
            ["spec.imgae: there is no such field; did you mean image?"],
        ),
        (
            SPEC | {"strategy": {"stepDeadlin": "1h", "bakeTim": "1m"}},
            ["did you mean stepDeadline?", "did you mean bakeTime?"],
        ),
        (SPEC | {"strategy": {"steps": [{"wieght": 1}, {"weight": 100}]}}, ["spec.strategy.steps[0].wieght:"]),
        (SPEC | {"qqqqqqqq": 1}, ["spec.qqqqqqqq: there is no such field; there are image, "]),
        (5, ["spec: it must be an object with fields"]),
        (SPEC | {"strategy": 5}, ["spec.strategy: it must be an object with fields"]),
        (SPEC | {"strategy": {"onStepDeadline": "foo"}}, ["spec.strategy.onStepDeadline: "]),
    ],
)
def test_each_wrong_field_is_named(spec: Any, said: list[str]) -> None:
    with pytest.raises(Problem) as caught:
        specification_of({"spec": spec})
    sentence = str(caught.value)
    assert [] == [one for one in said if one not in sentence], sentence
    assert "Value error" not in sentence
    assert "ModelReleaseSpec" not in sentence


def test_a_template_is_free() -> None:
    template = {"spec": {"containers": [{"name": "x", "securityContext": {}}]}, "metadata": {"labels": {"a": "b"}}}
    specification_of({"spec": SPEC | {"workload": {"deployment": "x", "template": template}}})


@pytest.mark.parametrize("metadata", ["foo", None, {}, {"name": ""}])
def test_a_manifest_without_a_name_is_one_sentence(tmp_path: Path, metadata: Any) -> None:
    path = tmp_path / "release.yaml"
    body = {"apiVersion": "modelrelease.dev/v1alpha1", "kind": "ModelRelease", "metadata": metadata, "spec": SPEC}
    path.write_text(yaml.safe_dump(body), encoding="utf-8")
    with pytest.raises(Problem, match=r"has no metadata\.name"):
        read_manifest(path)


HEAD = "apiVersion: modelrelease.dev/v1alpha1\nkind: ModelRelease\n"


def of_file(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "release.yaml"
    path.write_text(text, encoding="utf-8")
    return cast(dict[str, Any], read_manifest(path))


@pytest.mark.parametrize("date", ["2024-01-01", "2024-99-99", "2024-01-01T00:00:00Z"])
def test_what_looks_like_a_date_is_text_as_it_is_for_kubectl(tmp_path: Path, date: str) -> None:
    found = of_file(tmp_path, f"{HEAD}metadata: {{name: x, annotations: {{date: {date}}}}}\n")
    assert {"date": date} == found["metadata"]["annotations"]


def test_a_list_is_read_as_the_objects_in_it(tmp_path: Path) -> None:
    release = {"apiVersion": "modelrelease.dev/v1alpha1", "kind": "ModelRelease", "metadata": {"name": "x"}}
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [{"kind": "Service"}, release]})
    assert release == of_file(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEAD}metadata: {{name: 123}}\n", "metadata.name is no text; put 123 in quotes."),
        (f"{HEAD}metadata: {{name: x, namespace: 5}}\n", "metadata.namespace is no text; put 5 in quotes."),
        (f"{HEAD}metadata: {{name: x}}\nspec: {'[' * 3000}{']' * 3000}\n", "is nested too deeply to be read."),
        (f"{HEAD}metadata: {{name: x}}\nspec: {{weight: .nan}}\n", "holds what JSON cannot"),
        (f"{HEAD}metadata: {{name: x}}\nspec: !!set {{a}}\n", "holds what JSON cannot"),
        (f"{HEAD}metadata: {{name: x}}\nspec: !!int foo\n", "holds what JSON cannot"),
    ],
)
def test_a_file_that_kubectl_would_refuse_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Problem, match=re.escape(said)) as refused:
        of_file(tmp_path, text)
    assert refused.value.code is ExitCode.USAGE


def test_a_wrong_choice_is_named_with_those_there_are() -> None:
    result = CliRunner().invoke(application(), ["promote", "x", "--to", "foo"])
    assert ExitCode.USAGE == result.exit_code
    assert "Invalid value for '--to': 'foo' is not one of 'next', 'full'." in result.stderr


@pytest.mark.parametrize("text", ["not yaml: [", "{}", "5", "clusters: 5", "contexts: [{}]", "users: [x]", ""])
def test_a_kubeconfig_of_another_shape_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(application(), ["status", "x", "--kubeconfig", str(path)])
    assert ExitCode.NO_CLUSTER == result.exit_code, result.stderr
    assert "Name a kubeconfig with --kubeconfig or in KUBECONFIG." in result.stderr
    assert "defect" not in result.stderr


def test_a_terminal_without_the_letters_gets_others() -> None:
    code = "import sys; from modelrelease.cli.app import main; from modelrelease.cli import app; "
    code += "app.application = lambda: (lambda **_: print('█ ✓')); main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        timeout=60,
        check=False,
        cwd=ROOT / "operator",
        env={"PYTHONIOENCODING": "cp1252"},
    )
    assert (0, b"? ?") == (done.returncode, done.stdout.strip()), done.stderr
