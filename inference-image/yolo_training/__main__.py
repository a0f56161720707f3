"""`python -m yolo_training train|evaluate|export`: from generated pictures to a model file that may be released."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from yolo_training.evaluation import GateFailed, evaluate
from yolo_training.exporting import export_onnx
from yolo_training.training import Recipe, train_versions

_DEFAULTS = Recipe()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 1 when a model is below the gate."""
    options = _parser().parse_args(arguments)
    work = Path(tempfile.mkdtemp(prefix="yolo-training-"))
    try:
        match options.command:
            case "train":
                recipe = Recipe(seed=options.seed, epochs=options.epochs, gate=options.gate)
                train_versions(options.target, work, recipe)
            case "evaluate":
                accuracy = evaluate(options.model, options.dataset, split=options.split, side=options.side, work=work)
                print(accuracy)
                accuracy.require(options.gate)
            case "export":
                print(export_onnx(options.weights, options.side))
    except GateFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m yolo_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train on generated shapes; two versions with their ONNX files")
    train.add_argument("target", type=Path)
    train.add_argument("--seed", type=int, default=_DEFAULTS.seed)
    train.add_argument("--epochs", type=int, default=_DEFAULTS.epochs)
    train.add_argument("--gate", type=float, default=_DEFAULTS.gate, help="least mAP@0.5 on held-out pictures")
    judge = commands.add_parser("evaluate", help="mAP of a .pt or .onnx file; fails below the gate")
    judge.add_argument("model", type=Path)
    judge.add_argument("dataset", type=Path, help="dataset YAML as ultralytics reads it")
    judge.add_argument("--split", default="test")
    judge.add_argument("--side", type=int, default=640, help="input side in pixels")
    judge.add_argument("--gate", type=float, default=_DEFAULTS.gate)
    export = commands.add_parser("export", help="an ONNX file beside the weights")
    export.add_argument("weights", type=Path)
    export.add_argument("--side", type=int, default=640)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
