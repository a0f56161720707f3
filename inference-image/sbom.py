"""What is in the image besides its Debian base, as a CycloneDX 1.6 document (field names: cyclonedx.org/docs/1.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def packages(requirements: str) -> list[tuple[str, str]]:
    """Name and version of every pinned package."""
    return [(name.lower(), version) for name, version in _PINNED.findall(requirements)]


def bill_of_materials(requirements: Path, arguments: Mapping[str, str]) -> dict[str, object]:
    """Python packages and the model. The same input gives the same document: no time and no serial number."""
    libraries = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in packages(requirements.read_text(encoding="utf-8"))
    ]
    model = {
        "type": "machine-learning-model",
        "name": arguments["MODEL_NAME"],
        "version": arguments["MODEL_VERSION"],
        "hashes": [{"alg": "SHA-256", "content": arguments["MODEL_DIGEST"]}],
        "licenses": [{"expression": arguments["MODEL_LICENCE"]}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "name": arguments["MODEL_NAME"],
                "version": arguments["MODEL_VERSION"],
            }
        },
        "components": [*libraries, model],
    }
