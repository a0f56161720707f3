"""Finds the model file that the settings name, fetching it where it is not on this machine, and its version."""

from __future__ import annotations

import http.client
import json
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from yolo_serving.digest import file_digest
from yolo_serving.errors import BadSetting, ModelNotUsable

_ATTEMPTS: Final = 3
_PAUSE_SECONDS: Final = 1.0
_SILENCE_SECONDS: Final = 30.0
_DOWNLOAD_SECONDS: Final = 1800.0
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the model comes from.

    `location`: a path, or an address with file:, http: or https:; `version`: None to read it from `model.json`;
    `sha256`: what the file must hash to, or None; `max_bytes`: of a download.
    """

    location: str
    version: str | None
    sha256: str | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class LocatedModel:
    """The file on this machine and the version to answer with."""

    path: Path
    version: str


def find_model(source: ModelSource) -> LocatedModel:
    """The model file.

    Raises BadSetting for an address of another kind and ModelNotUsable when it cannot be fetched or is another file
    than `sha256` says. Version: the source's, else `version` in the `model.json` beside the file, else `unknown`.
    """
    path = _path(source)
    if source.sha256 is not None and path.is_file() and (found := file_digest(path)) != source.sha256.lower():
        raise ModelNotUsable(f"MODEL_SHA256 is {source.sha256}, but the model file hashes to {found}.")
    return LocatedModel(path, source.version or _version_beside(path) or "unknown")


def _path(source: ModelSource) -> Path:
    if "://" not in source.location:
        return Path(source.location)
    parts = _address(source.location)
    match parts.scheme:
        case "file" if parts.netloc in {"", "localhost"}:
            return Path(unquote(parts.path))
        case "http" | "https" if parts.username is not None or parts.password is not None:
            raise BadSetting(
                f"MODEL_URI={_shown(source.location)!r} has a user or a password in front of its host, which is not "
                "served; give a signed address."
            )
        case "http" | "https":
            return _fetched(source)
        case _:
            raise BadSetting(
                f"MODEL_URI={_shown(source.location)!r}: only a path, file:///, http:// or https:// is served; "
                "mount the model, or give a signed https address."
            )


def _address(location: str) -> SplitResult:
    """The parts of an address whose host and port can be read."""
    try:
        parts = urlsplit(location)
        # Read only here; `port` raises for what is no number below 65536.
        _ = parts.port
    except ValueError as error:
        # Not the address itself: where it cannot be read, nobody knows what in it is secret.
        raise BadSetting(f"MODEL_URI is no address that can be read: {error}.") from None
    return parts


def _fetched(source: ModelSource) -> Path:
    """Downloads into a folder of its own; tries again when the connection fails, not when the answer is no."""
    try:
        target = Path(tempfile.mkdtemp(prefix="model-")) / "model.onnx"
    except OSError as error:
        raise ModelNotUsable(
            f"There is no folder to download the model to ({error}); mount a volume at /tmp."
        ) from None
    attempt = 0
    while True:
        attempt += 1
        try:
            _download(source, target)
        except urllib.error.HTTPError as error:
            error.close()
            raise ModelNotUsable(f"{_shown(source.location)} answers {error.code} {error.reason}.") from None
        except (OSError, http.client.HTTPException) as error:
            if attempt == _ATTEMPTS:
                raise ModelNotUsable(f"{_shown(source.location)} cannot be fetched: {error}.") from None
            time.sleep(_PAUSE_SECONDS * attempt)
        else:
            return target


def _download(source: ModelSource, target: Path) -> None:
    with (
        urllib.request.urlopen(source.location, timeout=_SILENCE_SECONDS) as answer,  # noqa: S310  # http or https
        target.open("wb") as file,
    ):
        declared = answer.headers.get("content-length")
        size = 0
        started = time.monotonic()
        while chunk := answer.read1(_CHUNK_BYTES):
            size += len(chunk)
            if size > source.max_bytes:
                shutil.rmtree(target.parent)
                raise ModelNotUsable(f"{_shown(source.location)} has more than {source.max_bytes} bytes.")
            if time.monotonic() - started > _DOWNLOAD_SECONDS:
                raise ModelNotUsable(
                    f"{_shown(source.location)} did not come within {_DOWNLOAD_SECONDS:g} s; {size} bytes did."
                )
            file.write(chunk)
        if declared is not None and str(size) != declared.strip():
            raise ConnectionError(f"it ended after {size} of {declared} bytes")


def _shown(location: str) -> str:
    """The address without user, password and signature."""
    parts = urlsplit(location)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _version_beside(path: Path) -> str | None:
    card = path.with_name("model.json")
    if not card.is_file():
        return None
    try:
        version = json.loads(card.read_text(encoding="utf-8")).get("version")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelNotUsable(f"{card} beside the model is not readable JSON: {error}") from error
    return version if isinstance(version, str) else None
