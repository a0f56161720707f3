"""What is in the image, as a CycloneDX 1.6 document (field names: cyclonedx.org/docs/1.6).

    python sbom.py image.json > sbom.cdx.json

Runs while the image is built, by the image's Python: it lists what was installed, not what was asked for.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

Component = dict[str, object]


def python_packages(installed: Iterable[Distribution]) -> list[Component]:
    """One component per distribution, by name, with its licence where it states one in SPDX."""
    return sorted((_python_package(one) for one in installed), key=_name)


def _python_package(installed: Distribution) -> Component:
    name, version = installed.name.lower(), installed.version
    component: Component = {"type": "library", "name": name, "version": version}
    component["purl"] = f"pkg:pypi/{name.replace('_', '-')}@{quote(version, safe='')}"
    if licence := installed.metadata.json.get("license_expression"):
        component["licenses"] = [{"expression": licence}]
    return component


def debian_packages(status: str, distribution: str) -> list[Component]:
    """One component per installed package of dpkg's status file; `distribution`: such as `debian-12`."""
    components: list[Component] = []
    for paragraph in status.split("\n\n"):
        # Continuation lines begin with a blank: none of the fields below has them.
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            name, version = fields["Package"], fields["Version"]
            vendor = distribution.partition("-")[0]
            qualifiers = f"arch={fields['Architecture']}&distro={distribution}"
            purl = f"pkg:deb/{vendor}/{quote(name, safe='')}@{quote(version, safe='')}?{qualifiers}"
            components.append({"type": "library", "name": name, "version": version, "purl": purl})
    return sorted(components, key=_name)


def _name(component: Mapping[str, object]) -> str:
    return str(component["name"])


def bill_of_materials(arguments: Mapping[str, str], packages: Iterable[Component]) -> Component:
    """Packages, Python and the model. The same input gives the same document: no time and no serial number."""
    version = platform.python_version()
    python = {"type": "platform", "name": "python", "version": version, "purl": f"pkg:generic/python@{version}"}
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
        "components": [*packages, python, model],
    }


def main() -> None:
    """Command line."""
    arguments = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    release = platform.freedesktop_os_release()
    status = Path("/var/lib/dpkg/status").read_text(encoding="utf-8")
    base = debian_packages(status, f"{release['ID']}-{release.get('VERSION_ID', 'unknown')}")
    json.dump(bill_of_materials(arguments, [*python_packages(distributions()), *base]), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
