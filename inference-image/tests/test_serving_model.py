from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from tiny_detector import CLASS_NAMES, SIDE, write_tiny_detector

from yolo_serving.errors import ModelNotUsable, ProviderMissing
from yolo_serving.model import Execution, Provider, load_model
from yolo_serving.onnx_runtime import ort


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


def test_half_precision_inputs_are_told_at_the_start(tmp_path: Path) -> None:
    path = write_tiny_detector(tmp_path / "model.onnx", datatype=TensorProto.FLOAT16)
    with pytest.raises(ModelNotUsable, match=r"takes tensor\(float16\)"):
        load_model(path, Execution())


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


class Runtime:
    """ONNX Runtime's GPU build as far as `load_model` sees it: offers GPUs and OpenVINO, takes what it is told to."""

    SessionOptions = ort.SessionOptions

    def __init__(self, taken: str) -> None:
        self._taken = taken
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.preloaded = False

    def get_available_providers(self) -> list[str]:
        return [
            "OpenVINOExecutionProvider",
            "TensorrtExecutionProvider",
            "CUDAExecutionProvider",
            "CPUExecutionProvider",
        ]

    def preload_dlls(self) -> None:
        self.preloaded = True

    def InferenceSession(  # noqa: N802  # as ONNX Runtime names it
        self, path: str, options: ort.SessionOptions, providers: list[tuple[str, dict[str, str]]]
    ) -> RuntimeSession:
        self.asked = providers
        return RuntimeSession(ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]), self._taken)


class RuntimeSession:
    """A session on the CPU that says it is on another provider."""

    def __init__(self, session: ort.InferenceSession, taken: str) -> None:
        self._session = session
        self._taken = taken

    def get_providers(self) -> list[str]:
        return [self._taken]

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)


def test_cuda_that_falls_back_to_the_cpu_ends_the_start(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_serving.model.ort", Runtime("CPUExecutionProvider"))
    with pytest.raises(ProviderMissing, match="fell back to CPUExecutionProvider: check the GPU"):
        load_model(tiny_model, Execution(Provider.CUDA))


@pytest.mark.parametrize(("limit", "expected"), [(None, None), (1 << 30, "1073741824")])
def test_cuda_is_asked_for_with_its_memory_limit(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, expected: str | None
) -> None:
    runtime = Runtime("CUDAExecutionProvider")
    monkeypatch.setattr("yolo_serving.model.ort", runtime)
    model = load_model(tiny_model, Execution(Provider.CUDA, gpu_memory_limit_bytes=limit))
    ((name, options),) = runtime.asked
    assert runtime.preloaded
    assert (name, options.get("gpu_mem_limit")) == ("CUDAExecutionProvider", expected)
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert model.run(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 6, 3)


def test_tensorrt_keeps_its_engines_where_the_image_may_write(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runtime = Runtime("TensorrtExecutionProvider")
    monkeypatch.setattr("yolo_serving.model.ort", runtime)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    load_model(tiny_model, Execution(Provider.TENSORRT, gpu_memory_limit_bytes=1 << 30))
    ((name, options),) = runtime.asked
    assert (name, options["trt_engine_cache_path"]) == ("TensorrtExecutionProvider", str(tmp_path / "tensorrt"))
    assert (options["trt_fp16_enable"], options["trt_max_workspace_size"]) == ("0", "1073741824")
    load_model(tiny_model, Execution(Provider.TENSORRT, tensorrt_fp16=True))
    assert runtime.asked[0][1]["trt_fp16_enable"] == "1"


def test_openvino_gets_its_threads(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime("OpenVINOExecutionProvider")
    monkeypatch.setattr("yolo_serving.model.ort", runtime)
    load_model(tiny_model, Execution(Provider.OPENVINO, threads=3))
    assert runtime.asked == [("OpenVINOExecutionProvider", {"num_of_threads": "3"})]
