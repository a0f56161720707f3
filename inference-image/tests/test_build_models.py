from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import build_models


@pytest.fixture
def ingredients(tmp_path: Path) -> Path:
    for name in build_models.INGREDIENTS:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(build_models.HERE / name, target)
    return tmp_path


def test_comments_do_not_change_the_hash_but_code_and_requirements_do(ingredients: Path) -> None:
    original = build_models.ingredients_hash(ingredients)
    training = ingredients / "yolo_training" / "training.py"
    training.write_text("# a comment\n" + training.read_text())
    assert original == build_models.ingredients_hash(ingredients)
    training.write_text(training.read_text().replace("epochs: int = 10", "epochs: int = 11"))
    changed = build_models.ingredients_hash(ingredients)
    requirements = ingredients / "requirements-train.txt"
    requirements.write_text(requirements.read_text() + "# different\n")
    assert len({original, changed, build_models.ingredients_hash(ingredients)}) == 3


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    target = build_models.models_folder(tmp_path)
    target.mkdir(parents=True)
    assert build_models.build(tmp_path) == target
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("MODELRELEASE_CACHE", raising=False)
    assert build_models.cache_folder() == tmp_path / "xdg" / "modelrelease"
    monkeypatch.setenv("MODELRELEASE_CACHE", str(tmp_path / "own"))
    assert build_models.cache_folder() == tmp_path / "own"


def test_a_second_process_waits_and_takes_what_the_first_made(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with (tmp_path / "models" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, str(build_models.HERE / "build_models.py")]
        second = subprocess.Popen(
            command, env={"MODELRELEASE_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert second.stderr is not None
        assert second.stderr.readline() == "models: waiting for another process that makes them\n"
        build_models.models_folder(tmp_path).mkdir()
    out, _ = second.communicate(timeout=30)
    assert (second.returncode, out.strip()) == (0, str(build_models.models_folder(tmp_path)))
    assert not (tmp_path / "venvs").exists()


def test_a_failed_step_leaves_no_half_made_models(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    with pytest.raises(build_models.BuildFailed, match=r"output is in .*step.log"):
        build_models._run([sys.executable, "-c", "print('why'); raise SystemExit(3)"], log, 30)
    assert log.read_text() == "why\n"
