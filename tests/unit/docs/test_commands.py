"""What pages tell people to type exists: targets of make, commands and options of kubectl and the plugin, and files."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path

import pytest

from modelrelease.api.annotations import ALLOWED, Action, read_requests
from modelrelease.cli.app import COMMANDS, PROGRAM, application
from unit.docs.pages import ROOT, Command, commands, of_kind, pages

THEIRS = ("modelrelease.yaml", "registry.example.com", "REGISTRY/")
"""What people write or own themselves."""

WITH_VALUE = {"-n", "-f", "-k", "-l", "-o", "-p", "--for", "--namespace", "--filename", "--kustomize", "--output"}
KUBECTL = {
    "annotate": {"--overwrite"},
    "api-resources": {"--api-group"},
    "apply": {"-f", "-k", "--server-side"},
    "auth": set(),
    "create": {"--clusterrole", "--group", "--verb", "--resource", "--resource-name", "--dry-run"},
    "delete": {"-k", "-f", "--all", "--all-namespaces", "--timeout"},
    "describe": set(),
    "events": {"--for"},
    "explain": set(),
    "get": {"-w", "-o", "-l", "--show-labels", "--show-managed-fields", "--watch"},
    "kustomize": set(),
    "label": set(),
    "logs": {"-l", "--previous", "--all-containers"},
    "patch": {"--type", "-p"},
    "rollout": {"--timeout"},
    "version": set(),
    "wait": {"--for", "--timeout"},
}
"""Commands of kubectl and the options that pages use with them, checked by hand against `kubectl COMMAND --help`."""
EVERYWHERE = {"-n", "-A", "--namespace", "--all-namespaces", "--context"}


def is_theirs(word: str) -> bool:
    return word.startswith(THEIRS)


def options(words: Sequence[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}


def files(words: Sequence[str]) -> list[str]:
    """Values of -f and -k."""
    return [value for option, value in pairwise(words) if option in ("-f", "-k")]


def positional(words: Sequence[str]) -> list[str]:
    """What is neither an option nor the value of one."""
    before = ["", *words[:-1]]
    return [
        word for last, word in zip(before, words, strict=True) if not word.startswith("-") and last not in WITH_VALUE
    ]


@pytest.mark.parametrize("command", of_kind("make"), ids=str)
def test_targets_of_make_exist(command: Command) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(command.words[1:]) <= targets


@pytest.mark.parametrize("command", [one for one in of_kind("kubectl") if one.words[1] != "modelrelease"], ids=str)
def test_kubectl_knows_the_command_and_its_options(command: Command) -> None:
    name = positional(command.words[1:])[0]
    assert name in KUBECTL, "check it against kubectl, then add it here"
    assert options(command.words) - EVERYWHERE <= KUBECTL[name]


@pytest.mark.parametrize("command", of_kind("kubectl"), ids=str)
def test_files_that_commands_name_exist(command: Command) -> None:
    assert [] == [name for name in files(command.words) if not is_theirs(name) and not (ROOT / name).exists()]


@pytest.mark.parametrize("command", [one for one in of_kind("kubectl") if "annotate" in one.words[:-1]], ids=str)
def test_annotations_that_commands_set_mean_something(command: Command) -> None:
    given = dict(word.split("=", 1) for word in command.words if word.startswith("modelrelease.dev/") and "=" in word)
    requests = read_requests(given)
    assert len(given) == len(requests) == 1
    assert requests[0].is_allowed


def test_every_action_is_shown_somewhere() -> None:
    shown = {word.partition("=")[0] for one in of_kind("kubectl") for word in one.words if "=" in word}
    assert {action.annotation for action in Action} <= shown
    assert set(ALLOWED) == set(Action)


@pytest.mark.parametrize("command", [one for one in of_kind("kubectl") if one.words[1] == "modelrelease"], ids=str)
def test_the_plugin_knows_the_command_and_its_options(command: Command) -> None:
    """The plugin's own parser reads it; `-h` keeps it from doing anything."""
    words = [word for word in command.words[2:] if word != "COMMAND"]
    if words and words[0] != "-h":
        assert words[0] in COMMANDS
        assert known(words[0]) >= options(words) - {"-h"}
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        application()(args=[*words, "-h"], prog_name=PROGRAM, standalone_mode=False)
    assert "Usage:" in said.getvalue()


def known(name: str) -> set[str]:
    """Options in the help of a command."""
    said = io.StringIO()
    with redirect_stdout(said):
        application()(args=[name, "-h"], prog_name=PROGRAM, standalone_mode=False)
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", said.getvalue()))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_page_names_only_files_that_exist(page: Path) -> None:
    """In code, such as `deploy/base`; links are checked where the site is built."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:deploy|docs|examples|crds|operator|tests|inference-image)/[\w./-]+)`", text)
    assert [] == [name for name in named if not (ROOT / name).exists()]


def test_commands_are_found() -> None:
    quickstart = commands(ROOT / "docs" / "quickstart.md")
    assert ("kubectl", "apply", "-k", "deploy/base") in {one.words for one in quickstart}
    assert len(of_kind("kubectl")) > 40
    assert len(of_kind("make")) > 5


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    """As they are written, for those who read the repository instead of the site."""
    text = page.read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [] == [target for target in targets if target and not (page.parent / target).exists()]
