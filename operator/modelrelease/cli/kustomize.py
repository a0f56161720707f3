"""The little of kustomize that our own kustomizations use, so that what is rendered needs no other program.

What it does not know it refuses; a test on a real API server compares it with `kubectl kustomize`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]

_CLUSTER_WIDE = frozenset(
    {
        "Namespace",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
)
_KNOWN = frozenset({"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "generatorOptions", "images"})


def render(folder: Path) -> list[Document]:
    """The objects of the kustomization in `folder`, in its order. Raises ValueError for what is not supported."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    unknown = set(kustomization) - _KNOWN
    if unknown:
        raise ValueError(f"{folder}: {', '.join(sorted(unknown))} of kustomize is not supported here")
    documents = [document for name in kustomization["resources"] for document in _resource(folder / name)]
    documents += [_config_map(folder, made, kustomization) for made in kustomization.get("configMapGenerator", ())]
    for image in kustomization.get("images", ()):
        for document in documents:
            _set_tag(document, image)
    if "namespace" in kustomization:
        for document in documents:
            _set_namespace(document, kustomization["namespace"])
    return documents


def _resource(path: Path) -> Iterator[Document]:
    if path.is_dir():
        yield from render(path)
    else:
        yield from (each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each)


def _config_map(folder: Path, made: Document, kustomization: Document) -> Document:
    options = {**kustomization.get("generatorOptions", {}), **made.get("options", {})}
    if set(made) - {"name", "files", "options"} or not options.get("disableNameSuffixHash"):
        raise ValueError(f"{folder}: a configMapGenerator of this kind is not supported here")
    files = [folder / name for name in made["files"]]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": made["name"], "labels": options.get("labels", {})},
        "data": {path.name: path.read_text(encoding="utf-8") for path in files},
    }


def _set_tag(document: Document, image: Document) -> None:
    pod = document.get("spec", {}).get("template", {}).get("spec", {}) if document["kind"] == "Deployment" else {}
    for container in pod.get("containers", ()):
        name = container["image"].rpartition(":")[0] or container["image"]
        if name == image["name"]:
            container["image"] = f"{image.get('newName', name)}:{image['newTag']}"


def _set_namespace(document: Document, namespace: str) -> None:
    if document["kind"] not in _CLUSTER_WIDE:
        document["metadata"]["namespace"] = namespace
    for subject in document.get("subjects", ()):
        if subject["kind"] == "ServiceAccount":
            subject["namespace"] = namespace
