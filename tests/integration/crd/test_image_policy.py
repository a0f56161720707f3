"""Which images may be released: the policy on images, on a real API server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from integration.crd.releases import ROOT, eventually
from localcluster.controlplane import ControlPlane
from localcluster.errors import CommandFailed

NAMESPACE = "image-policy"
POLICY = "modelrelease-images"
DIGEST = "@sha256:" + "0123456789abcdef" * 4
GOOD = f"harbor.example.com/vision/yolov8-detect:v1.2.0{DIGEST}"
TAGGED = "harbor.example.com/vision/yolov8-detect:v1.2.0"

Write = Callable[..., str]


@pytest.fixture(scope="module")
def write(installed: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Write]:
    """Writes a release with these images where the policy is in force; in one namespace, to be in nobody's way."""
    overlay = tmp_path_factory.mktemp("images")
    (overlay / "kustomization.yaml").write_text(
        f"components: [{os.path.relpath(ROOT / 'deploy/policies/images', overlay)}]\n", encoding="utf-8"
    )
    documents = list(yaml.safe_load_all(installed.kubectl("kustomize", overlay)))
    for document in documents:
        if document["kind"] == "ValidatingAdmissionPolicyBinding":
            here = {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
            document["spec"]["matchResources"] = {"namespaceSelector": here}
    installed.kubectl("create", "namespace", NAMESPACE)
    _write(installed, "before", TAGGED)
    installed.apply(yaml.safe_dump_all(documents))

    def is_refused() -> bool:
        try:
            _write(installed, "probe", TAGGED, dry_run=True)
        except CommandFailed:
            return True
        return False

    eventually(is_refused)
    yield lambda *words, **options: _write(installed, *words, **options)
    installed.kubectl("delete", "--filename=-", stdin=yaml.safe_dump_all(documents))


def _write(
    installed: ControlPlane, name: str, *images: str, dry_run: bool = False, note: str = "", volume: str = ""
) -> str:
    """The first image is released; the others are those of containers in the pod template."""
    spec: dict[str, Any] = {"image": images[0], "workload": {"deployment": name}}
    if len(images) > 1:
        containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images[1:])]
        spec["workload"]["template"] = {"spec": {"containers": containers, "initContainers": containers[:1]}}
    if volume:
        template = {
            "spec": {
                "containers": [{"name": "yolov8"}],
                "volumes": [{"name": "weights", "image": {"reference": volume}}],
            }
        }
        spec["workload"]["template"] = template
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": {"note": note}}
    body = {"apiVersion": "modelrelease.dev/v1alpha1", "kind": "ModelRelease", "metadata": metadata, "spec": spec}
    words = ["apply", "--server-side", *(["--dry-run=server"] if dry_run else []), "--filename=-"]
    return installed.kubectl(*words, stdin=json.dumps(body))


def configure(installed: ControlPlane, **expressions: str) -> None:
    """The first variables of the policy are what it asks for."""
    policy = json.loads(installed.kubectl("get", "validatingadmissionpolicy", POLICY, "--output=json"))
    names = [one["name"] for one in policy["spec"]["variables"]]
    patch = [
        {"op": "replace", "path": f"/spec/variables/{names.index(name)}/expression", "value": expression}
        for name, expression in expressions.items()
    ]
    installed.kubectl("patch", "validatingadmissionpolicy", POLICY, "--type=json", f"--patch={json.dumps(patch)}")


def refusal(write: Write, *images: str, volume: str = "") -> str:
    with pytest.raises(CommandFailed) as caught:
        write("refused", *images, dry_run=True, volume=volume)
    return str(caught.value)


@pytest.fixture
def registries(installed: ControlPlane, write: Write) -> Iterator[None]:
    """Only from two places; back to everywhere afterwards."""
    configure(installed, registries="['harbor.example.com/vision', 'ghcr.io/ultralytics/']")
    eventually(lambda: not _is_written(write, "elsewhere", f"quay.io/vision/yolov8{DIGEST}"))
    yield
    configure(installed, registries="[]")
    eventually(lambda: _is_written(write, "elsewhere", f"quay.io/vision/yolov8{DIGEST}"))


def test_an_image_without_digest_is_refused_with_its_name(write: Write) -> None:
    assert f"images must be given by digest here (name@sha256:…), which {TAGGED} is not" in refusal(write, TAGGED)
    assert "serverside-applied" in write("by-digest", GOOD, dry_run=True)


@pytest.mark.parametrize("digest", ["@md5:" + "0" * 64, DIGEST.upper(), ":sha256-" + "0" * 64])
def test_what_only_looks_like_a_digest_is_none(write: Write, digest: str) -> None:
    assert "images must be given by digest here" in refusal(write, f"harbor.example.com/vision/yolov8{digest}")


def test_containers_beside_the_model_are_looked_at(write: Write) -> None:
    assert "which proxy:v1, proxy:v1 is not" in refusal(write, GOOD, "proxy:v1", GOOD)


def test_volumes_that_are_images_are_looked_at(write: Write) -> None:
    """Kubernetes mounts the content of an image, such as the weights of a model."""
    assert "which weights:v1 is not" in refusal(write, GOOD, volume="weights:v1")
    assert "serverside-applied" in write("by-digest", GOOD, dry_run=True, volume=f"weights:v1{DIGEST}")


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    "image",
    [
        "quay.io/vision/yolov8",
        "harbor.example.com/visionary/yolov8",
        "harbor.example.com.evil.example/vision/yolov8",
        "yolov8",
    ],
)
def test_an_image_from_elsewhere_is_refused(write: Write, image: str) -> None:
    assert (
        f"images must come from harbor.example.com/vision/ or ghcr.io/ultralytics/, which {image}{DIGEST} does not; "
        "write the registry out"
    ) in refusal(write, image + DIGEST)


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("image", ["harbor.example.com/vision/yolov8", "ghcr.io/ultralytics/deep/er/yolov8"])
def test_an_image_from_an_allowed_registry_passes(write: Write, image: str) -> None:
    assert "serverside-applied" in write("passes", image + DIGEST, dry_run=True)


def test_what_was_there_before_may_be_touched_but_not_given_another_tag(write: Write) -> None:
    """The operator itself must be able to write to a release that is older than the policy."""
    assert "serverside-applied" in write("before", TAGGED, note="touched")
    with pytest.raises(CommandFailed, match="by digest"):
        write("before", f"{TAGGED}-rc2")


def test_tags_may_be_allowed_again(installed: ControlPlane, write: Write) -> None:
    configure(installed, requireDigest="false")
    try:
        eventually(lambda: _is_written(write, "tagged", TAGGED))
    finally:
        configure(installed, requireDigest="true")
        eventually(lambda: not _is_written(write, "tagged", TAGGED))


def _is_written(write: Write, name: str, image: str) -> bool:
    try:
        return "serverside-applied" in write(name, image, dry_run=True)
    except CommandFailed:
        return False


@pytest.mark.usefixtures("write")
def test_the_expressions_are_well_typed(installed: ControlPlane) -> None:
    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            installed.kubectl("get", "validatingadmissionpolicy", POLICY, "--output=json")
        ).get("status", {})
        return found

    eventually(lambda: "observedGeneration" in status())
    assert {} == status().get("typeChecking", {})
