"""What is left of a release whose ModelRelease vanished."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from fakes import FakeCluster
from modelrelease.adapters.istio import IstioTraffic
from modelrelease.api.status import HeldAutoscaler
from modelrelease.controller.orphan import ROLL_SECONDS, Orphans
from modelrelease.errors import Forbidden, Terminal
from modelrelease.ports import Kind
from modelrelease.rollout.canary import canary_deployment
from modelrelease.rollout.labels import AUTOSCALER, RELEASE, ROUTE
from modelrelease.rollout.seen import RouteReference
from simulation.looks import spec_of
from simulation.world import KEY, NAME, NAMESPACE, NEW_IMAGE, VIRTUAL_SERVICE, deployment, service

CANARY = f"{NAME}-canary"


def _cluster(weight: int | None, **annotations: str | None) -> FakeCluster:
    """A canary and a route that gives it `weight`; annotations of the canary replaced, or with None left out."""
    cluster = FakeCluster()
    canary: Any = canary_deployment(deployment(1), service(), spec_of(), release=NAME, revision="r", replicas=1)
    for key, value in annotations.items():
        canary["metadata"]["annotations"].pop(f"modelrelease.dev/{key}")
        if value is not None:
            canary["metadata"]["annotations"][f"modelrelease.dev/{key}"] = value
    cluster.put(Kind.DEPLOYMENT, canary)
    route: Any = copy.deepcopy(VIRTUAL_SERVICE)
    if weight is not None:
        stable = route["spec"]["http"][0]["route"][0]
        stable["weight"] = 100 - weight
        other = {**stable, "destination": {**stable["destination"], "host": CANARY}, "weight": weight}
        route["spec"]["http"][0]["route"] = [stable, other]
    cluster.put(Kind.VIRTUAL_SERVICE, route)
    return cluster


async def _clean(cluster: FakeCluster) -> list[tuple[str, str]]:
    await Orphans(cluster, IstioTraffic(cluster), drain_seconds=0.0).clean_up(KEY)
    return [(write.verb, write.kind.name) for write in cluster.writes]


SHAPE, WEIGHT, GONE = ("replace", "VIRTUAL_SERVICE"), ("replace", "VIRTUAL_SERVICE"), ("delete", "DEPLOYMENT")


@pytest.mark.parametrize(
    ("weight", "expected"), [(20, [WEIGHT, SHAPE, GONE]), (0, [SHAPE, GONE]), (None, [GONE])], ids=["20", "0", "none"]
)
async def test_traffic_goes_first(weight: int | None, expected: list[tuple[str, str]]) -> None:
    cluster = _cluster(weight)
    assert expected == await _clean(cluster)
    route = cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME)
    assert route is not None
    assert VIRTUAL_SERVICE["spec"] == route["spec"]
    assert expected == await _clean(cluster), "the second time there is nothing left to do"


async def test_a_route_that_is_gone_holds_nothing_up() -> None:
    cluster = _cluster(20)
    cluster.remove(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME)
    assert [GONE] == await _clean(cluster)


def _split_oddly(body: dict[str, Any]) -> None:
    route = body["spec"]["http"][0]["route"]
    route.append({**route[0], "destination": {**route[0]["destination"], "subset": "b"}, "weight": 0})


def _rename(body: dict[str, Any]) -> None:
    body["spec"]["http"][0]["name"] = "main"


@pytest.mark.parametrize("edit", [_split_oddly, _rename])
async def test_traffic_comes_off_in_a_route_of_any_shape(edit: Callable[[dict[str, Any]], None]) -> None:
    reference = RouteReference(NAME, "primary", NAME, CANARY)
    cluster = _cluster(20, route=json.dumps(asdict(reference)))
    cluster.edit(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME, edit)
    assert [WEIGHT, SHAPE, GONE] == await _clean(cluster)
    assert CANARY not in json.dumps(cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME))


async def test_a_route_that_cannot_be_read_may_still_send_traffic() -> None:
    cluster = _cluster(20)

    def refuse(kind: Kind, *_: str | None) -> None:
        if kind is Kind.VIRTUAL_SERVICE:
            raise Forbidden("not you")

    cluster.before_read = refuse
    with pytest.raises(Terminal):
        await _clean(cluster)
    assert cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY) is not None


async def test_another_release_with_the_same_label_is_left_alone() -> None:
    assert [] == await _clean(_cluster(20, release="somebody-else"))


@pytest.mark.parametrize("stamp", [None, "not json", json.dumps({"unknown": 1}), json.dumps([])])
async def test_a_stamp_that_cannot_be_read_is_not_guessed_at(stamp: str | None) -> None:
    cluster = _cluster(20, route=stamp)
    assert [] == await _clean(cluster)
    assert cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY) is not None


def _autoscaler(minimum: int) -> Any:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "hpa", "namespace": NAMESPACE},
        "spec": {"minReplicas": minimum, "maxReplicas": 20, "scaleTargetRef": target},
    }


@pytest.mark.parametrize(("found", "expected"), [(10, 2), (4, 4)], ids=["held", "set by somebody since"])
async def test_the_autoscaler_gets_its_minimum_back(found: int, expected: int) -> None:
    cluster = _cluster(None)
    stamp = HeldAutoscaler(name="hpa", min_replicas=2, held_at=10).model_dump_json()
    _stamp(cluster, AUTOSCALER, stamp)
    cluster.put(Kind.AUTOSCALER, _autoscaler(found))
    await _clean(cluster)
    autoscaler: Any = cluster.peek(Kind.AUTOSCALER, NAMESPACE, "hpa")
    assert expected == autoscaler["spec"]["minReplicas"]
    assert cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY) is None


def _stamp(cluster: FakeCluster, name: str, value: str) -> None:
    cluster.edit(Kind.DEPLOYMENT, NAMESPACE, CANARY, lambda body: body["metadata"]["annotations"].update({name: value}))


OLD: Any = deployment(1)["spec"]["template"]  # type: ignore[index,call-overload]
ROLLED = {"observedGeneration": 99, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


def _promoted(weight: int) -> FakeCluster:
    """Stable was given the new image; its pods are not there yet, those of the canary are."""
    cluster = _cluster(weight)
    cluster.edit(Kind.DEPLOYMENT, NAMESPACE, CANARY, lambda body: body.update(status=ROLLED))
    stable: Any = deployment(1)
    stable["spec"]["template"]["spec"]["containers"][0]["image"] = NEW_IMAGE
    cluster.put(Kind.DEPLOYMENT, stable)
    return cluster


def _stable(cluster: FakeCluster) -> Any:
    found = cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME)
    assert found is not None
    return found


async def test_a_promotion_that_was_cut_short_is_taken_back_under_the_canarys_cover() -> None:
    cluster = _promoted(100)
    orphans = Orphans(cluster, IstioTraffic(cluster), drain_seconds=0.0)

    assert ROLL_SECONDS == await orphans.clean_up(KEY)
    assert OLD == _stable(cluster)["spec"]["template"]
    assert ROLL_SECONDS == await orphans.clean_up(KEY), "the canary serves until stable's pods are available"
    cluster.edit(Kind.DEPLOYMENT, NAMESPACE, NAME, lambda body: body.update(status=ROLLED))
    assert await orphans.clean_up(KEY) is None

    kinds = [(write.verb, write.kind.name) for write in cluster.writes]
    assert [("replace", "DEPLOYMENT"), WEIGHT, SHAPE, GONE] == kinds
    assert OLD == _stable(cluster)["spec"]["template"]


async def test_a_canary_that_is_lost_as_well_covers_nothing() -> None:
    cluster = _promoted(100)
    orphans = Orphans(cluster, IstioTraffic(cluster), drain_seconds=0.0)
    await orphans.clean_up(KEY)
    cluster.edit(Kind.DEPLOYMENT, NAMESPACE, CANARY, lambda body: body.update(status={}))
    assert await orphans.clean_up(KEY) is None


async def test_a_promotion_that_was_through_stands() -> None:
    cluster = _promoted(0)
    assert [SHAPE, GONE] == await _clean(cluster)
    assert NEW_IMAGE == _stable(cluster)["spec"]["template"]["spec"]["containers"][0]["image"]


async def test_labels_lead_to_it_and_annotations_decide() -> None:
    canary = _cluster(None).peek(Kind.DEPLOYMENT, NAMESPACE, CANARY)
    assert canary is not None
    metadata: Any = canary["metadata"]
    assert (NAME, NAME) == (metadata["labels"][RELEASE], metadata["annotations"][RELEASE])
    assert NAME == json.loads(metadata["annotations"][ROUTE])["virtual_service"]
