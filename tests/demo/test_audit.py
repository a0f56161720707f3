"""Counting the operator's writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demo.audit import Question, refreshes, writes
from demo.watch import Version

OPERATOR = "system:serviceaccount:modelrelease-system:modelrelease-operator"
QUESTION = Question(OPERATOR, "vision", 1795266000.0, 1795266060.0)


def entry(verb: str, resource: str, **changes: Any) -> str:
    event = {
        "verb": verb,
        "user": {"username": OPERATOR},
        "objectRef": {"resource": resource, "namespace": "vision", "name": "model"},
        "requestReceivedTimestamp": "2026-11-21T13:00:30.000000Z",
        **changes,
    }
    return json.dumps(event)


def test_only_the_operators_writes_in_time_and_place_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    status = {"resource": "modelreleases", "subresource": "status", "namespace": "vision"}
    lines = [
        entry("update", "virtualservices"),
        entry("update", "modelreleases", objectRef=status),
        entry("create", "deployments"),
        entry("create", "events"),
        entry("update", "leases"),
        entry("get", "deployments"),
        entry("update", "virtualservices", user={"username": "admin"}),
        entry("update", "virtualservices", requestReceivedTimestamp="2026-11-21T12:59:00.000000Z"),
        entry("update", "virtualservices", objectRef={"resource": "virtualservices", "namespace": "other"}),
        '{"verb": "upd',
    ]
    log.write_text("\n".join(lines))

    counted = writes(log, QUESTION, [])

    assert dict(counted.by_kind) == {
        "update virtualservices": 1,
        "update modelreleases/status": 1,
        "create deployments": 1,
    }
    assert counted.total == 3


def version(**status: Any) -> Version:
    metadata = {"generation": 1, "resourceVersion": "7", "managedFields": []}
    return Version(0.0, {"metadata": metadata, "spec": {"image": "a"}, "status": status})


def test_a_refresh_changes_figures_and_nothing_else() -> None:
    condition = {"type": "Ready", "status": "False", "reason": "ReleaseInProgress"}
    told = [
        version(phase="Progressing", step=1, analysis={"n": 1}, conditions=[condition | {"message": "1 request"}]),
        version(phase="Progressing", step=1, analysis={"n": 2}, conditions=[condition | {"message": "2 requests"}]),
        version(phase="Progressing", step=1, analysis={"n": 2}, judge={"at": 2}, conditions=[condition]),
        version(phase="Progressing", step=2, analysis={"n": 2}, judge={"at": 2}, conditions=[condition]),
        version(phase="Progressing", step=2, weight=5, analysis={"n": 2}, conditions=[condition]),
        version(phase="Progressing", step=2, weight=5, stable={"image": "a", "replicas": 2}, conditions=[condition]),
        version(phase="Progressing", step=2, weight=5, stable={"image": "a", "replicas": 1}, conditions=[condition]),
        Version(0.0, None),
    ]

    assert refreshes(told) == 4
