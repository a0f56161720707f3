"""Deployments and pods as the API server shows them."""

from __future__ import annotations

from typing import Any

import pytest

from modelrelease.controller.workload import deployment_seen, field_owner, is_gitops
from modelrelease.rollout.seen import PodTrouble
from simulation.world import deployment

DIGEST = "harbor.example.com/vision/yolov8-detect@sha256:" + "a" * 64
READY_AT = "2027-01-15T08:00:00Z"
READY_SECONDS = 1_800_000_000.0


def _pod(**changes: Any) -> dict[str, Any]:
    container = {
        "name": "server",
        "ready": True,
        "restartCount": 0,
        "imageID": DIGEST,
        "state": {"running": {}},
        **changes.pop("container", {}),
    }
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": READY_AT}
    status = {"conditions": [ready], "containerStatuses": [container], **changes.pop("status", {})}
    return {"metadata": {"name": "p", **changes.pop("metadata", {})}, "status": status}


def _deployment(status: dict[str, Any] | None = None, **changes: Any) -> Any:
    body: Any = deployment(2)
    body["metadata"].update({"generation": 3, **changes.pop("metadata", {})})
    body["spec"].update(changes)
    counts = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    body["status"] = {**counts, **(status or {})}
    return body


def _waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"ready": False, "state": {"waiting": {"reason": reason, "message": message}}, **more}


ADVICE = "; check that the image exists and that the pods' imagePullSecrets may pull it"
UNREADY = {"conditions": [{"type": "Ready", "status": "False"}]}
TROUBLES = {
    "ImagePullBackOff": (
        _pod(container=_waiting("ImagePullBackOff", 'Back-off pulling image "a:b"'), status=UNREADY),
        PodTrouble("ImagePullBackOff", f'Back-off pulling image "a:b"{ADVICE}'),
    ),
    "an image that is not there, as containerd and the kubelet say it": (
        _pod(
            container=_waiting(
                "ImagePullBackOff",
                'Back-off pulling image "r.example.com/a:v9": ErrImagePull: rpc error: code = NotFound desc = '
                'failed to pull and unpack image "r.example.com/a:v9": failed to resolve reference '
                '"r.example.com/a:v9": r.example.com/a:v9: not found',
            ),
            status=UNREADY,
        ),
        PodTrouble("ImagePullBackOff", f"r.example.com/a:v9: not found{ADVICE}"),
    ),
    "a full disk": (
        _pod(container=_waiting("ErrImagePull", "rpc error: code = Unknown desc = no space left"), status=UNREADY),
        PodTrouble("ErrImagePull", f"no space left{ADVICE}"),
    ),
    "CrashLoopBackOff with the last exit": (
        _pod(
            container=_waiting(
                "CrashLoopBackOff", "back-off 5m0s", lastState={"terminated": {"reason": "Error", "exitCode": 1}}
            ),
            status=UNREADY,
        ),
        PodTrouble("CrashLoopBackOff", "back-off 5m0s (last exit: Error 1)"),
    ),
    "OOMKilled": (
        _pod(
            container={"ready": False, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}},
            status=UNREADY,
        ),
        PodTrouble("OOMKilled", "restarted after exit code 137"),
    ),
    "terminated": (
        _pod(container={"ready": False, "state": {"terminated": {"exitCode": 2}}}, status=UNREADY),
        PodTrouble("Error", "exit code 2"),
    ),
    "Unschedulable": (
        _pod(
            status={
                "containerStatuses": [],
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                    }
                ],
            }
        ),
        PodTrouble("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
    ),
    "an init container": (
        _pod(
            status={
                "conditions": [],
                "containerStatuses": [],
                "initContainerStatuses": [{"name": "fetch", **_waiting("ImagePullBackOff", "no such image")}],
            }
        ),
        PodTrouble("ImagePullBackOff", f"no such image{ADVICE}"),
    ),
    "starting": (_pod(container=_waiting("ContainerCreating"), status=UNREADY), None),
    "restarted once but ready": (
        _pod(container={"lastState": {"terminated": {"reason": "Error", "exitCode": 1}}, "restartCount": 1}),
        None,
    ),
    "all well": (_pod(), None),
}


@pytest.mark.parametrize(("pod", "expected"), TROUBLES.values(), ids=[name.replace(" ", "-") for name in TROUBLES])
def test_troubles_are_quoted_from_the_kubelet_and_the_scheduler(pod: Any, expected: PodTrouble | None) -> None:
    assert expected == deployment_seen(_deployment(), [pod], None).trouble


CRASHES: dict[str, tuple[dict[str, Any], bool]] = {
    "serving": ({}, False),
    "not started yet": (_waiting("ContainerCreating"), False),
    "image cannot be pulled": (_waiting("ImagePullBackOff"), False),
    "ended with an error": ({"state": {"terminated": {"exitCode": 137}}}, True),
    "ended as it should": ({"state": {"terminated": {"exitCode": 0}}}, False),
    "was started again": ({"restartCount": 1}, True),
}


@pytest.mark.parametrize(("container", "expected"), CRASHES.values(), ids=[name.replace(" ", "-") for name in CRASHES])
def test_a_crash_is_told_from_a_pod_that_others_took_away(container: dict[str, Any], expected: bool) -> None:
    assert expected is deployment_seen(_deployment(), [_pod(container=container)], None).has_crashed


