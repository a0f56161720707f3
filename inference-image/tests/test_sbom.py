from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import sbom

STATUS = """Package: libstdc++6
Status: install ok installed
Architecture: amd64
Source: gcc-12
Version: 12.2.0-14+deb12u1
Description: GNU Standard C++ Library v3
 Version: not a field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: apt
Status: install ok installed
Architecture: amd64
Version: 1:2.6.1
"""
ARGUMENTS = {
    "MODEL_NAME": "boats",
    "MODEL_VERSION": "v7",
    "MODEL_DIGEST": "f00",
    "MODEL_LICENCE": "LicenseRef-Ultralytics-Enterprise",
}


def test_installed_packages_of_the_base_with_their_addresses() -> None:
    assert [(one["name"], one["version"], one["purl"]) for one in sbom.debian_packages(STATUS, "debian-12")] == [
        ("apt", "1:2.6.1", "pkg:deb/debian/apt@1%3A2.6.1?arch=amd64&distro=debian-12"),
        (
            "libstdc++6",
            "12.2.0-14+deb12u1",
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12",
        ),
    ]


def test_python_packages_are_those_that_are_installed() -> None:
    found = {str(one["name"]): one for one in sbom.python_packages(distributions())}
    assert found["numpy"]["purl"] == f"pkg:pypi/numpy@{found['numpy']['version']}"
    assert found["pytest"]["version"] == next(one.version for one in distributions(name="pytest"))
    assert {"fastapi", "onnxruntime", "uvicorn"} <= found.keys()


def test_names_the_model_its_licence_and_python() -> None:
    bill = json.loads(json.dumps(sbom.bill_of_materials(ARGUMENTS, [])))
    python, model = bill["components"]
    assert (python["name"], python["version"]) == ("python", platform.python_version())
    assert (model["name"], model["version"]) == ("boats", "v7")
    assert model["licenses"] == [{"expression": "LicenseRef-Ultralytics-Enterprise"}]
    assert model["hashes"] == [{"alg": "SHA-256", "content": "f00"}]
    assert bill["metadata"] == {"component": {"type": "container", "name": "boats", "version": "v7"}}


def test_the_same_image_gives_the_same_document(tmp_path: Path) -> None:
    file = tmp_path / "image.json"
    file.write_text(json.dumps(ARGUMENTS))
    said = [
        subprocess.run([sys.executable, sbom.__file__, file], capture_output=True, timeout=60, check=True).stdout
        for _ in range(2)
    ]
    assert said[0] == said[1]
    assert json.loads(said[0])["components"][-1]["name"] == "boats"
