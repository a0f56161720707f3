"""Models of a user's own: what is made, and what is said before anything is lost.

ultralytics is a stand-in here, which only the training environment has; one test goes the way with the real one.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_detector import SIDE, write_tiny_detector

import build_models
import image_context
from yolo_serving.digest import file_digest

Command = Callable[..., int]


class Ultralytics:
    """What is done with the stand-in, and how it answers."""

    def __init__(self) -> None:
        self.map50 = 0.9
        self.splits = {"train", "val", "test"}
        self.trained_with = 320
        self.calls: list[str] = []

    def yolo(self, file: str, **_: object) -> types.SimpleNamespace:
        if not Path(file).exists() and not file.endswith(".yaml"):
            raise FileNotFoundError(f"'{file}' does not exist")
        return types.SimpleNamespace(
            overrides={"imgsz": self.trained_with},
            train=self._train,
            export=lambda **options: self._export(Path(file), options),
            val=self._val,
        )

    def check_dataset(self, dataset: str, *, split: str) -> None:
        if split not in self.splits:
            raise FileNotFoundError(f"{dataset} '{split}:' images not found\nand more")

    def _train(self, *, project: str, name: str, **_: object) -> None:
        self.calls.append("train")
        weights = Path(project) / name / "weights"
        weights.mkdir(parents=True)
        (weights / "best.pt").write_bytes(b"trained")

    def _export(self, weights: Path, options: dict[str, object]) -> str:
        self.calls.append(f"export {options['imgsz']} {options.get('quantize')} {options.get('data')}")
        return str(write_tiny_detector(weights.with_suffix(".onnx")))

    def _val(self, **options: object) -> types.SimpleNamespace:
        self.calls.append(f"val {options['imgsz']} {options['split']}")
        box = types.SimpleNamespace(map50=self.map50, map=self.map50 / 2)
        return types.SimpleNamespace(box=box, nt_per_class=types.SimpleNamespace(sum=lambda: 7))


@pytest.fixture
def ultralytics() -> Ultralytics:
    return Ultralytics()


@pytest.fixture
def command(ultralytics: Ultralytics, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    stand_in = types.ModuleType("yolo_training.ultralytics_session")
    vars(stand_in).update(YOLO=ultralytics.yolo, check_det_dataset=ultralytics.check_dataset)
    vars(stand_in).update(LetterBox=object, scale_boxes=object, yaml_model_load=object)
    kept = {name: module for name, module in sys.modules.items() if name.startswith("yolo_training")}
    for name in kept:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "yolo_training.ultralytics_session", stand_in)
    # write_model_card asks which version made the model; the environment of the tests has none.
    monkeypatch.setattr("importlib.metadata.version", lambda _: "8.4.0")
    main = importlib.import_module("yolo_training.__main__").main
    yield lambda *words: main([str(word) for word in words])
    for name in [name for name in sys.modules if name.startswith("yolo_training")]:
        del sys.modules[name]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "model.pt"
    file.write_bytes(b"given")
    return file


def train(target: Path) -> tuple[object, ...]:
    return ("train", target, "--dataset", "data.yaml", "--name", "boats", "--version", "v3", "--side", 64)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_training_leaves_a_version_that_an_image_can_be_made_from(command: Command, tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert command(*train(models)) == 0
    assert names(models) == {"v3", "v3/model.onnx", "v3/model.pt", "v3/model.json"}
    card = json.loads((models / "v3" / "model.json").read_text())
    assert (card["name"], card["version"], card["map50"]) == ("boats", "v3", 0.9)
    assert card["sha256"] == file_digest(models / "v3" / "model.onnx")
    assert image_context.main(["v3", str(tmp_path / "context"), "--models", str(models), "--model", "v3"]) == 0


@pytest.mark.parametrize("taken", ["v3", "v3.pt"])
def test_a_version_is_made_once(
    command: Command, ultralytics: Ultralytics, tmp_path: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / taken).mkdir()
    assert command(*train(tmp_path)) == 1
    assert f"{tmp_path / taken} is there already" in capsys.readouterr().err
    assert ultralytics.calls == []
    assert names(tmp_path) == {taken}


def test_the_generated_versions_are_made_once(
    command: Command, ultralytics: Ultralytics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v1.1.0").mkdir()
    assert command("train", tmp_path) == 1
    assert "v1.1.0 is there already" in capsys.readouterr().err
    assert ultralytics.calls == []


@pytest.mark.parametrize("missing", ["train", "val", "test"])
def test_a_dataset_without_a_split_is_said_before_the_training(
    command: Command, ultralytics: Ultralytics, tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ultralytics.splits.remove(missing)
    assert command(*train(tmp_path)) == 1
    said = capsys.readouterr().err
    assert said == f"data.yaml cannot be used, split '{missing}': data.yaml '{missing}:' images not found\n"
    assert ultralytics.calls == []


def test_weights_below_the_gate_are_kept_and_can_be_exported(
    command: Command, ultralytics: Ultralytics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ultralytics.map50 = 0.8
    assert command(*train(tmp_path)) == 1
    assert f"trained weights are in {tmp_path / 'v3.pt'}" in capsys.readouterr().err
    assert names(tmp_path) == {"v3.pt"}
    lower = ("--name", "boats", "--gate", 0.7)
    assert command("export", tmp_path / "v3.pt", tmp_path / "v3", "data.yaml", *lower) == 0
    assert ultralytics.calls.count("train") == 1
    assert json.loads((tmp_path / "v3" / "model.json").read_text())["map50"] == 0.8


@pytest.mark.parametrize(
    ("precision", "exported"),
    [("fp32", "export 320 None None"), ("fp16", "export 320 16 None"), ("int8", "export 320 8 data.yaml")],
)
def test_another_precision_is_another_version_with_a_card_of_its_own(
    command: Command, ultralytics: Ultralytics, weights: Path, precision: str, exported: str
) -> None:
    target = weights.parent / "models" / f"v3-{precision}"
    assert command("export", weights, target, "data.yaml", "--name", "boats", "--precision", precision) == 0
    # At the side that the weights were trained with, and evaluated as what was exported.
    assert ultralytics.calls == [exported, "val 320 test"]
    card = json.loads((target / "model.json").read_text())
    assert (card["version"], card["precision"]) == (f"v3-{precision}", precision)
    assert card["sha256"] == file_digest(target / "model.onnx")
    assert names(weights.parent) == {"model.pt", "models", f"models/{target.name}"} | {
        f"models/{target.name}/{file}" for file in ("model.onnx", "model.json", "model.pt")
    }


def test_evaluates_at_the_side_that_the_model_was_exported_with(
    command: Command, ultralytics: Ultralytics, tmp_path: Path, weights: Path
) -> None:
    assert command("evaluate", write_tiny_detector(tmp_path / "model.onnx"), "data.yaml") == 0
    assert command("evaluate", weights, "data.yaml") == 0
    assert command("evaluate", weights, "data.yaml", "--side", 96) == 0
    assert ultralytics.calls == [f"val {SIDE} test", "val 320 test", "val 96 test"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("evaluate", "no.onnx", "data.yaml"), "there is no file no.onnx"),
        (("verify", "no.pt", "no.onnx", "."), "there is no file no.pt"),
        (("export", "no.pt", "new", "data.yaml", "--name", "boats"), "there is no file no.pt"),
        (("train", "new", "--dataset", "data.yaml"), "--dataset needs --name"),
    ],
)
def test_mistakes_on_the_command_line_are_said(
    command: Command, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(*words)
    assert sentence in capsys.readouterr().err


def test_a_folder_without_pictures_and_a_start_that_is_not_there_are_said(
    command: Command, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("verify", weights, weights, tmp_path / "nothing") == 1
    assert command(*train(tmp_path), "--start", "no.pt") == 1
    assert capsys.readouterr().err == (
        f"There are no JPEGs or PNGs in {tmp_path / 'nothing'}.\n"
        "Training cannot start from no.pt: 'no.pt' does not exist\n"
    )


@pytest.mark.timeout(4000)
def test_the_real_way_to_half_precision(tmp_path: Path) -> None:
    cache = build_models.cache_folder()
    trained = build_models.build(cache) / "v1.1.0" / "model.pt"
    script = "\n".join(
        (
            "import sys; from pathlib import Path",
            "from yolo_training.__main__ import main",
            "from yolo_training.dataset import DatasetSize, write_shapes_dataset",
            "data = str(write_shapes_dataset(Path('data'), DatasetSize(4, 4, 24), 0))",
            "words = sys.argv[1:]",
            "assert main(['export', *words, 'models/v3', data, '--name', 'boats', '--precision', 'fp16']) == 0",
            "sys.exit(main(['evaluate', 'models/v3/model.onnx', data]))",
        )
    )
    done = subprocess.run(
        [str(build_models.training_environment(cache)), "-c", script, str(trained)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(build_models.HERE), "YOLO_VERBOSE": "false"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    card = json.loads((tmp_path / "models" / "v3" / "model.json").read_text())
    assert card["sha256"] == file_digest(tmp_path / "models" / "v3" / "model.onnx")
    assert card["map50"] > 0.9
    assert done.stdout.splitlines()[-1].startswith(f"mAP@0.5 {card['map50']:.4f}")
