"""Finds the model file that the settings name, and the version it goes by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from yolo_serving.errors import BadSetting, ModelNotUsable
from yolo_serving.settings import Settings


@dataclass(frozen=True, slots=True)
class LocatedModel:
    """The file on this machine and the version to answer with."""

    path: Path
    version: str


def find_model(settings: Settings) -> LocatedModel:
    """The model file; raises BadSetting for a location that is neither a path nor a file: URI.

    Version: MODEL_VERSION, else `version` in the `model.json` beside the file, else `unknown`.
    """
    path = _path(settings.model_location)
    return LocatedModel(path, settings.model_version or _version_beside(path) or "unknown")


def _path(location: str) -> Path:
    if "://" not in location:
        return Path(location)
    parts = urlsplit(location)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        raise BadSetting(f"MODEL_URI={location!r}: only paths and file:/// addresses are served; mount the model.")
    return Path(unquote(parts.path))


def _version_beside(path: Path) -> str | None:
    card = path.with_name("model.json")
    if not card.is_file():
        return None
    try:
        version = json.loads(card.read_text(encoding="utf-8")).get("version")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelNotUsable(f"{card} beside the model is not readable JSON: {error}") from error
    return version if isinstance(version, str) else None
