"""The checkers themselves: each planted history is reported, and a good one is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from faults import manifests
from faults.checks import Facts, violations
from faults.kube import Json
from faults.manifests import CANARY, NAME, NEW_IMAGE
from faults.recorder import Revision
from modelrelease.ports import Kind

BEGAN = 1_800_000_000.0
FACTS = Facts(NAME)
Log = list[Revision]


def _stored(kind: Kind, manifest: Json, *, at: float = 0.0, foreign: bool = False, gone: bool = False) -> Revision:
    """One revision, `at` seconds after the beginning; numbered by `_report`."""
    body = copy.deepcopy(manifest)
    body["metadata"].setdefault("uid", f"{kind.name} {body['metadata']['name']}")
    return Revision(0, kind, body, gone, foreign, BEGAN + at)


def _report(log: Log) -> list[str]:
    return violations([replace(one, number=number) for number, one in enumerate(log, 1)], FACTS)


def _route(weight: int | None, edit: Callable[[Json], object] = lambda _: None, **how: float | bool) -> Revision:
    manifest = manifests.virtual_service("ns")
    route = manifest["spec"]["http"][0]["route"]
    if weight is not None:
        route[0]["weight"] = 100 - weight
        route.append({"destination": {"host": CANARY, "port": {"number": 8000}}, "weight": weight})
    edit(manifest["spec"]["http"][0])
    return _stored(Kind.VIRTUAL_SERVICE, manifest, **how)  # type: ignore[arg-type]


def _pods(name: str, available: int, at: float = 0.0) -> Revision:
    manifest = manifests.deployment("ns")
    manifest["metadata"]["name"] = name
    manifest["status"] = {"availableReplicas": available}
    return _stored(Kind.DEPLOYMENT, manifest, at=at, foreign=True)


def _service(name: str, **how: bool) -> Revision:
    manifest = manifests.service("ns")
    manifest["metadata"]["name"] = name
    return _stored(Kind.SERVICE, manifest, **how)


def _stable(edit: Callable[[Json], object] = lambda _: None, **how: bool) -> Revision:
    manifest = manifests.deployment("ns")
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "DATABASE", "value": "db"}]
    edit(manifest["spec"])
    return _stored(Kind.DEPLOYMENT, manifest, **how)


def _container(spec: Json) -> Json:
    container: Json = spec["template"]["spec"]["containers"][0]
    return container


def _release(
    phase: str = "Progressing", step: int = 1, weight: int = 20, *, at: float = 0.0, **status: object
) -> Revision:
    manifest = manifests.release("ns")
    evidence = [{"name": "errors", "promotionEvidence": 1.0}]
    manifest["status"] = {
        "phase": phase,
        "step": step,
        "weight": weight,
        "revision": "new",
        "stepStartedAt": datetime.fromtimestamp(BEGAN + at, UTC).isoformat(),
        "snapshot": {"strategy": manifest["spec"]["strategy"]},
        "analysis": {"metrics": evidence},
        **status,
    }
    return _stored(Kind.MODEL_RELEASE, manifest, at=at)


def _promoted(revision: str) -> dict[str, object]:
    handled = {"name": "modelrelease.dev/promote", "value": "next", "revision": revision}
    return {"lastHandled": [handled]}


PRODUCTION = [_stable(foreign=True), _service(NAME, foreign=True), _route(None, foreign=True)]
SERVING = [_pods(CANARY, 1), _release(), _route(20)]
LOST = [_pods(NAME, 1), *SERVING, _pods(CANARY, 0, at=1)]
CONDEMNED = _release("RollingBack", weight=0, at=1, outcome="RolledBack")


@dataclass(frozen=True)
class Planted:
    """`expected` is part of what must be reported."""

    name: str
    log: Log
    expected: str

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


PLANTED = (
    Planted("weights beyond 100", [*SERVING, _route(20, lambda http: http["route"][0].update(weight=90))], "I1"),
    Planted("undeclared weight", [*SERVING, _route(7)], "I1"),
    Planted("dead canary keeps its weight", [*LOST, _release(at=600)], "I2"),
    Planted("dead canary gets its weight again", [*LOST, _route(20, at=3600)], "I2"),
    Planted("dead canary gets less", [_pods(CANARY, 1), _route(100), _pods(CANARY, 0, at=1), _route(20, at=9)], "I2"),
    Planted("weight rises after a verdict", [*SERVING, CONDEMNED, _route(0, at=1), _route(20, at=2)], "I3"),
    Planted("weight stays after a verdict", [*SERVING, CONDEMNED, _release("RolledBack", weight=0, at=900)], "I3"),
    Planted(
        "step without evidence",
        [
            _release(),
            _release("Baking", 2, 100, at=5, analysis={"metrics": [{"name": "errors", "promotionEvidence": 0.4}]}),
        ],
        "I4: step 1 -> 2 without evidence",
    ),
    Planted("step with nothing compared", [_release(), _release("Baking", 2, 100, at=5, analysis={})], "I4"),
    Planted(
        "early step after an older promote",
        [_release(**_promoted("old")), _release("Baking", 2, 100, at=0.1, **_promoted("old"))],
        "I4: step 1 -> 2 after 0.10 s",
    ),
    Planted(
        "promote that approved nothing",
        [_release(**_promoted("new")), _release("Baking", 2, 100, at=0.1, **_promoted("new"))],
        "I4: step 1 -> 2 after 0.10 s",
    ),
    Planted(
        "first traffic is all", [_release("Preparing", 0, 0), _release("Baking", 2, 100)], "I4: step 0 -> 2 at once"
    ),
    Planted("route ahead of status", [*SERVING, _route(100)], "I4: weight 20 -> 100 where status says 20"),
    Planted(
        "step while paused", [_release("Paused"), _release("Baking", 2, 100, at=9)], "I4: step 1 -> 2 while paused"
    ),
    Planted("step from weight 0", [_release(weight=0), _release(step=2, weight=100, at=0.1)], "I4"),
    Planted("timeout lost", [*PRODUCTION, *SERVING, _route(20, lambda http: http.pop("timeout"))], "I7"),
    Planted(
        "stable's subset lost",
        [
            _route(None, lambda http: http["route"][0]["destination"].update(subset="v1"), foreign=True),
            *SERVING,
        ],
        "I7",
    ),
    Planted(
        "stable's host replaced",
        [*PRODUCTION, *SERVING, _route(20, lambda http: http["route"][0]["destination"].update(host="nowhere"))],
        "I7",
    ),
    Planted("stable's variables wiped", [*PRODUCTION, _stable(lambda spec: _container(spec).update(env=[]))], "I7"),
    Planted("stable scaled", [*PRODUCTION, _stable(lambda spec: spec.update(replicas=9))], "I7"),
    Planted("stable's Service deleted", [*PRODUCTION, _service(NAME, gone=True)], "I7: Service detector was deleted"),
    Planted("stable deleted", [*PRODUCTION, _stable(gone=True)], "I7: Deployment detector was deleted"),
    Planted("route deleted", [*PRODUCTION, _route(None, gone=True)], "I7: VirtualService detector was deleted"),
    Planted(
        "somebody else's Service changed",
        [
            _service("other", foreign=True),
            replace(_service("other"), manifest={**_service("other").manifest, "spec": {}}),
        ],
        "I7: Service other",
    ),
    Planted(
        "canary deleted under traffic",
        [*SERVING, replace(_pods(CANARY, 0), is_deletion=True, is_foreign=False)],
        "deleted at",
    ),
    Planted("canary's Service deleted while routed", [*SERVING, _service(CANARY, gone=True)], "Service was deleted"),
)


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_a_planted_violation_is_reported(planted: Planted) -> None:
    assert any(planted.expected in sentence for sentence in _report(planted.log)), _report(planted.log)


GOOD: dict[str, Log] = {
    "a release": [
        *PRODUCTION,
        _release("Preparing", 0, 0),
        _pods(CANARY, 1),
        _release(),
        _route(20),
        _release("Baking", 2, 100, at=5),
        _route(100, at=5),
        _stable(lambda spec: _container(spec).update(image=NEW_IMAGE)),
        _release("Promoting", 2, 0, at=9),
        _route(0, at=9),
        _route(None, at=10),
        _service(CANARY, gone=True),
    ],
    "a rollback": [
        *SERVING,
        CONDEMNED,
        _route(0, at=2),
        _release("RolledBack", weight=0, at=900, outcome="RolledBack"),
    ],
    "a lost canary": [*LOST, _release(weight=0, at=2), _route(0, at=2), _release(weight=0, at=600)],
    "a promotion in full": [
        _release("Preparing", 0, 0, approvedStep=3, **_promoted("new")),
        _pods(CANARY, 1),
        _release("Baking", 2, 100, approvedStep=3, **_promoted("new")),
        _route(100),
    ],
    "what others do": [
        *PRODUCTION,
        _route(70, foreign=True),
        _stable(lambda spec: spec.update(replicas=9), foreign=True),
        _service(NAME, foreign=True, gone=True),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_not_reported(name: str) -> None:
    assert [] == _report(GOOD[name])
