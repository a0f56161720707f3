"""Puts together the folder that the image is built from, and says with which arguments.

    python inference-image/image_context.py v1.2.0-errors --models "$(python inference-image/build_models.py)" CONTEXT

Prints JSON: {"tag", "context", "dockerfile", "build_args"}. The contexts of all versions of one model differ in the
small `image.json` and SBOM only, so that they share every other layer. `--list` names the versions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sbom import bill_of_materials

HERE = Path(__file__).resolve().parent
IMAGE_NAME = "yolov8-shapes"
# Looked for by the image that turns bad on command; mount a volume there.
FAULT_FILE = "/faults/errors"


@dataclass(frozen=True, slots=True)
class Variant:
    """One version of the image: whose weights it has, and what is wrong with it."""

    model: str
    fault: str = "none"


VARIANTS: Mapping[str, Variant] = {
    "v1.0.0": Variant("v1.0.0"),
    "v1.1.0": Variant("v1.1.0"),
    "v1.2.0-errors": Variant("v1.1.0", "errors"),
    "v1.2.0-slow": Variant("v1.1.0", "slow:150"),
    "v1.2.0-crash": Variant("v1.1.0", "crash:20"),
    "v1.2.0-never-ready": Variant("v1.1.0", "never-ready"),
    "v1.2.0-turns-bad": Variant("v1.1.0", f"errors-when-file:{FAULT_FILE}"),
    # Two that are the same, and one that is until it turns worse: for series of releases.
    "v1.3.0-half-percent": Variant("v1.1.0", "errors:0.005"),
    "v1.3.1-half-percent": Variant("v1.1.0", "errors:0.005"),
    "v1.3.2-turns-worse": Variant("v1.1.0", f"errors:0.005,errors-when-file:{FAULT_FILE}:0.2"),
}


def assemble(model: Path, context: Path, arguments: Mapping[str, str], requirements: str) -> None:
    """Fills the folder: Dockerfile, requirements, package, `model/`, `image.json`, SBOM. What was in it before goes."""
    shutil.rmtree(context, ignore_errors=True)
    (context / "model").mkdir(parents=True)
    for file in (HERE / "Dockerfile", *HERE.glob("requirements-serve-*.txt")):
        shutil.copyfile(file, context / file.name)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(HERE / "yolo_serving", context / "yolo_serving", ignore=ignored)
    for name in ("model.onnx", "model.json"):
        shutil.copyfile(model / name, context / "model" / name)
    (context / "image.json").write_text(json.dumps(arguments, indent=1) + "\n", encoding="utf-8")
    bill = bill_of_materials(HERE / requirements, arguments)
    (context / "sbom.cdx.json").write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    for path in (context, *context.rglob("*")):
        # Readable for the image's user whatever the umask was when the files were made.
        path.chmod(0o755 if path.is_dir() else 0o644)


def build_args(version: str, fault: str, model: Path) -> dict[str, str]:
    """The arguments that make this version of the image; digest and accuracy come from the model's own card."""
    card = json.loads((model / "model.json").read_text(encoding="utf-8"))
    return {
        "MODEL_NAME": IMAGE_NAME,
        "MODEL_VERSION": version,
        "MODEL_DIGEST": str(card["sha256"]),
        "MODEL_MAP50": str(card["map50"]),
        "FAULT": fault,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the build context of one version of the inference image.")
    parser.add_argument("version", nargs="?", help="one of --list, or any other with --model and --fault")
    parser.add_argument("context", nargs="?", type=Path)
    parser.add_argument("--models", type=Path, help="what build_models.py printed")
    parser.add_argument("--model", help="folder below --models (default: the version's own)")
    parser.add_argument("--fault", help="value of FAULT (default: the version's own)")
    parser.add_argument("--hardware", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(VARIANTS))
        return 0
    if not (options.version and options.context and options.models):
        parser.error("version, context and --models are needed")
    known = VARIANTS.get(options.version, Variant(options.model or "", options.fault or "none"))
    model = options.models / (options.model or known.model)
    if not (model / "model.onnx").is_file():
        print(f"There is no model in {model}; known versions: {', '.join(VARIANTS)}.", file=sys.stderr)
        return 1
    chosen = build_args(options.version, options.fault or known.fault, model)
    requirements = f"requirements-serve-{options.hardware}.txt"
    if options.hardware != "cpu":
        chosen |= {"REQUIREMENTS": requirements, "PROVIDER": "cuda"}
    assemble(model, options.context, chosen, requirements)
    answer = {
        "tag": f"{IMAGE_NAME}:{options.version}{'' if options.hardware == 'cpu' else '-gpu'}",
        "context": str(options.context),
        "dockerfile": str(options.context / "Dockerfile"),
        "build_args": chosen,
    }
    print(json.dumps(answer, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
