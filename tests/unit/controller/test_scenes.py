"""Scenes in which others interfere: refusals, rivals, strangers, edits and other kinds of releases."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fakes import Write
from modelrelease.api.status import ConditionStatus, ConditionType, Outcome, Phase
from modelrelease.errors import Forbidden
from modelrelease.ports import Key, Kind
from modelrelease.rollout.labels import FINALIZER
from simulation import World
from simulation.invariants import violations
from simulation.world import (
    KEY,
    NAME,
    NAMESPACE,
    NEW_IMAGE,
    STABLE_IMAGE,
    VIRTUAL_SERVICE,
    deployment,
    release,
    service,
    virtual_service,
)

CANARY = f"{NAME}-canary"


def _over(world: World) -> bool:
    return bool(world.status.history) and world.status.phase.is_at_rest


async def _world(replicas: int = 1, **spec: Any) -> World:
    made = World(rps=40)
    made.deploy_stable(replicas)
    await made.run(40)
    made.apply(**{"image": NEW_IMAGE, **spec})
    return made


def _container(world: World) -> dict[str, Any]:
    found = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME))
    return dict(found["spec"]["template"]["spec"]["containers"][0])


def _writes(world: World, since: int) -> list[tuple[str, str]]:
    return [(write.verb, write.kind.name) for write in world.cluster.writes[since:]]


async def test_a_permission_that_is_taken_away_is_said_once_and_tried_on() -> None:
    world = await _world()
    await world.run(300, until=lambda one: one.weight == 1)
    await world.run(2)

    def refuse(write: Write) -> None:
        if write.kind is Kind.VIRTUAL_SERVICE:
            raise Forbidden("virtualservices is forbidden")

    world.cluster.before_write = refuse
    await world.run(300, until=lambda one: "Forbidden" in one.announcer.reasons)
    await world.run(3)
    before = len(world.cluster.writes)
    await world.run(60)
    stalled = world.status.condition(ConditionType.STALLED)
    assert stalled is not None
    assert (ConditionStatus.TRUE, "Forbidden", 1) == (stalled.status, stalled.reason, world.weight)
    assert 1 == world.announcer.reasons.count("Forbidden")
    assert [] == _writes(world, before)

    world.cluster.before_write = None
    await world.run(600, until=_over)
    assert Phase.SUCCEEDED is world.status.phase


async def test_what_may_not_be_read_any_more_is_said_once_and_read_when_it_may() -> None:
    world = await _world()
    await world.run(300, until=lambda one: one.weight == 5)

    def refuse(kind: Kind, *_: str | None) -> None:
        if kind is Kind.POD:
            raise Forbidden("The operator may not list pods vision: pods is forbidden")

    world.cluster.before_read = refuse
    await world.run(60, until=lambda one: "Forbidden" in one.announcer.reasons)
    before = len(world.cluster.writes)
    await world.run(60)
    found = {str(each.type): (str(each.status), each.reason) for each in world.status.conditions}
    assert ("True", "Forbidden") == found["Stalled"]
    assert {("False", "Forbidden")} == {found["Ready"], found["Reconciling"]}
    assert (5, 1, []) == (world.weight, world.announcer.reasons.count("Forbidden"), _writes(world, before))

    world.cluster.before_read = None
    await world.run(600, until=_over)
    stalled = world.status.condition(ConditionType.STALLED)
    assert (Phase.SUCCEEDED, ConditionStatus.FALSE) == (world.status.phase, stalled.status if stalled else None)


async def test_a_verdict_that_cannot_be_carried_out_is_tried_until_it_can() -> None:
    world = await _world()
    await world.run(300, until=lambda one: one.weight == 5)
    world.canary.error_rate = 1.0

    def refuse(write: Write) -> None:
        if write.kind is Kind.VIRTUAL_SERVICE:
            raise Forbidden("virtualservices is forbidden")

    world.cluster.before_write = refuse
    await world.run(30)
    assert 5 == world.weight
    world.cluster.before_write = None
    await world.run(15, until=lambda one: one.weight == 0)
    await world.run(60, until=_over)
    assert Outcome.ROLLED_BACK is world.status.history[0].outcome


async def test_a_strangers_deployment_with_the_canarys_name_is_neither_used_nor_removed() -> None:
    world = World(rps=40)
    world.deploy_stable()
    mine: Any = deployment(1)
    mine["metadata"]["name"] = CANARY
    world.cluster.put(Kind.DEPLOYMENT, mine)
    await world.run(20)
    world.apply()
    await world.run(30)
    stalled = world.status.condition(ConditionType.STALLED)
    assert stalled is not None
    assert "NameTaken" == stalled.reason
    assert [] == [write for write in world.cluster.writes if write.name == CANARY]
    assert 1 == world.announcer.reasons.count("NameTaken")


async def test_the_loser_of_a_conflict_touches_nothing_of_the_winners() -> None:
    world = await _world()
    await world.run(300, until=lambda one: one.weight == 5)
    rival: Any = release(NEW_IMAGE)
    rival["metadata"]["name"] = "rival"
    world.cluster.put(Kind.MODEL_RELEASE, rival)
    key = Key(NAMESPACE, "rival")
    for _ in range(5):
        before = len(world.cluster.writes)
        await world.reconciler.reconcile(key)
        assert {"MODEL_RELEASE"} >= {kind for _, kind in _writes(world, before)}
        await world.run(2)
    assert world.exists(Kind.DEPLOYMENT, CANARY)
    await world.run(600, until=_over)
    assert Phase.SUCCEEDED is world.status.phase


async def test_an_environment_alone_is_released() -> None:
    world = World(rps=40)
    world.deploy_stable()
    await world.run(40)
    world.apply(STABLE_IMAGE)
    await world.run(5)
    assert Phase.STABLE is world.status.phase
    world.apply(STABLE_IMAGE, env=[{"name": "MODEL_URI", "value": "s3://b"}])
    await world.run(900, until=_over)
    assert Phase.SUCCEEDED is world.status.phase
    assert [{"name": "MODEL_URI", "value": "s3://b"}] == _container(world)["env"]
    await world.run(400)
    assert Phase.SUCCEEDED is world.status.phase


async def test_a_variable_that_is_dropped_from_the_specification_goes_from_stable_by_a_release() -> None:
    world = World(rps=40)
    world.deploy_stable()
    mine = {"name": "THREADS", "value": "2"}
    world.touch(
        Kind.DEPLOYMENT, NAME, lambda body: body["spec"]["template"]["spec"]["containers"][0].update(env=[mine])
    )
    await world.run(40)
    world.apply(NEW_IMAGE, env=[{"name": "MODEL_URI", "value": "s3://b"}])
    await world.run(900, until=_over)
    assert [mine, {"name": "MODEL_URI", "value": "s3://b"}] == _container(world)["env"]

    world.apply(NEW_IMAGE, env=[])
    await world.run(900, until=lambda one: len(one.status.history) == 2 and _over(one))

    assert (Phase.SUCCEEDED, [mine]) == (world.status.phase, _container(world)["env"])
    writes = len(world.cluster.writes)
    await world.run(400)
    assert [] == _writes(world, writes)


async def test_a_stable_that_grows_takes_no_traffic_from_a_healthy_canary() -> None:
    world = await _world(2, strategy={**_STRATEGY, "stepDeadline": "1h"})
    await world.run(300, until=lambda one: one.weight == 50)
    world.touch(Kind.DEPLOYMENT, NAME, lambda body: body["spec"].update(replicas=6))
    await world.run(600, until=_over)
    weights = [weight for _, weight in world.weights]
    assert (Phase.SUCCEEDED, [0, 1, 5, 20, 50, 100, 0]) == (world.status.phase, weights)


async def test_weight_that_somebody_gives_a_canary_before_its_first_step_is_taken_off_at_once() -> None:
    world = await _world()
    await world.run(10, until=lambda one: one.exists(Kind.DEPLOYMENT, CANARY))

    def split(body: dict[str, Any]) -> None:
        stable = body["spec"]["http"][0]["route"][0]
        canary = {"destination": {**stable["destination"], "host": CANARY}, "weight": 30}
        body["spec"]["http"][0]["route"] = [{**stable, "weight": 70}, canary]

    world.touch(Kind.VIRTUAL_SERVICE, NAME, split)
    await world.run(1)
    assert (Phase.PREPARING, 0) == (world.status.phase, world.weight)
    assert 1 == world.announcer.reasons.count("WeightChanged")
    await world.run(600, until=_over)
    assert Phase.SUCCEEDED is world.status.phase


async def test_an_edit_of_the_canarys_template_takes_its_traffic_first() -> None:
    world = await _world()
    await world.run(300, until=lambda one: one.weight == 5)

    def restrict(body: dict[str, Any]) -> None:
        body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": "16Mi"}}

    world.touch(Kind.DEPLOYMENT, CANARY, restrict)
    before = len(world.cluster.writes)
    await world.run(2)
    assert 0 == world.weight
    assert ("replace", "VIRTUAL_SERVICE") == _writes(world, before)[0]
    await world.run(600, until=lambda one: one.status.phase is Phase.SUCCEEDED)
    assert [Outcome.SUCCEEDED, Outcome.SUPERSEDED] == [entry.outcome for entry in world.status.history]


_STRATEGY = cast(dict[str, Any], release(NEW_IMAGE))["spec"]["strategy"]
TEMPLATE: dict[str, Any] = {"spec": {"containers": [{"name": "server", "ports": [{"containerPort": 8000}]}]}}


async def test_a_template_creates_what_serves_and_is_released_when_edited() -> None:
    world = World(rps=40)
    traffic = {"hosts": ["detect.example.com"], "gateways": ["istio-system/ingressgateway"]}
    workload: dict[str, Any] = {"deployment": NAME, "template": TEMPLATE, "replicas": 2}
    world.apply(STABLE_IMAGE, workload=workload, traffic=traffic)
    await world.run(40)
    assert (Phase.STABLE, True) == (world.status.phase, world.exists(Kind.VIRTUAL_SERVICE, NAME))
    edited = {"spec": {"containers": [{**TEMPLATE["spec"]["containers"][0], "args": ["--half"]}]}}

    world.apply(STABLE_IMAGE, workload={**workload, "template": edited}, traffic=traffic)
    await world.run(900, until=_over)

    assert Phase.SUCCEEDED is world.status.phase
    assert ["--half"] == _container(world)["args"]
    stable = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME))
    labels = stable["spec"]["template"]["metadata"]["labels"]
    assert stable["spec"]["selector"]["matchLabels"].items() <= labels.items()
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME)
    world.wake()
    await world.run(20)
    kept = [(Kind.DEPLOYMENT, NAME), (Kind.SERVICE, NAME), (Kind.VIRTUAL_SERVICE, NAME)]
    assert all(world.exists(kind, name) for kind, name in kept)


async def test_an_adoption_that_is_aborted_in_its_promotion_is_not_taken_for_released() -> None:
    adopted = {"spec": {"containers": [{**TEMPLATE["spec"]["containers"][0], "args": ["--half"]}]}}
    world = await _world(image=STABLE_IMAGE, workload={"deployment": NAME, "template": adopted})
    await world.run(900, until=lambda one: "args" in _container(one))
    world.annotate("abort", "true")
    await world.run(60, until=_over)
    await world.run(10)
    stable = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME))
    assert (Phase.ROLLED_BACK, False) == (world.status.phase, "args" in _container(world))
    assert {} == stable["metadata"].get("annotations", {})


async def test_an_edit_of_the_route_applies_to_the_next_release() -> None:
    world = await _world()
    await world.run(300, until=lambda one: one.weight == 5)
    world.touch(Kind.MODEL_RELEASE, NAME, lambda body: body["spec"].update(traffic={"virtualService": "another"}))
    await world.run(600, until=_over)
    route = world.cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME)
    assert route is not None
    assert (Phase.SUCCEEDED, VIRTUAL_SERVICE["spec"]) == (world.status.phase, route["spec"])


async def test_an_image_that_failed_and_is_asked_for_again_is_released_and_can_be_aborted_again() -> None:
    world = await _world()
    for expected in (1, 2):
        await world.run(300, until=lambda one: one.weight == 1)
        world.annotate("abort", "true")
        await world.run(60, until=lambda one: one.status.phase is Phase.ROLLED_BACK)
        aborted = [entry for entry in world.status.history if entry.reason == "Aborted"]
        assert expected == len(aborted)
        world.apply(STABLE_IMAGE)
        await world.run(5)
        world.apply(NEW_IMAGE)
    assert [] == violations(world.cluster.history)


@pytest.mark.parametrize("minimum", [1, 2], ids=["below its size", "at its size"])
async def test_an_autoscaler_is_held_and_let_go(minimum: int) -> None:
    world = World(rps=40)
    world.deploy_stable(2)
    spec: dict[str, Any] = {
        "minReplicas": minimum,
        "maxReplicas": 5,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
    }
    autoscaler: Any = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "hpa", "namespace": NAMESPACE},
        "spec": spec,
    }
    world.cluster.put(Kind.AUTOSCALER, autoscaler)
    await world.run(40)
    world.apply()
    await world.run(300, until=lambda one: one.weight == 1)
    held = cast(dict[str, Any], world.cluster.peek(Kind.AUTOSCALER, NAMESPACE, "hpa"))
    await world.run(600, until=_over)
    free = cast(dict[str, Any], world.cluster.peek(Kind.AUTOSCALER, NAMESPACE, "hpa"))
    assert (2, minimum) == (held["spec"]["minReplicas"], free["spec"]["minReplicas"])


async def test_succeeded_is_not_inherited_from_the_release_before() -> None:
    world = await _world()
    await world.run(600, until=_over)
    world.apply(NEW_IMAGE.replace("v1.1.0", "v1.2.0"))
    seen = set()
    for _ in range(30):
        await world.run(1)
        body = cast(dict[str, Any], world.cluster.peek(Kind.MODEL_RELEASE, NAMESPACE, NAME))
        condition = world.status.condition(ConditionType.SUCCEEDED)
        assert condition is not None
        if condition.observed_generation == body["metadata"]["generation"]:
            seen.add(condition.status)
    assert {ConditionStatus.UNKNOWN} == seen


async def test_between_releases_a_look_reads_no_pods_and_little_else() -> None:
    world = await _world()
    await world.run(600, until=_over)
    await world.run(10)
    reads: list[str] = []
    world.cluster.before_read = lambda kind, *_: reads.append(kind.name)
    assert 300.0 == await world.reconciler.reconcile(KEY)
    expected = ["DEPLOYMENT", "DEPLOYMENT", "MODEL_RELEASE", "SERVICE", "VIRTUAL_SERVICE"]
    assert expected == sorted(reads)


async def test_a_spec_that_cannot_be_read_is_refused_once() -> None:
    world = World()
    world.deploy_stable()
    world.apply("")
    await world.run(5)
    before = len(world.cluster.writes)
    world.wake()
    await world.run(5)
    ready = world.status.condition(ConditionType.READY)
    assert ready is not None
    assert (ConditionStatus.FALSE, "InvalidSpec") == (ready.status, ready.reason)
    assert (1, []) == (world.announcer.reasons.count("InvalidSpec"), _writes(world, before))


def _garble(world: World) -> None:
    """A specification that no operator can read: admission is not there, or of another version."""
    world.touch(Kind.MODEL_RELEASE, NAME, lambda body: body["spec"]["analysis"].update(interval="1ms"))


async def test_a_spec_that_cannot_be_read_any_more_holds_the_release_but_not_the_verdict() -> None:
    world = await _world()
    await world.run(300, until=lambda one: one.weight == 5)
    _garble(world)
    await world.run(60)
    stalled = world.status.condition(ConditionType.STALLED)
    assert stalled is not None
    assert (5, "InvalidSpec", 1) == (world.weight, stalled.reason, world.announcer.reasons.count("InvalidSpec"))

    world.canary.error_rate = 1.0
    await world.run(60, until=_over)
    assert (Phase.ROLLED_BACK, "ErrorRateTooHigh") == (world.status.phase, world.status.outcome_reason)
    await world.run(5)
    assert "interval" in world.status.message


async def test_a_release_with_a_spec_that_cannot_be_read_can_be_deleted() -> None:
    world = await _world()
    await world.run(300, until=lambda one: one.weight == 5)
    _garble(world)
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME)
    world.wake()
    await world.run(30)
    assert not world.exists(Kind.MODEL_RELEASE, NAME)
    assert (0, False) == (world.weight, world.exists(Kind.DEPLOYMENT, CANARY))


async def test_a_finalizer_does_not_outlive_a_spec_that_never_could_be_read() -> None:
    world = World()
    world.deploy_stable()
    world.apply("")
    world.touch(Kind.MODEL_RELEASE, NAME, lambda body: body["metadata"].update(finalizers=[FINALIZER]))
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME)
    world.wake()
    await world.run(3)
    assert not world.exists(Kind.MODEL_RELEASE, NAME)


async def test_a_model_release_that_is_removed_by_force_in_its_promotion_leaves_stable_as_it_was() -> None:
    world = await _world()
    await world.run(900, until=lambda one: _container(one)["image"] == NEW_IMAGE)
    assert 100 == world.weight
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME, force=True)
    world.wake()
    await world.run(30)
    assert (STABLE_IMAGE, 0) == (_container(world)["image"], world.weight)
    assert not world.exists(Kind.DEPLOYMENT, CANARY)


async def test_a_held_autoscaler_is_let_go_where_its_release_was_replaced_by_force() -> None:
    """Whoever asks again at once gets a new object without any status; what was held stands on the old canary."""
    world = World(rps=40)
    world.deploy_stable(3)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    scaler = {"minReplicas": 1, "maxReplicas": 9, "scaleTargetRef": target}
    metadata = {"name": NAME, "namespace": NAMESPACE}
    world.cluster.put(Kind.AUTOSCALER, cast(Any, {"metadata": metadata, "spec": scaler}))
    await world.run(40)
    world.apply()
    await world.run(300, until=lambda one: one.weight == 1)
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME, force=True)
    world.apply(STABLE_IMAGE)
    await world.run(60, until=lambda one: not one.exists(Kind.DEPLOYMENT, CANARY))
    await world.run(20)

    found = cast(dict[str, Any], world.cluster.peek(Kind.AUTOSCALER, NAMESPACE, NAME))
    assert 1 == found["spec"]["minReplicas"]
    assert world.status.held_autoscaler is None


async def test_a_model_release_that_is_replaced_by_force_in_its_promotion_finds_stable_as_it_was() -> None:
    world = await _world()
    await world.run(900, until=lambda one: _container(one)["image"] == NEW_IMAGE)
    assert 100 == world.weight
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME, force=True)
    world.apply(STABLE_IMAGE)
    await world.run(60, until=lambda one: not one.exists(Kind.DEPLOYMENT, CANARY))
    await world.run(5)
    assert (STABLE_IMAGE, 0) == (_container(world)["image"], world.weight)
    assert (Phase.STABLE, []) == (world.status.phase, world.status.history)


async def _removed_by_force() -> World:
    """At 20 % somebody removes the ModelRelease and the canary by force while no operator runs."""
    world = await _world()
    await world.run(300, until=lambda one: one.weight == 20)
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME, force=True)
    world.cluster.remove(Kind.DEPLOYMENT, NAMESPACE, CANARY, force=True)
    world.cluster.collect_garbage()
    world.restart()
    return world


@pytest.mark.parametrize("image", [NEW_IMAGE, STABLE_IMAGE], ids=["releases", "rests"])
async def test_a_route_that_still_names_a_canary_which_is_gone_gives_stable_all_traffic_first(image: str) -> None:
    world = await _removed_by_force()
    world.apply(image)
    before = len(world.cluster.writes)
    await world.run(3)
    found = cast(dict[str, Any], world.cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME))
    assert ("replace", "VIRTUAL_SERVICE") == _writes(world, before)[0]
    assert VIRTUAL_SERVICE["spec"] == found["spec"]
    assert 1 == world.announcer.reasons.count("RouteRestored")
    await world.run(900, until=lambda one: one.status.phase in (Phase.SUCCEEDED, Phase.STABLE))
    assert [] == violations(world.cluster.history, frozenset(_uids(world, CANARY)))


def _uids(world: World, name: str) -> set[str]:
    bodies = [cast(dict[str, Any], body) for _, kind, body in world.cluster.history if kind is Kind.DEPLOYMENT]
    return {body["metadata"]["uid"] for body in bodies if body["metadata"]["name"] == name}


def _own_destination(body: dict[str, Any]) -> None:
    for entry in body["spec"]["http"][0]["route"]:
        entry["weight"] = 10 if entry["destination"]["host"] == CANARY else 90


@pytest.mark.parametrize("kind", [Kind.DEPLOYMENT, Kind.SERVICE, Kind.VIRTUAL_SERVICE])
async def test_a_destination_that_may_be_somebody_elses_is_left_alone_and_named(kind: Kind) -> None:
    world = await _removed_by_force()
    if kind is Kind.VIRTUAL_SERVICE:
        world.touch(kind, NAME, _own_destination)
    else:
        mine: Any = deployment(1) if kind is Kind.DEPLOYMENT else service()
        mine["metadata"]["name"] = CANARY
        world.cluster.put(kind, mine)
    weight = world.weight
    world.apply()
    before = len(world.cluster.writes)
    await world.run(60)
    stalled = world.status.condition(ConditionType.STALLED)
    assert stalled is not None
    assert (ConditionStatus.TRUE, "RouteUnsupported") == (stalled.status, stalled.reason)
    assert f"gives {weight} % of its traffic to {CANARY!r}" in stalled.message
    assert {"MODEL_RELEASE"} >= {kind for _, kind in _writes(world, before)}
    world.cluster.put(Kind.VIRTUAL_SERVICE, virtual_service())
    await world.run(40, until=lambda one: one.status.phase is Phase.PREPARING)
