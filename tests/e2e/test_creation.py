"""One resource holds all: in an empty namespace the operator makes what serves, releases it, and leaves it behind."""

from __future__ import annotations

from typing import Any

import pytest

from demo.manifests import GATEWAY, MODEL_RELEASE, ROUTE, VIRTUAL_SERVICE, Model, deployment, model_release
from demo.scenes import STABLE, Scene
from demo.stage import Stage
from e2e.arena import ANALYSIS, STRATEGY, Arena, created_arena
from modelrelease.api.status import Phase

pytestmark = pytest.mark.e2e

Manifest = dict[str, Any]
PORT = 8000
QUICK = {
    **STRATEGY,
    "steps": [{"weight": 50, "minDuration": "2s"}, {"weight": 100, "minDuration": "2s"}],
    "bakeTime": "2s",
}
KINDS = ("deployment", "service", VIRTUAL_SERVICE)


def test_a_release_alone_makes_what_serves_and_its_deletion_leaves_it(stage: Stage, model: Model) -> None:
    with created_arena(stage, model, whole(model, stage.images[STABLE])) as arena:
        arena.wait_clients_get(STABLE)
        made = objects(arena)
        assert_as_asked_for(made, model)

        scene = Scene("created", "", "v1.1.0", Phase.SUCCEEDED, 240)
        performance, _, complaints = arena.perform(scene)

        assert complaints == []
        assert {50, 100} <= {weight for _, weight in performance.weights}
        arena.kube.delete(MODEL_RELEASE, model.name)
        arena.wait_clients_get("v1.1.0")
        left = objects(arena)
        assert [one["metadata"].get("ownerReferences") for one in left.values()] == [None, None, None]
        assert [one["metadata"]["uid"] for one in left.values()] == [one["metadata"]["uid"] for one in made.values()]
        assert left[VIRTUAL_SERVICE]["spec"] == made[VIRTUAL_SERVICE]["spec"]
        assert arena.kube.get(MODEL_RELEASE, model.name) is None
        assert arena.canary_objects() == []
        arena.assert_no_errors(performance.began_at)


def whole(model: Model, image: str) -> Manifest:
    """A ModelRelease with everything that serving takes."""
    release = model_release(model, image, strategy=QUICK, analysis=ANALYSIS)
    template = deployment(model, "the operator puts its own in")["spec"]["template"]
    workload = {"deployment": model.name, "template": template, "replicas": 1, "port": PORT}
    traffic = {"route": ROUTE, "hosts": [model.host], "gateways": [GATEWAY]}
    return {**release, "spec": {**release["spec"], "workload": workload, "traffic": traffic}}


def objects(arena: Arena) -> dict[str, Manifest]:
    """What serves, by kind."""
    found = {kind: arena.kube.get(kind, arena.model.name) for kind in KINDS}
    missing = [kind for kind, manifest in found.items() if manifest is None]
    assert missing == []
    return {kind: manifest for kind, manifest in found.items() if manifest is not None}


def assert_as_asked_for(made: dict[str, Manifest], model: Model) -> None:
    stable, service, virtual = (made[kind]["spec"] for kind in KINDS)
    assert stable["replicas"] == 1
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(PORT, PORT)]
    assert (virtual["hosts"], virtual["gateways"]) == ([model.host], [GATEWAY])
    destination = {"host": model.name, "port": {"number": PORT}}
    assert virtual["http"] == [{"name": ROUTE, "route": [{"destination": destination}]}]
