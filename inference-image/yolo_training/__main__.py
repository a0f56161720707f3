"""`python -m yolo_training train|evaluate|export|verify|dataset`: from pictures to a model that may be released."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from yolo_serving.detections import Thresholds
from yolo_serving.errors import ModelNotUsable
from yolo_training.dataset import write_shapes_dataset
from yolo_training.evaluation import GateFailed, evaluate
from yolo_training.inputs import (
    InputUnusable,
    existing_file,
    input_side,
    pictures_in,
    require_absent,
    require_splits,
)
from yolo_training.model_folder import Version, make_folder
from yolo_training.own_dataset import OwnRun, train_own
from yolo_training.precision import Precision
from yolo_training.training import EARLIER_VERSION, FINAL_VERSION, Recipe, train_versions
from yolo_training.verification import Tolerance, table, verify

_DEFAULTS = Recipe()
_DEFAULT_EPOCHS = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 1 with a sentence where something given is unusable, a model is below the gate, or does not
    agree with its export."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "train" and options.dataset is not None and options.name is None:
        parser.error("--dataset needs --name: what the model and its image are called")
    work = Path(tempfile.mkdtemp(prefix="yolo-training-"))
    try:
        return _run(options, work)
    except (GateFailed, InputUnusable, ModelNotUsable) as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(options: argparse.Namespace, work: Path) -> int:
    match options.command:
        case "train" if options.dataset is None:
            for folder in (EARLIER_VERSION, FINAL_VERSION):
                require_absent(options.target / folder)
            recipe = Recipe(seed=options.seed, epochs=options.epochs or _DEFAULTS.epochs, gate=options.gate)
            train_versions(options.target, work, recipe)
        case "train":
            print(train_own(options.target, work, _own_run(options)))
        case "evaluate":
            require_splits(options.dataset, options.split)
            side = options.side or input_side(options.model)
            accuracy = evaluate(options.model, options.dataset, split=options.split, side=side, work=work)
            print(accuracy)
            accuracy.require(options.gate)
        case "export":
            version = Version(
                options.name, options.version or options.folder.name, options.dataset,
                options.side or input_side(options.weights), options.gate, options.precision,
            )  # fmt: skip
            print(make_folder(options.folder, options.weights, version, {"checkpoint": options.weights.name}))
        case "verify":
            pictures = pictures_in(options.pictures)
            tolerance = Tolerance(options.least_iou, options.score_difference)
            comparisons = verify(options.weights, options.onnx, pictures, Thresholds(options.conf), tolerance)
            print(table(comparisons))
            return 0 if all(comparison.agrees for comparison in comparisons) else 1
        case "dataset":
            print(write_shapes_dataset(options.target, _DEFAULTS.size, options.seed))
    return 0


def _own_run(options: argparse.Namespace) -> OwnRun:
    made = Version(options.name, options.version, options.dataset, options.side, options.gate)
    return OwnRun(made, options.start, options.epochs or _DEFAULT_EPOCHS, options.seed, options.device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m yolo_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="two versions from generated shapes, or one from --dataset")
    train.add_argument("target", type=Path)
    train.add_argument("--seed", type=int, default=_DEFAULTS.seed)
    train.add_argument("--epochs", type=int, help="default: 10 for shapes, 100 for a dataset")
    train.add_argument("--gate", type=float, default=_DEFAULTS.gate, help="least mAP@0.5 on held-out pictures")
    train.add_argument("--dataset", type=Path, help="dataset YAML with train, val and test")
    train.add_argument("--name", help="with --dataset: what the model is called")
    train.add_argument("--version", default="v1.0.0", help="with --dataset: the name of the version")
    train.add_argument("--start", default="yolov8n.yaml", help="with --dataset: architecture or weights")
    train.add_argument("--side", type=int, default=640, help="with --dataset: input side in pixels")
    train.add_argument("--device", default="cpu", help="with --dataset: cpu, or the number of a GPU")
    judge = commands.add_parser("evaluate", help="mAP of a .pt or .onnx file; fails below the gate")
    judge.add_argument("model", type=existing_file)
    judge.add_argument("dataset", type=Path, help="dataset YAML as ultralytics reads it")
    judge.add_argument("--split", default="test")
    judge.add_argument("--side", type=int, help="input side in pixels (default: the model's own)")
    judge.add_argument("--gate", type=float, default=_DEFAULTS.gate)
    export = commands.add_parser("export", help="a folder to build an image from, out of weights; fails below the gate")
    export.add_argument("weights", type=existing_file)
    export.add_argument("folder", type=Path, help="new folder for model.onnx, model.json and model.pt")
    export.add_argument("dataset", type=Path, help="dataset YAML: test to evaluate on, val to calibrate int8 with")
    export.add_argument("--name", required=True, help="what the model is called")
    export.add_argument("--version", help="default: the folder's name")
    export.add_argument("--side", type=int, help="input side in pixels (default: what the weights were trained with)")
    export.add_argument("--precision", type=Precision, choices=list(Precision), default=Precision.FP32)
    export.add_argument("--gate", type=float, default=_DEFAULTS.gate, help="least mAP@0.5 of what was exported")
    check = commands.add_parser("verify", help="compare the exported model, as served, with the trained one")
    check.add_argument("weights", type=existing_file)
    check.add_argument("onnx", type=existing_file)
    check.add_argument("pictures", type=Path, help="folder with JPEGs or PNGs")
    check.add_argument("--conf", type=float, default=Thresholds().confidence)
    check.add_argument("--least-iou", type=float, default=Tolerance().iou)
    check.add_argument("--score-difference", type=float, default=Tolerance().score)
    dataset = commands.add_parser("dataset", help="write the generated shapes as a dataset folder")
    dataset.add_argument("target", type=Path)
    dataset.add_argument("--seed", type=int, default=_DEFAULTS.seed)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
