from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import image_context
from yolo_serving.faults import FaultPlan, parse_faults


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version in ("v1.0.0", "v1.1.0"):
        folder = tmp_path / "models" / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(version.encode())
        (folder / "model.json").write_text(json.dumps({"version": version, "sha256": f"of-{version}", "map50": 0.9}))
        (folder / "model.pt").write_bytes(b"weights")
    return tmp_path / "models"


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
        "MODEL_DIGEST": "of-v1.0.0",
        "MODEL_MAP50": "0.9",
        "FAULT": "none",
    }


def test_good_and_bad_versions_differ_in_arguments_and_one_small_file(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = built(capsys, "v1.1.0", str(tmp_path / "good"), "--models", str(models))
    bad = built(capsys, "v1.2.0-errors", str(tmp_path / "bad"), "--models", str(models))
    good_files, bad_files = files(tmp_path / "good"), files(tmp_path / "bad")
    different = {name for name in good_files.keys() | bad_files.keys() if good_files.get(name) != bad_files.get(name)}
    assert different == {"image.json", "sbom.cdx.json"}
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


def test_a_missing_model_is_said(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image_context.main(["v3.0.0", str(tmp_path / "context"), "--models", str(models)]) == 1
    assert "There is no model in" in capsys.readouterr().err


def test_bill_of_materials_names_every_package_and_the_model(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = tmp_path / "context"
    built(capsys, "v1.1.0", str(context), "--models", str(models))
    bill = json.loads((context / "sbom.cdx.json").read_text())
    listed = {component["name"]: component["version"] for component in bill["components"]}
    pinned = (context / "requirements-serve-cpu.txt").read_text().count("==")
    assert len(listed) == pinned + 1
    assert f"onnxruntime=={listed['onnxruntime']} " in (context / "requirements-serve-cpu.txt").read_text()
    assert bill["components"][-1]["hashes"] == [{"alg": "SHA-256", "content": "of-v1.1.0"}]
    assert "ultralytics" not in listed


def test_gpu_image(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("v1.1.0", str(tmp_path / "context"), "--models", str(models), "--hardware", "gpu")
    answer = built(capsys, *words)
    assert str(answer["tag"]) == "yolov8-shapes:v1.1.0-gpu"
    arguments = answer["build_args"]
    assert (arguments["REQUIREMENTS"], arguments["PROVIDER"]) == ("requirements-serve-gpu.txt", "cuda")
    bill = json.loads((tmp_path / "context" / "sbom.cdx.json").read_text())
    assert "onnxruntime-gpu" in {component["name"] for component in bill["components"]}
