"""The requirement files: complete, hashed, and the same on every machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
LOCKS = {"operator/requirements.txt": (), "requirements-dev.txt": ("cli", "dev")}
"""File, and the extras that it holds."""


def pins(path: str) -> dict[str, str]:
    """Version by package."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


@pytest.mark.parametrize(("path", "extras"), LOCKS.items())
def test_everything_asked_for_is_pinned_within_its_bounds(path: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    pinned = pins(path)
    for requirement in map(Requirement, asked):
        if requirement.name == project["name"]:
            continue
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {path}: run operator/lock.sh"
        assert requirement.specifier.contains(version), (
            f"{path} pins {requirement.name} {version}: run operator/lock.sh"
        )


@pytest.mark.parametrize("path", LOCKS)
def test_every_pin_has_a_hash_and_no_line_an_address(path: str) -> None:
    lines = [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if line.strip()]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"[\w.-]+==\S+ \\", line):
            assert following.startswith("    --hash=sha256:"), f"{line} has no hash"
        else:
            assert line.lstrip().startswith(("#", "--hash=sha256:")), f"{line} is neither pin, hash nor comment"
            assert "://" not in line, f"{line} names an address"


def test_tests_run_on_what_is_shipped() -> None:
    shipped, tried = pins("operator/requirements.txt"), pins("requirements-dev.txt")
    assert shipped == {name: version for name, version in tried.items() if name in shipped}
