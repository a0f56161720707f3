"""An image is built again exactly when something changed that it is made of."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localcluster.image_source import Build, content_key, context_files, full_reference


@pytest.fixture
def build(tmp_path: Path) -> Build:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("print(1)\n", encoding="utf-8")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY app /app\n", encoding="utf-8")
    return Build("example.com/app:v1", tmp_path, tmp_path / "Dockerfile", {"VERSION": "1"})


def write(name: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(write("app/main.py", "print(2)\n"), id="a file's content"),
        pytest.param(write("app/new.py", ""), id="a new, empty file"),
        pytest.param(lambda folder: (folder / "app/main.py").chmod(0o755), id="a file's mode"),
        pytest.param(lambda folder: (folder / "app/main.py").rename(folder / "app/other.py"), id="a file's name"),
        pytest.param(lambda folder: (folder / "app/main.py").unlink(), id="a file less"),
        pytest.param(write("Dockerfile", "FROM scratch\n"), id="the Dockerfile"),
        pytest.param(lambda folder: (folder / "link").symlink_to("app/main.py"), id="a link"),
    ],
)
def test_the_key_changes_with_the_content(build: Build, change: Callable[[Path], None]) -> None:
    before = content_key(build, "base")
    change(build.context)

    assert content_key(build, "base") != before


def test_the_key_changes_with_base_and_arguments_but_not_with_their_order(build: Build) -> None:
    two = replace(build, arguments={"A": "1", "B": "2"})
    turned = replace(build, arguments={"B": "2", "A": "1"})

    assert content_key(build, "another base") != content_key(build, "base")
    assert content_key(two, "base") != content_key(build, "base")
    assert content_key(turned, "base") == content_key(two, "base")


def test_the_key_does_not_change_with_times_or_ignored_files(build: Build) -> None:
    (build.context / ".dockerignore").write_text("*.log\n", encoding="utf-8")
    before = content_key(build, "base")
    os.utime(build.context / "app" / "main.py", (0, 0))
    (build.context / "run.log").write_text("noise", encoding="utf-8")
    (build.context / "app" / "__pycache__").mkdir()
    (build.context / "app" / "__pycache__" / "main.pyc").write_bytes(b"x")

    assert content_key(build, "base") == before


def test_the_key_stays_when_only_the_folder_moves(build: Build, tmp_path: Path) -> None:
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    before = content_key(build, "base")
    tmp_path.rename(moved)
    there = replace(build, context=moved, dockerfile=moved / "Dockerfile")

    assert content_key(there, "base") == before


def test_dockerignore_takes_folders_out_and_single_files_back(build: Build) -> None:
    (build.context / "tests").mkdir()
    for name in ("tests/a.py", "tests/keep.py", "deep.pyc"):
        (build.context / name).write_text("", encoding="utf-8")
    (build.context / ".dockerignore").write_text("# comment\ntests\n!tests/keep.py\n**/*.pyc\n", encoding="utf-8")

    names = [path.relative_to(build.context).as_posix() for path in context_files(build.context)]

    assert names == [".dockerignore", "Dockerfile", "app/main.py", "tests/keep.py"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("web", "docker.io/library/web:latest"),
        ("web:v1", "docker.io/library/web:v1"),
        ("team/web:v1", "docker.io/team/web:v1"),
        ("harbor.example.com/vision/web:v1", "harbor.example.com/vision/web:v1"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("localhost/web:v1", "localhost/web:v1"),
    ],
)
def test_short_names_mean_what_they_mean_to_a_kubelet(written: str, meant: str) -> None:
    assert full_reference(written) == meant
