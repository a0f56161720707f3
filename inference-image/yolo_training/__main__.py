"""`python -m yolo_training train|evaluate|export|verify|dataset`: from pictures to a model that may be released."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from yolo_serving.detections import Thresholds
from yolo_training.dataset import write_shapes_dataset
from yolo_training.evaluation import GateFailed, evaluate
from yolo_training.own_dataset import OwnRun, train_own
from yolo_training.precision import Precision, export_with_precision
from yolo_training.training import Recipe, train_versions
from yolo_training.verification import Tolerance, table, verify

_DEFAULTS = Recipe()
_DEFAULT_EPOCHS = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 1 when a model is below the gate or does not agree with its export."""
    options = _parser().parse_args(arguments)
    work = Path(tempfile.mkdtemp(prefix="yolo-training-"))
    try:
        return _run(options, work)
    except GateFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(options: argparse.Namespace, work: Path) -> int:
    match options.command:
        case "train" if options.dataset is None:
            recipe = Recipe(seed=options.seed, epochs=options.epochs or _DEFAULTS.epochs, gate=options.gate)
            train_versions(options.target, work, recipe)
        case "train":
            print(train_own(options.target, work, _own_run(options)))
        case "evaluate":
            accuracy = evaluate(options.model, options.dataset, split=options.split, side=options.side, work=work)
            print(accuracy)
            accuracy.require(options.gate)
        case "export":
            print(export_with_precision(options.weights, options.side, options.precision, options.calibration))
        case "verify":
            pictures = sorted(path for path in options.pictures.iterdir() if path.suffix in {".jpg", ".jpeg", ".png"})
            tolerance = Tolerance(options.least_iou, options.score_difference)
            comparisons = verify(options.weights, options.onnx, pictures, Thresholds(options.conf), tolerance)
            print(table(comparisons))
            return 0 if comparisons and all(comparison.agrees for comparison in comparisons) else 1
        case "dataset":
            print(write_shapes_dataset(options.target, _DEFAULTS.size, options.seed))
    return 0


def _own_run(options: argparse.Namespace) -> OwnRun:
    return OwnRun(
        dataset=options.dataset, version=options.version, start=options.start, side=options.side,
        epochs=options.epochs or _DEFAULT_EPOCHS, seed=options.seed, device=options.device, gate=options.gate,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m yolo_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="two versions from generated shapes, or one from --dataset")
    train.add_argument("target", type=Path)
    train.add_argument("--seed", type=int, default=_DEFAULTS.seed)
    train.add_argument("--epochs", type=int, help="default: 10 for shapes, 100 for a dataset")
    train.add_argument("--gate", type=float, default=_DEFAULTS.gate, help="least mAP@0.5 on held-out pictures")
    train.add_argument("--dataset", type=Path, help="dataset YAML with train, val and test")
    train.add_argument("--version", default="v1.0.0", help="with --dataset: the name of the version")
    train.add_argument("--start", default="yolov8n.yaml", help="with --dataset: architecture or weights")
    train.add_argument("--side", type=int, default=640, help="with --dataset: input side in pixels")
    train.add_argument("--device", default="cpu", help="with --dataset: cpu, or the number of a GPU")
    judge = commands.add_parser("evaluate", help="mAP of a .pt or .onnx file; fails below the gate")
    judge.add_argument("model", type=Path)
    judge.add_argument("dataset", type=Path, help="dataset YAML as ultralytics reads it")
    judge.add_argument("--split", default="test")
    judge.add_argument("--side", type=int, default=640, help="input side in pixels")
    judge.add_argument("--gate", type=float, default=_DEFAULTS.gate)
    export = commands.add_parser("export", help="an ONNX file beside the weights")
    export.add_argument("weights", type=Path)
    export.add_argument("--side", type=int, default=640)
    export.add_argument("--precision", type=Precision, choices=list(Precision), default=Precision.FP32)
    export.add_argument("--calibration", type=Path, help="with int8: dataset YAML")
    check = commands.add_parser("verify", help="compare the exported model, as served, with the trained one")
    check.add_argument("weights", type=Path)
    check.add_argument("onnx", type=Path)
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
