"""Prometheus must see the labels that Kubernetes discovery would give it, for the pods that there are."""

from __future__ import annotations

import json
from pathlib import Path

from localcluster.pod_targets import Json, Targets, targets_of


def pod(name: str = "web-1", address: str | None = "10.244.0.7", ports: tuple[int, ...] = (8000,)) -> Json:
    containers: list[Json] = [{"name": "web", "ports": [{"containerPort": port} for port in ports]}]
    return {
        "metadata": {
            "name": name,
            "namespace": "vision",
            "uid": "u-1",
            "labels": {"app.kubernetes.io/name": "web"},
            "annotations": {"prometheus.io/scrape": "true"},
        },
        "spec": {"nodeName": "local", "containers": containers},
        "status": {"phase": "Running", **({"podIP": address} if address else {})},
    }


def addresses(path: Path) -> list[str]:
    return [address for entry in json.loads(path.read_text(encoding="utf-8")) for address in entry["targets"]]


def test_labels_are_those_of_kubernetes_discovery() -> None:
    (target,) = targets_of(pod())

    assert target == {
        "targets": ["10.244.0.7:8000"],
        "labels": {
            "__meta_kubernetes_namespace": "vision",
            "__meta_kubernetes_pod_name": "web-1",
            "__meta_kubernetes_pod_uid": "u-1",
            "__meta_kubernetes_pod_ip": "10.244.0.7",
            "__meta_kubernetes_pod_phase": "Running",
            "__meta_kubernetes_pod_node_name": "local",
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": "web",
            "__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
            "__meta_kubernetes_pod_container_name": "web",
            "__meta_kubernetes_pod_container_init": "false",
            "__meta_kubernetes_pod_container_port_number": "8000",
        },
    }


def test_one_target_per_port_and_one_where_no_port_is_named() -> None:
    assert [target["targets"] for target in targets_of(pod(ports=(8000, 9000)))] == [
        ["10.244.0.7:8000"],
        ["10.244.0.7:9000"],
    ]
    assert [target["targets"] for target in targets_of(pod(ports=()))] == [["10.244.0.7"]]


def test_a_pod_without_an_address_is_no_target() -> None:
    assert targets_of(pod(address=None)) == []


def test_the_file_follows_the_events(tmp_path: Path) -> None:
    output = tmp_path / "targets.json"
    targets = Targets(output)
    targets.replace([pod("a", "10.244.0.2")])
    assert addresses(output) == ["10.244.0.2:8000"]

    targets.change({"type": "ADDED", "object": pod("b", "10.244.0.3")})
    targets.change({"type": "MODIFIED", "object": pod("a", "10.244.0.9")})
    assert addresses(output) == ["10.244.0.9:8000", "10.244.0.3:8000"]

    targets.change({"type": "DELETED", "object": pod("a")})
    assert addresses(output) == ["10.244.0.3:8000"]

    targets.replace([])
    assert addresses(output) == []


def test_an_event_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "targets.json"
    targets = Targets(output)
    targets.replace([pod()])
    before = output.stat().st_ino

    targets.change({"type": "MODIFIED", "object": pod()})
    assert output.stat().st_ino == before

    targets.change({"type": "MODIFIED", "object": pod(address="10.244.0.8")})
    assert output.stat().st_ino != before
