"""The examples, as a user applies them: the API server takes every object of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from integration.crd.releases import ROOT
from localcluster.controlplane import ControlPlane

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.fixture(scope="session")
def namespaces(installed: ControlPlane) -> None:
    """Those that examples name and do not make."""
    wanted = {each["metadata"].get("namespace", "") for path in EXAMPLES for each in documents(path)}
    for name in sorted(wanted - {"", "vision"}):
        installed.kubectl("create", "namespace", name)


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_api_server_takes_each_object(installed: ControlPlane, path: Path) -> None:
    """And goes again, so that the next one finds the names free."""
    try:
        said = installed.kubectl("apply", "--server-side", "--validate=strict", "--filename", path)
        lines = [line for line in said.splitlines() if line.strip()]
        assert len(lines) == len(documents(path))
        assert all(line.endswith("serverside-applied") for line in lines), said
        names = installed.kubectl("get", "--filename", path, "--output=name").split()
        assert len(names) == len(lines)
    finally:
        kept = [each for each in documents(path) if each["kind"] != "Namespace"]
        installed.kubectl("delete", "--ignore-not-found", "--filename=-", stdin=yaml.safe_dump_all(kept))


def test_ten_situations_or_more_are_shown_and_listed() -> None:
    listed = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    assert len(EXAMPLES) >= 10
    assert [] == [path.name for path in EXAMPLES if f"../examples/{path.name}" not in listed]


def test_every_example_says_what_it_is_for_and_how_an_editor_checks_it() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES}
    assert [] == [name for name, text in texts.items() if not text.startswith("# ")]
    schema = "# yaml-language-server: $schema=../crds/modelrelease.schema.json"
    assert [] == [name for name, text in texts.items() if schema not in text]
