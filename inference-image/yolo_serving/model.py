"""A YOLOv8 detector in an ONNX file, ready to run."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from yolo_serving.digest import file_digest
from yolo_serving.errors import ModelNotUsable, ProviderMissing
from yolo_serving.onnx_runtime import ort

_DEFAULT_SIDE: Final = 640


class Provider(StrEnum):
    """Where the model runs."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"


_PROVIDER_NAMES: Final[Mapping[Provider, str]] = {
    Provider.CPU: "CPUExecutionProvider",
    Provider.CUDA: "CUDAExecutionProvider",
    Provider.TENSORRT: "TensorrtExecutionProvider",
    Provider.OPENVINO: "OpenVINOExecutionProvider",
}


@dataclass(frozen=True, slots=True)
class Execution:
    """How to run: provider, threads of one forward pass, GPU memory limit (None: all there is).

    `tensorrt_fp16`: whether TensorRT may compute in half precision, which moves scores and boxes a little.
    """

    provider: Provider = Provider.CPU
    threads: int = 1
    gpu_memory_limit_bytes: int | None = None
    tensorrt_fp16: bool = False


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the file says about itself: input side in pixels, class names by number, sha256 of the file."""

    side: int
    class_names: tuple[str, ...]
    digest: str


class Model:
    """One ONNX Runtime session. `run` may be called from several threads."""

    def __init__(self, session: ort.InferenceSession, card: ModelCard, fixed_batch: int | None) -> None:
        self._session = session
        self._input_name: str = session.get_inputs()[0].name
        self._output_name: str = session.get_outputs()[0].name
        self.card = card
        # 1 where the file was exported for single pictures; None: any number.
        self.fixed_batch = fixed_batch

    @property
    def output_name(self) -> str:
        """Name of the raw head."""
        return self._output_name

    @property
    def input_name(self) -> str:
        """Name of the image input."""
        return self._input_name

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 3, side, side) RGB in 0..1 to the raw head (n, 4 + classes, anchors)."""
        head: NDArray[np.float32] = self._session.run([self._output_name], {self._input_name: batch})[0]
        return head

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """One dummy run per batch size: the first run of a shape allocates and, on a GPU, chooses kernels.

        Raises ModelNotUsable when the head does not have the shape of a YOLOv8 detector for these classes.
        """
        rows = 4 + len(self.card.class_names)
        for size in batch_sizes:
            try:
                head = self.run(np.zeros((size, 3, self.card.side, self.card.side), np.float32))
            except Exception as error:  # see _session
                sentence = str(error).splitlines()[0][:200]
                raise ModelNotUsable(f"The model cannot run on a batch of {size}: {sentence}") from error
            if head.ndim != 3 or head.shape[:2] != (size, rows):
                raise ModelNotUsable(
                    f"The model's output has shape {head.shape}; a YOLOv8 detector with {len(self.card.class_names)} "
                    f"classes, exported without NMS, answers a batch of {size} with ({size}, {rows}, anchors)."
                )


def load_model(path: Path, execution: Execution) -> Model:
    """Reads the file and creates the session.

    Raises ModelNotUsable for a missing or wrong file and ProviderMissing when the provider asked for is not the one
    that ONNX Runtime took: it falls back to the CPU silently.
    """
    if not path.is_file():
        raise ModelNotUsable(f"There is no model file at {path}; set MODEL_PATH or MODEL_URI.")
    session = _session(path, execution)
    metadata = session.get_modelmeta().custom_metadata_map
    task = metadata.get("task", "detect")
    if task != "detect":
        raise ModelNotUsable(f"{path} is a model for the task {task!r}; only 'detect' is served.")
    shape = session.get_inputs()[0].shape
    if len(shape) != 4:
        raise ModelNotUsable(f"{path} takes an input of shape {shape}; a YOLOv8 detector takes (n, 3, height, width).")
    if (datatype := session.get_inputs()[0].type) != "tensor(float)":
        raise ModelNotUsable(f"{path} takes {datatype}; only an input of 32-bit floats is served.")
    fixed_batch = shape[0] if isinstance(shape[0], int) else None
    if fixed_batch not in {None, 1}:
        raise ModelNotUsable(f"{path} takes only batches of {fixed_batch}; export it with dynamic=True or batch=1.")
    card = ModelCard(_side(path, metadata, shape), _class_names(path, metadata), file_digest(path))
    return Model(session, card, fixed_batch)


