"""What a report was made with: versions of the parts that run, and digests of the images."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

from demo.images import REPOSITORY, Image
from localcluster.provision import envoy, go

_ANSWER_SECONDS = 10.0
_PINNED = {
    REPOSITORY / "operator/requirements.txt": ("kopf", "kubernetes", "prometheus-api-client"),
    REPOSITORY / "inference-image/requirements-serve-cpu.txt": ("onnxruntime",),
    REPOSITORY / "inference-image/requirements-train.txt": ("ultralytics",),
}
"""Packages whose work the demonstration shows, and the files that images are built from."""


def versions(prometheus_url: str, images: dict[str, Image]) -> dict[str, str]:
    """Version by part; images, by what they are called in the play, as reference with digest."""
    return {
        "kubernetes": go.KUBERNETES.version(),
        "istio": go.ISTIO.version(),
        "envoy": envoy.VERSION,
        "prometheus": prometheus_version(prometheus_url),
        **{f"package {name}": version for path, names in _PINNED.items() for name, version in pinned(path, names)},
        **{f"image {name}": f"{image.reference}@{image.digest}" for name, image in images.items()},
    }


def pinned(path: Path, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """(name, version) as the requirement file pins them. Raises KeyError for a package that it does not pin."""
    found = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    return [(name, found[name]) for name in names]


def prometheus_version(url: str) -> str:
    """As the Prometheus that runs says itself."""
    with urllib.request.urlopen(f"{url}/api/v1/status/buildinfo", timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - http
        return str(json.load(answer)["data"]["version"])
