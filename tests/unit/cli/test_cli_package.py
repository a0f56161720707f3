"""What is installed: the console scripts, and nothing of it in the operator's image."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelrelease.cli.app import COMMANDS, application
from modelrelease.cli.completion import candidates, typed
from modelrelease.cli.exits import MEANINGS, ExitCode
from modelrelease.cli.options import DEBUG, guarded
from modelrelease.cli.problems import Problem
from modelrelease.cli.reference.commandline import ANSWERS, shapes, types
from modelrelease.cli.reference.permissions import PEOPLE

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["kubectl-modelrelease", "kubectl_complete-modelrelease"])
def test_kubectl_finds_the_scripts_by_their_names(name: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, _, function = scripts[name].partition(":")
    assert callable(getattr(import_module(module), function))


def test_the_operators_image_does_not_grow_by_the_plugin() -> None:
    pinned = re.findall(
        r"^([\w.-]+)==", (ROOT / "operator" / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert not {"typer", "rich", "shellingham"} & set(pinned)
    assert "kopf" in pinned


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_in_80_columns(name: str) -> None:
    result = CliRunner().invoke(application(), [name, "-h"])
    assert result.exit_code == 0
    assert "--kubeconfig" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_the_list_of_commands_is_whole_sentences() -> None:
    text = CliRunner().invoke(application(), ["-h"]).stdout
    described = dict(re.findall(r"^  ([a-z]+)  +(\S.*)$", text, re.MULTILINE))
    assert set(COMMANDS) == set(described)
    assert [] == [sentence for sentence in described.values() if not sentence.endswith(".") or "..." in sentence]
    assert [] == [line for line in text.splitlines() if len(line) > 80]
    assert "   10  wait: the release was rolled back, or is being so\n" in text


def test_answers_for_programs_lose_no_field() -> None:
    """What the documentation promises. A new field is added to the file; nothing in it is ever changed."""
    promised = json.loads((ROOT / "tests" / "unit" / "cli" / "answers.json").read_text(encoding="utf-8"))
    given = {name: types(shape) for name, shape in shapes().items()}
    assert promised == given


def test_each_command_is_documented_with_its_answer() -> None:
    assert list(COMMANDS) == list(ANSWERS)
    assert all(name.split()[0] in shapes() for name in ANSWERS.values())
    for name in COMMANDS:
        assert "--output" in CliRunner().invoke(application(), [name, "-h"]).stdout


def test_what_each_command_may_read_is_documented() -> None:
    assert set(COMMANDS) == {name for commands, *_ in PEOPLE for name in re.findall(r"`([a-z]+)`", commands)}


def test_each_exit_status_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], "status\tShow what a release is doing, why, and what it waits for.\n:4\n"),
        (["promote", "x", "--to", ""], "next\nfull\n:4\n"),
        (["wait", "x", "--for", "d"], "done\n:4\n"),
        (["status", "-o", "y"], "yaml\n:4\n"),
        (["plan", "-f", ""], ":0\n"),
        (["check", "--provider", ""], ":0\n"),
        (["status", "--kubeconfig", ""], ":0\n"),
        (["nothing", ""], None),
    ],
)
def test_completion_speaks_as_kubectl_reads_it(words: list[str], expected: str | None) -> None:
    said = str(candidates(words))
    if expected is None:
        assert set(COMMANDS) == {line.partition("\t")[0] for line in said.splitlines()[:-1]}
    else:
        assert expected == said


def test_what_nobody_foresaw_is_a_sentence_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> ExitCode:
        raise KeyError("surprise")

    monkeypatch.delenv(DEBUG, raising=False)
    assert guarded(broken) is ExitCode.ERROR
    said = capsys.readouterr().err
    what = f"This is a defect of the plugin (KeyError: 'surprise'); set {DEBUG}=1 and report what it prints."
    assert f"Error: {what}\n" == said
    monkeypatch.setenv(DEBUG, "1")
    guarded(broken)
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_and_a_problem_end_with_their_status(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> ExitCode:
        raise KeyboardInterrupt

    def missing() -> ExitCode:
        raise Problem("There is none.", ExitCode.NOT_FOUND)

    assert guarded(interrupted) is ExitCode.INTERRUPTED
    assert guarded(missing) is ExitCode.NOT_FOUND
    assert capsys.readouterr().err == "Error: There is none.\n"


WRONG = "image: y, workload: {deployment: z}, strategy: {steps: [{weight: 50}]}"
HEAD = "{apiVersion: modelrelease.dev/v1alpha1, kind: ModelRelease, metadata: {name: x}, spec: {%s}}"


@pytest.mark.parametrize(
    ("content", "said", "code"),
    [
        (b"\xff\xfe", "is not text in UTF-8.", ExitCode.USAGE),
        (b"a: b: c", "is not YAML:", ExitCode.USAGE),
        (b"{}", "has 0 ModelReleases; give a file with one.", ExitCode.USAGE),
        ((HEAD % WRONG).encode(), "the last weight must be 100, but is 50", ExitCode.FINDINGS),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: bytes, said: str, code: ExitCode) -> None:
    """Found before anybody is asked: without a cluster."""
    path = tmp_path / "release.yaml"
    path.write_bytes(content)
    result = CliRunner().invoke(application(), ["backtest", "x", "-f", str(path)])
    assert (code, "") == (result.exit_code, result.stdout)
    (line,) = result.stderr.splitlines()
    assert said in line


@pytest.mark.parametrize("words", [["-n", "try"], ["-ntry"], ["-n=try"], ["--namespace", "try"], ["--namespace=try"]])
def test_completion_reads_a_namespace_however_it_is_written(words: list[str]) -> None:
    assert "try" == typed(["status", *words, "x"], "-n", "--namespace")
    assert typed(["status", "--no-color", "x"], "-n", "--namespace") is None
