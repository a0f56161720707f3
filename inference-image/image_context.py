"""Puts together the folder that the image is built from, and says with which arguments.

    python inference-image/image_context.py v1.2.0-errors --models "$(python inference-image/build_models.py)" CONTEXT

Prints JSON: {"tag", "context", "dockerfile", "build_args"}. The context's Dockerfile has the arguments as its defaults,
so `docker build -t TAG CONTEXT` is all there is to say. The contexts of all versions of one model differ in defaults,
the small `image.json` only, so that their images share every layer but that of it and the SBOM. `--list` names the
versions.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_serving.digest import file_digest

HERE = Path(__file__).resolve().parent
# What a model is called whose card says nothing else: the demonstration's.
SHAPES_NAME = "yolov8-shapes"
_ARGUMENTS = "image.json"
# As ultralytics stamps it into what it exports.
ULTRALYTICS_LICENCE = "AGPL-3.0-only"
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


class Unusable(Exception):
    """No image can be made of what was given; `str()` is a sentence for the person who gave it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where model and image come from: SPDX expression of the model's licence, address and revision of the sources,
    and the image to build on (None: the Dockerfile's)."""

    licence: str = ULTRALYTICS_LICENCE
    source: str = "unknown"
    revision: str = "unknown"
    base: str | None = None


def assemble(model: Path, context: Path, arguments: Mapping[str, str]) -> None:
    """Fills the folder: Dockerfile, requirements, package, `model/`, `image.json`. An earlier context in it goes.

    Raises Unusable where the folder holds something else.
    """
    if context.exists() and any(context.iterdir()) and not (context / _ARGUMENTS).is_file():
        raise Unusable(f"{context} is not empty and no build context; it would be emptied. Name another folder.")
    recipe = with_defaults((HERE / "Dockerfile").read_text(encoding="utf-8"), arguments)
    shutil.rmtree(context, ignore_errors=True)
    (context / "model").mkdir(parents=True)
    # First: what makes the folder a context, should the rest be cut off.
    (context / _ARGUMENTS).write_text(json.dumps(arguments, indent=1) + "\n", encoding="utf-8")
    (context / "Dockerfile").write_text(recipe, encoding="utf-8")
    for file in (HERE / "sbom.py", *HERE.glob("requirements-serve-*.txt")):
        shutil.copyfile(file, context / file.name)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(HERE / "yolo_serving", context / "yolo_serving", ignore=ignored)
    for name in ("model.onnx", "model.json"):
        shutil.copyfile(model / name, context / "model" / name)
    for path in (context, *context.rglob("*")):
        # Readable for the image's user whatever the umask was when the files were made.
        path.chmod(0o755 if path.is_dir() else 0o644)


def with_defaults(dockerfile: str, arguments: Mapping[str, str]) -> str:
    """The Dockerfile with these defaults of its arguments: forgetting one on the command line gives no other image.

    Raises Unusable for a value that would not stay one value between the quotes.
    """
    for name, value in arguments.items():
        if not re.fullmatch(r"[\w.,:;/@%+~()?&=# -]+", value):
            raise Unusable(f"{name}={value!r} cannot be an argument of the image.")
        dockerfile = re.sub(rf"^ARG {name}=.*$", f'ARG {name}="{value}"', dockerfile, flags=re.MULTILINE)
    return dockerfile


def build_args(version: str, fault: str, model: Path, name: str | None, origin: Origin) -> dict[str, str]:
    """The arguments that make this version of the image; digest and accuracy come from the model's own card.

    Raises Unusable where the card is not that of the model beside it: its figures would be another model's.
    """
    card = json.loads((model / "model.json").read_text(encoding="utf-8"))
    digest = file_digest(model / "model.onnx")
    if card["sha256"] != digest:
        raise Unusable(
            f"{model / 'model.json'} describes another file: it says sha256 {card['sha256']}, model.onnx has {digest}. "
            "Make the folder anew (python -m yolo_training export)."
        )
    arguments = {
        "MODEL_NAME": name or str(card.get("name", SHAPES_NAME)),
        "MODEL_VERSION": version,
        "MODEL_DIGEST": digest,
        "MODEL_MAP50": str(card["map50"]),
        "MODEL_MAP50_95": str(card["map50_95"]),
        "MODEL_LICENCE": origin.licence,
        "SOURCE": origin.source,
        "REVISION": origin.revision,
        "FAULT": fault,
    }
    return arguments if origin.base is None else arguments | {"BASE_IMAGE": origin.base}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(VARIANTS))
        return 0
    if not (options.version and options.context and options.models):
        parser.error("version, context and --models are needed")
    try:
        print(json.dumps(_made(options), indent=1))
    except Unusable as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _made(options: argparse.Namespace) -> dict[str, object]:
    known = VARIANTS.get(options.version, Variant(options.model or options.version, options.fault or "none"))
    model = options.models / (options.model or known.model)
    for name in ("model.onnx", "model.json"):
        if not (model / name).is_file():
            raise Unusable(f"There is no {name} in {model}; known versions: {', '.join(VARIANTS)}.")
    origin = Origin(options.licence, options.source, options.revision, options.base)
    chosen = build_args(options.version, options.fault or known.fault, model, options.name, origin)
    if options.hardware == "gpu":
        chosen |= {"REQUIREMENTS": "requirements-serve-gpu.txt", "PROVIDER": "cuda"}
    assemble(model, options.context, chosen)
    return {
        "tag": f"{chosen['MODEL_NAME']}:{options.version}{'' if options.hardware == 'cpu' else '-gpu'}",
        "context": str(options.context),
        "dockerfile": str(options.context / "Dockerfile"),
        "build_args": chosen,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make the build context of one version of the inference image.")
    parser.add_argument("version", nargs="?", help="one of --list, or any other")
    parser.add_argument("context", nargs="?", type=Path)
    parser.add_argument("--models", type=Path, help="what build_models.py printed")
    parser.add_argument("--model", help="folder below --models (default: that of --list, else the version)")
    parser.add_argument("--name", help="what model and image are called (default: what model.json says)")
    parser.add_argument("--fault", help="value of FAULT (default: the version's own)")
    parser.add_argument("--hardware", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument(
        "--licence", default=ULTRALYTICS_LICENCE, help="SPDX expression of the model's licence (default: %(default)s)"
    )
    parser.add_argument("--source", default=Origin().source, help="address of the sources, for the image's label")
    parser.add_argument("--revision", default=Origin().revision, help="their revision, for the image's label")
    parser.add_argument("--base", help="image to build on, best by digest (default: the Dockerfile's)")
    parser.add_argument("--list", action="store_true")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