def _session(path: Path, execution: Execution) -> ort.InferenceSession:
    wanted = _PROVIDER_NAMES[execution.provider]
    if execution.provider is Provider.CUDA and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    if wanted not in ort.get_available_providers():
        raise ProviderMissing(
            f"PROVIDER={execution.provider} was asked for, but this build of ONNX Runtime offers only "
            f"{', '.join(ort.get_available_providers())}; use the GPU image or PROVIDER=cpu."
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = execution.threads
    options.inter_op_num_threads = 1
    # Spinning threads burn the cores that the HTTP server needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=[(wanted, _provider_options(execution))])
    except Exception as error:  # ONNX Runtime raises a family of pybind exceptions without a common public root
        raise ModelNotUsable(f"ONNX Runtime cannot load {path}: {str(error).splitlines()[0][:200]}") from error
    taken = session.get_providers()[0]
    if taken != wanted:
        raise ProviderMissing(
            f"PROVIDER={execution.provider} was asked for, but ONNX Runtime fell back to {taken}: "
            "check the GPU, its driver, and the CUDA and cuDNN libraries."
        )
    return session


def _provider_options(execution: Execution) -> dict[str, str]:
    match execution.provider:
        case Provider.CUDA:
            options = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
            if execution.gpu_memory_limit_bytes is not None:
                options["gpu_mem_limit"] = str(execution.gpu_memory_limit_bytes)
            return options
        case Provider.TENSORRT:
            options = {
                "trt_fp16_enable": str(int(execution.tensorrt_fp16)),
                "trt_engine_cache_enable": "1",
                # By default the working directory, which nobody may write to in the image.
                "trt_engine_cache_path": str(Path(tempfile.gettempdir()) / "tensorrt"),
            }
            if execution.gpu_memory_limit_bytes is not None:
                options["trt_max_workspace_size"] = str(execution.gpu_memory_limit_bytes)
            return options
        case Provider.OPENVINO:
            return {"num_of_threads": str(execution.threads)}
        case Provider.CPU:
            return {}


def _side(path: Path, metadata: Mapping[str, str], shape: Sequence[int | str]) -> int:
    """Input side in pixels: fixed by the file, else what it was exported with (metadata `imgsz`)."""
    if isinstance(shape[2], int) and isinstance(shape[3], int):
        height, width = shape[2], shape[3]
    else:
        height, width = _exported_size(path, metadata)
    if height != width or height < 1:
        raise ModelNotUsable(f"{path} takes pictures of {width} x {height}; only square inputs are served.")
    return height


def _exported_size(path: Path, metadata: Mapping[str, str]) -> tuple[int, int]:
    match _literal(path, metadata, "imgsz", [_DEFAULT_SIDE, _DEFAULT_SIDE]):
        case [int(height), int(width)]:
            return height, width
        case other:
            raise ModelNotUsable(f"{path} says it takes pictures of {other!r}; two whole numbers are expected.")


def _class_names(path: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    names = _literal(path, metadata, "names", None)
    if not isinstance(names, dict) or sorted(names) != list(range(len(names))) or not names:
        raise ModelNotUsable(f"{path} carries no class names (metadata 'names'); export it with ultralytics.")
    return tuple(str(names[index]) for index in range(len(names)))


def _literal(path: Path, metadata: Mapping[str, str], key: str, default: object) -> object:
    """A Python literal from the file's metadata, as ultralytics writes it."""
    if key not in metadata:
        return default
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError) as error:
        raise ModelNotUsable(f"{path} has unreadable metadata {key!r}.") from error
