from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from tiny_detector import CLASS_NAMES, SIDE, write_tiny_detector

from yolo_serving.errors import ModelNotUsable, ProviderMissing
from yolo_serving.model import Execution, Provider, load_model


def test_card_and_head(tiny_model: Path) -> None:
    model = load_model(tiny_model, Execution())
    assert model.card.side == SIDE
    assert model.card.class_names == CLASS_NAMES
    assert model.card.digest == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    batch = np.zeros((2, 3, SIDE, SIDE), np.float32)
    batch[1, 0] = 0.5
    head = model.run(batch)
    assert head.shape == (2, 6, 3)
    assert head[1, 4].tolist() == pytest.approx([0.5, 0.45, 0])
    model.warm_up([1, 3])


def test_fixed_batch(tmp_path: Path) -> None:
    assert load_model(write_tiny_detector(tmp_path / "one.onnx", batch=1), Execution()).fixed_batch == 1
    with pytest.raises(ModelNotUsable, match="only batches of 8"):
        load_model(write_tiny_detector(tmp_path / "eight.onnx", batch=8), Execution())


@pytest.mark.parametrize(
    ("names", "phrase"),
    [("{1: 'a', 2: 'b'}", "no class names"), ("[]", "no class names"), ("{0: ", "unreadable metadata 'names'")],
)
def test_metadata_that_cannot_be_used(tmp_path: Path, names: str, phrase: str) -> None:
    path = write_tiny_detector(tmp_path / "model.onnx", names=names)
    with pytest.raises(ModelNotUsable, match=phrase):
        load_model(path, Execution())


def test_names_must_fit_the_head(tmp_path: Path) -> None:
    model = load_model(write_tiny_detector(tmp_path / "model.onnx", names="{0: 'only'}"), Execution())
    with pytest.raises(ModelNotUsable, match=r"answers a batch of 1 with \(1, 5, anchors\)"):
        model.warm_up([1])


def test_not_an_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"hello")
    with pytest.raises(ModelNotUsable, match="cannot load"):
        load_model(path, Execution())
    with pytest.raises(ModelNotUsable, match="no model file"):
        load_model(tmp_path / "none.onnx", Execution())


def test_a_provider_that_is_not_there_is_no_cpu(tiny_model: Path) -> None:
    with pytest.raises(ProviderMissing, match="PROVIDER=tensorrt was asked for"):
        load_model(tiny_model, Execution(Provider.TENSORRT))
