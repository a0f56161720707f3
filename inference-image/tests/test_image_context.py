from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import image_context
from yolo_serving.digest import file_digest
from yolo_serving.faults import FaultPlan, parse_faults


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version in ("v1.0.0", "v1.1.0"):
        folder = tmp_path / "models" / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(version.encode())
        write_card(folder)
        (folder / "model.pt").write_bytes(b"weights")
    return tmp_path / "models"


def write_card(folder: Path, **more: object) -> None:
    card = {"sha256": file_digest(folder / "model.onnx"), "map50": 0.9, "map50_95": 0.8, **more}
    (folder / "model.json").write_text(json.dumps(card))


def built(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, str]]:
    assert image_context.main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_context_holds_what_the_dockerfile_copies_and_nothing_of_the_training(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.umask(0o077)
    context = tmp_path / "context"
    answer = built(capsys, "v1.0.0", str(context), "--models", str(models))
    names = set(files(context))
    assert {"Dockerfile", "requirements-serve-cpu.txt", "yolo_serving/__main__.py", "model/model.onnx"} <= names
    assert not [name for name in names if "train" in name or name.endswith((".pt", ".pyc"))]
    assert {oct(path.stat().st_mode & 0o777) for path in context.rglob("*")} == {"0o755", "0o644"}
    assert answer["build_args"] == {
        "MODEL_NAME": "yolov8-shapes",
        "MODEL_VERSION": "v1.0.0",
        "MODEL_DIGEST": file_digest(models / "v1.0.0" / "model.onnx"),
        "MODEL_MAP50": "0.9",
        "MODEL_MAP50_95": "0.8",
        "MODEL_LICENCE": "AGPL-3.0-only",
        "SOURCE": "unknown",
        "REVISION": "unknown",
        "FAULT": "none",
    }


def test_good_and_bad_versions_differ_in_arguments_and_two_small_file(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = built(capsys, "v1.1.0", str(tmp_path / "good"), "--models", str(models))
    bad = built(capsys, "v1.2.0-errors", str(tmp_path / "bad"), "--models", str(models))
    good_files, bad_files = files(tmp_path / "good"), files(tmp_path / "bad")
    different = {name for name in good_files.keys() | bad_files.keys() if good_files.get(name) != bad_files.get(name)}
    assert different == {"Dockerfile", "image.json"}
    assert json.loads(bad_files["image.json"]) == bad["build_args"]
    changed = {name for name in good["build_args"] if good["build_args"][name] != bad["build_args"][name]}
    assert changed == {"MODEL_VERSION", "FAULT"}


def test_every_versions_fault_is_one_that_the_server_knows() -> None:
    plans = {version: parse_faults(variant.fault) for version, variant in image_context.VARIANTS.items()}
    assert {version for version, plan in plans.items() if plan == FaultPlan()} == {"v1.0.0", "v1.1.0"}
    assert plans["v1.2.0-turns-bad"].errors_when_file == Path(image_context.FAULT_FILE)


def test_other_versions_can_be_asked_for(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "v2.0.0",
        str(tmp_path / "context"),
        "--models",
        str(models),
        "--model",
        "v1.1.0",
        "--fault",
        "errors:0.005",
    ]
    arguments = built(capsys, *words)["build_args"]
    assert (arguments["MODEL_VERSION"], arguments["FAULT"]) == ("v2.0.0", "errors:0.005")


@pytest.mark.parametrize("missing", ["model.onnx", "model.json"])
def test_a_missing_model_is_said(
    models: Path, tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "v1.0.0" / missing).unlink()
    assert image_context.main(["v1.0.0", str(tmp_path / "context"), "--models", str(models)]) == 1
    assert f"There is no {missing} in {models / 'v1.0.0'}" in capsys.readouterr().err


def test_a_folder_with_something_else_in_it_is_left_alone(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    built(capsys, "v1.0.0", str(context), "--models", str(models))
    built(capsys, "v1.1.0", str(context), "--models", str(models))
    before = files(models)
    assert image_context.main(["v1.0.0", str(models), "--models", str(models)]) == 1
    assert f"{models} is not empty and no build context" in capsys.readouterr().err
    assert files(models) == before


def test_a_card_of_another_model_makes_no_image(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "v1.0.0" / "model.onnx").write_bytes(b"exported anew")
    assert image_context.main(["v1.0.0", str(tmp_path / "context"), "--models", str(models)]) == 1
    assert "model.json describes another file" in capsys.readouterr().err
    assert not (tmp_path / "context").exists()


@pytest.mark.parametrize("words", [("--name", "boats"), ()])
def test_a_model_of_ones_own_has_its_own_name_and_licence(
    models: Path, tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "v1.0.0").rename(models / "v7")
    write_card(models / "v7", name="of-the-card")
    name = words[-1] if words else "of-the-card"
    context = tmp_path / "context"
    licence = ("--licence", "LicenseRef-Ultralytics-Enterprise")
    answer = built(capsys, "v7", str(context), "--models", str(models), *licence, *words)
    assert str(answer["tag"]) == f"{name}:v7"
    assert (answer["build_args"]["MODEL_NAME"], answer["build_args"]["MODEL_LICENCE"]) == (name, licence[1])
    assert "yolov8-shapes" not in (context / "Dockerfile").read_text()


def defaults(dockerfile: Path) -> dict[str, str]:
    return dict(re.findall(r'^ARG (\w+)="?([^"\n]*)"?$', dockerfile.read_text(), re.MULTILINE))


@pytest.mark.parametrize("version", ["v1.1.0", "v1.2.0-slow", "v1.2.0-turns-bad"])
@pytest.mark.parametrize("hardware", ["cpu", "gpu"])
def test_a_build_without_arguments_makes_what_was_asked_for(
    models: Path, tmp_path: Path, version: str, hardware: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--hardware", hardware, "--base", "registry.example.com/python:3.11@sha256:abc", "--revision", "f00")
    answer = built(capsys, version, str(tmp_path / "context"), "--models", str(models), *words)
    said = defaults(tmp_path / "context" / "Dockerfile")
    assert {name: said[name] for name in answer["build_args"]} == answer["build_args"]
    assert "unknown" not in {said[name] for name in said if name.startswith("MODEL_")}


@pytest.mark.parametrize("value", ['v1" RUN=true', "v1\nUSER root", "$HOME", "back\\slash", ""])
def test_what_would_change_the_dockerfile_is_refused(
    models: Path, tmp_path: Path, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["v1.0.0", str(tmp_path / "context"), "--models", str(models), "--source", value]
    assert image_context.main(words) == 1
    assert "SOURCE=" in capsys.readouterr().err


def test_gpu_image(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("v1.1.0", str(tmp_path / "context"), "--models", str(models), "--hardware", "gpu")
    answer = built(capsys, *words)
    assert str(answer["tag"]) == "yolov8-shapes:v1.1.0-gpu"
    arguments = answer["build_args"]
    assert (arguments["REQUIREMENTS"], arguments["PROVIDER"]) == ("requirements-serve-gpu.txt", "cuda")
    assert (tmp_path / "context" / arguments["REQUIREMENTS"]).is_file()
