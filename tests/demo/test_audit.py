"""Counting the operator's writes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from demo.audit import Question, refreshes, writes
from demo.watch import Version
from modelrelease.api.status import Phase
from modelrelease.ports import Kind
from simulation.world import NEW_IMAGE, STABLE_IMAGE, World

OPERATOR = "system:serviceaccount:modelrelease-system:modelrelease-operator"
MODEL_RELEASE = Kind.MODEL_RELEASE
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


def test_what_the_api_server_put_aside_meanwhile_is_read_too(tmp_path: Path) -> None:
    log, aside, older = (tmp_path / name for name in ("audit.log", "audit-2026-11-21.log", "audit-2026-11-20.log"))
    for path in (log, aside, older):
        path.write_text(entry("update", "virtualservices"))
    os.utime(older, (QUESTION.since - 60, QUESTION.since - 60))

    assert writes(log, QUESTION, []).by_kind.total() == 2


def test_refreshes_are_told_in_the_time_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text("\n".join([entry("update", "modelreleases")] * 3))
    moments = [QUESTION.since + 1, QUESTION.since + 2, QUESTION.until, QUESTION.until + 1]
    told = [replace(version(analysis={"n": n}), at=at) for n, at in enumerate(moments)]

    assert writes(tmp_path / "audit.log", QUESTION, told).refreshes == 2


def version(**status: Any) -> Version:
    metadata = {"generation": 1, "resourceVersion": "7", "managedFields": []}
    return Version(0.0, {"metadata": metadata, "spec": {"image": "a"}, "status": status})


STATUS: dict[str, Any] = {
    "phase": "Progressing",
    "step": 1,
    "analysis": {"n": 1},
    "stable": {"image": "a", "replicas": 2},
    "canary": {"image": "b", "replicas": 1, "readyReplicas": 0},
    "conditions": [{"type": "Ready", "status": "False", "reason": "ReleaseInProgress", "message": "1 request"}],
}


def condition(**changes: str) -> dict[str, Any]:
    return {"conditions": [STATUS["conditions"][0] | changes]}


@pytest.mark.parametrize(
    ("change", "is_refresh"),
    [
        ({"analysis": {"n": 2}, "judge": {"at": 2}, "message": "2 requests", "confirmedWeight": 5}, True),
        (condition(message="2 requests"), True),
        ({"confirmedWeight": 5}, False),
        ({"stable": {"image": "a", "replicas": 1}}, True),
        ({"canary": {"image": "b", "replicas": 2, "readyReplicas": 1, "deployment": "model-canary"}}, True),
        ({"canary": {"image": "b", "digest": "sha256:1", "replicas": 1, "readyReplicas": 0}}, False),
        (condition(status="True"), False),
        (condition(reason="Stalled"), False),
        ({"observedGeneration": 2}, False),
        ({"step": 2}, False),
        ({"capacity": 1}, False),
        ({"snapshot": {}}, False),
        ({"somethingNew": 1}, False),
    ],
)
def test_a_refresh_changes_figures_and_nothing_else(change: dict[str, Any], is_refresh: bool) -> None:
    told = [version(**STATUS), version(**{**STATUS, **change}), Version(0.0, None)]
    assert refreshes(told) == int(is_refresh)


def test_a_write_of_anything_but_the_status_is_no_refresh() -> None:
    calm, held = version(**STATUS), version(**STATUS)
    assert held.manifest is not None
    held.manifest["metadata"] = {**held.manifest["metadata"], "finalizers": ["modelrelease.dev/traffic"]}
    assert refreshes([calm, held]) == 0


async def test_a_healthy_release_costs_23_writes_of_the_24_that_are_allowed() -> None:
    """By the controller itself in a small world; the demonstration counts the same in the API server's audit log."""
    world = World()
    world.deploy_stable(replicas=2)
    world.apply(STABLE_IMAGE)
    await world.run(60)
    before, known = len(world.cluster.writes), len(world.cluster.history)
    world.apply(NEW_IMAGE)
    await world.run(600, until=lambda world: world.status.phase is Phase.SUCCEEDED)
    await world.run(20)

    told = [Version(0.0, cast(Any, one)) for _, kind, one in world.cluster.history[known:] if kind is MODEL_RELEASE]
    written = [one for one in world.cluster.writes[before:] if one.kind is not Kind.EVENT]
    counted = len(written) - refreshes(told)
    assert counted == 23