def test_a_quota_is_told_by_the_deployment_only() -> None:
    message = 'pods "a" is forbidden: exceeded quota'
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    assert (
        PodTrouble("FailedCreate", message)
        == deployment_seen(_deployment({"conditions": [condition]}), [], None).trouble
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, True),
        ({"observedGeneration": 2}, False),
        ({"updatedReplicas": 1}, False),
        ({"availableReplicas": 1}, False),
        ({"replicas": 3}, False),
    ],
    ids=["all", "not seen by its controller", "old pods", "not available", "surplus pods"],
)
def test_rolled_out_means_every_pod_is_new_and_available(status: dict[str, Any], expected: bool) -> None:
    assert expected is deployment_seen(_deployment(status), [], None).is_rolled_out


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        (DIGEST, DIGEST),
        (f"docker-pullable://{DIGEST}", DIGEST),
        ("sha256:" + "b" * 64, ""),
        ("docker.io/library/import-2027-01-15@sha256:" + "c" * 64, ""),
        ("", ""),
    ],
    ids=["containerd", "docker", "no repository", "imported by hand", "none yet"],
)
def test_the_digest_is_what_the_container_status_reports(image_id: str, expected: str) -> None:
    assert expected == deployment_seen(_deployment(), [_pod(container={"imageID": image_id})], None).digest


@pytest.mark.parametrize(
    ("image", "image_id"),
    [
        ("nginx:1.29", "docker.io/library/nginx@sha256:1"),
        ("vision/yolo", "docker.io/vision/yolo@sha256:1"),
        ("localhost:5000/yolo:v1", "localhost:5000/yolo@sha256:1"),
        ("harbor.example.com/yolo@sha256:1", "harbor.example.com/yolo@sha256:1"),
    ],
)
def test_short_names_of_repositories_are_known(image: str, image_id: str) -> None:
    body = _deployment()
    body["spec"]["template"]["spec"]["containers"][0]["image"] = image
    assert image_id == deployment_seen(body, [_pod(container={"imageID": image_id})], None).digest


def test_only_the_released_container_counts_for_the_digest() -> None:
    pod = _pod()
    pod["status"]["containerStatuses"].insert(0, {"name": "istio-proxy", "ready": True, "imageID": "proxy@sha256:1"})
    assert DIGEST == deployment_seen(_deployment(), [pod], "server").digest


def test_two_digests_are_both_reported_but_not_those_of_pods_that_go() -> None:
    other = DIGEST.replace("a" * 64, "d" * 64)
    pods = [_pod(), _pod(container={"imageID": other}), _pod(metadata={"deletionTimestamp": READY_AT})]
    assert tuple(sorted([DIGEST, other])) == deployment_seen(_deployment(), pods, None).digests


def test_when_its_pods_changed() -> None:
    later = _pod()
    later["status"]["conditions"][0]["lastTransitionTime"] = "2027-01-15T08:00:30Z"
    seen = deployment_seen(_deployment(), [_pod(), later], None)
    assert (READY_SECONDS + 30, READY_SECONDS) == (seen.pods_changed_at_seconds, seen.serving_since_seconds)
    assert (READY_SECONDS, READY_SECONDS + 30) == seen.pod_changes_seconds


def test_a_pod_that_is_taken_away_is_a_change_from_when_it_was_asked_to_go() -> None:
    going = _pod(metadata={"deletionTimestamp": "2027-01-15T08:02:00Z", "deletionGracePeriodSeconds": 30})
    seen = deployment_seen(_deployment(), [_pod(), going], None)
    assert (READY_SECONDS + 90, READY_SECONDS) == (seen.pods_changed_at_seconds, seen.serving_since_seconds)
    assert (READY_SECONDS + 90,) == seen.asked_to_go_seconds


def test_the_oldest_pod_is_one_that_stays() -> None:
    later, going = "2027-01-15T08:00:30Z", {"deletionTimestamp": READY_AT}
    pods = [
        _pod(metadata={"creationTimestamp": READY_AT, **going}),
        _pod(metadata={"creationTimestamp": later}),
        _pod(metadata={"creationTimestamp": "2027-01-15T08:01:00Z"}),
    ]
    assert (READY_SECONDS + 30,) == deployment_seen(_deployment(), pods, None).created_seconds[:1]


@pytest.mark.parametrize(
    ("container", "expected"),
    [({}, False), ({"restartCount": 2}, False), ({"restartCount": 3}, True), (_waiting("CrashLoopBackOff"), True)],
    ids=["well", "two restarts", "three restarts", "back-off"],
)
def test_a_crash_loop(container: dict[str, Any], expected: bool) -> None:
    assert expected is deployment_seen(_deployment(), [_pod(container=container)], None).crash_loop


def test_variables_from_elsewhere_are_no_plain_values() -> None:
    body = _deployment()
    body["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "A", "value": "1"},
        {"name": "EMPTY"},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    assert (("A", "1"), ("EMPTY", "")) == deployment_seen(body, [], None).env


def test_a_container_that_does_not_exist_is_read_from_no_other() -> None:
    assert "" == deployment_seen(_deployment(), [], "missing").image


@pytest.mark.parametrize(
    ("manager", "expected"),
    [
        ("argocd-controller", True),
        ("kustomize-controller", True),
        ("helm-controller", True),
        ("helm", True),
        ("Helm", True),
        ("kubectl-client-side-apply", False),
        ("kube-controller-manager", False),
    ],
)
def test_gitops_tools_are_known_by_their_field_managers(manager: str, expected: bool) -> None:
    assert expected is is_gitops(manager)


def test_the_owner_of_the_image_field() -> None:
    path = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"server"}': {"f:image": {}}}}}}}
    fields = [{"manager": "kubectl", "fieldsV1": path}, {"manager": "argocd-controller", "fieldsV1": path}]
    seen = deployment_seen(_deployment(metadata={"managedFields": fields}), [], None)
    assert "argocd-controller" == seen.gitops_owner
    assert "" == field_owner(fields, ("f:spec", "f:replicas"))
