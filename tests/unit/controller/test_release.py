"""Whole releases on fakes: the real controller, the real judge, simulated pods and traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from modelrelease.api.status import ConditionStatus, ConditionType, Outcome, Phase, parse_status
from modelrelease.controller.refresh import is_significant
from modelrelease.errors import Forbidden, ReleaseError, Retryable
from modelrelease.ports import Kind, Manifest
from simulation import Canary, World
from simulation.world import KEY, NAME, NAMESPACE, NEW_IMAGE, STABLE_IMAGE, VIRTUAL_SERVICE, release


def _ended(world: World) -> bool:
    return bool(world.status.history) and world.status.phase.is_at_rest


def _distinct(world: World) -> list[int]:
    return [weight for _, weight in world.weights]


@pytest.fixture
async def world() -> World:
    made = World()
    made.deploy_stable()
    await made.run(60)
    made.apply()
    return made


async def test_a_good_version_is_released_through_every_step(world: World) -> None:
    await world.run(900, until=_ended)

    assert world.status.phase is Phase.SUCCEEDED
    assert _distinct(world) == [0, 1, 5, 20, 50, 100, 0]
    assert world.status.history[0].outcome is Outcome.SUCCEEDED
    stable = world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME)
    assert stable is not None
    assert stable["spec"]["template"]["spec"]["containers"][0]["image"] == NEW_IMAGE  # type: ignore[index,call-overload]
    assert not world.exists(Kind.DEPLOYMENT, f"{NAME}-canary")
    assert not world.exists(Kind.SERVICE, f"{NAME}-canary")


async def test_the_virtual_service_has_its_original_shape_afterwards(world: World) -> None:
    await world.run(900, until=_ended)

    route = world.cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME)
    assert route is not None
    assert route["spec"] == VIRTUAL_SERVICE["spec"]


async def test_conditions_say_succeeded_only_at_the_end(world: World) -> None:
    await world.run(30, until=lambda one: one.weight == 1)
    succeeded = world.status.condition(ConditionType.SUCCEEDED)
    assert succeeded is not None
    assert succeeded.status is ConditionStatus.UNKNOWN

    await world.run(900, until=_ended)
    succeeded = world.status.condition(ConditionType.SUCCEEDED)
    assert succeeded is not None
    assert succeeded.status is ConditionStatus.TRUE


async def test_a_version_that_fails_is_taken_off_the_air(world: World) -> None:
    world.canary.error_rate = 1.0
    await world.run(600, until=_ended)

    assert world.status.phase is Phase.ROLLED_BACK
    assert world.status.outcome_reason == "ErrorRateTooHigh"
    assert max(_distinct(world)) <= 5
    assert world.weight == 0
    assert not world.exists(Kind.DEPLOYMENT, f"{NAME}-canary")
    stable = world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME)
    assert stable is not None
    assert stable["spec"]["template"]["spec"]["containers"][0]["image"] == STABLE_IMAGE  # type: ignore[index,call-overload]


async def test_a_breach_at_20_per_cent_ends_within_three_seconds(world: World) -> None:
    await world.run(600, until=lambda one: one.weight == 20)
    await world.run(5)
    world.canary.error_rate = 1.0
    breach = world.clock.now()
    await world.run(10, until=lambda one: one.weight == 0)
    assert world.clock.now() - breach <= 3.0


async def test_a_slow_version_is_rolled_back_for_its_latency(world: World) -> None:
    world.canary.latency_ms = 200.0
    await world.run(900, until=_ended)
    assert (Phase.ROLLED_BACK, "LatencyTooHigh") == (world.status.phase, world.status.outcome_reason)


async def test_a_version_that_never_starts_fails_without_traffic(world: World) -> None:
    world.canary.starts = False
    await world.run(120, until=_ended)
    assert world.status.phase is Phase.FAILED
    assert _distinct(world) == [0]


async def test_a_canary_that_is_lost_twice_is_rolled_back(world: World) -> None:
    await world.run(600, until=lambda one: one.weight == 5)
    world.canary.crashes = True
    await world.run(3)
    assert world.weight == 0
    world.canary.crashes = False
    await world.run(30, until=lambda one: one.weight == 5)
    world.canary.crashes = True
    await world.run(30, until=_ended)
    assert (Phase.ROLLED_BACK, "CanaryCrashed") == (world.status.phase, world.status.outcome_reason)


CANARY = f"{NAME}-canary"


async def _with_pod(**analysis: str) -> World:
    """A release at 20 % whose canary has a pod to be seen; samples are judged 4 s late."""
    world = World()
    world.deploy_stable()
    await world.run(60)
    spec = cast(dict[str, Any], release(NEW_IMAGE)["spec"])
    world.apply(analysis={**spec["analysis"], "lag": "4s", **analysis})
    await world.run(60, until=lambda one: one.weight == 1)
    _put_pod(world, "p")
    await world.run(600, until=lambda one: one.weight == 20)
    await world.run(6)
    return world


def _put_pod(world: World, name: str, *, ready: bool = False) -> None:
    """A pod of the canary; with `ready`, it is so from now on."""
    canary = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY))
    labels = canary["spec"]["selector"]["matchLabels"]
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "finalizers": ["example.com/still-going"]}
    since = datetime.fromtimestamp(int(world.clock.now()), UTC).isoformat()
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}] if ready else []
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"conditions": conditions}}
    world.cluster.put(Kind.POD, cast(Manifest, pod))


async def _fail(world: World) -> None:
    """Three seconds in which the canary fails in half of its requests: one window is a burst, three are evidence."""
    for _ in range(3):
        world.metrics.count_each(CANARY, "canary", [5.0] * 12, code="503", namespace=NAMESPACE)
        await world.run(1)


async def _lose(world: World) -> None:
    """The canary is not available any more; the proxies learn of it a moment later, and send requests to nobody."""
    world.canary.crashes = True
    await world.run(1)
    world.metrics.count_each(CANARY, "canary", [5.0] * 12, code="503", namespace=NAMESPACE)


@pytest.mark.parametrize("restarts", [False, True], ids=["one-process", "a-restart"])
@pytest.mark.parametrize("by_force", [False, True], ids=["evicted", "deleted-by-force"])
async def test_what_is_lost_with_a_pod_that_others_took_is_no_evidence_against_the_version(
    by_force: bool, restarts: bool
) -> None:
    world = await _with_pod()
    world.cluster.remove(Kind.POD, NAMESPACE, "p", force=by_force)
    await _lose(world)
    await world.run(1)
    if not by_force:
        world.cluster.remove(Kind.POD, NAMESPACE, "p", force=True)
    if restarts:
        world.restart()
    await world.run(8)
    assert (0, 1) == (world.weight, world.status.losses)
    world.canary.crashes = False
    await world.run(60, until=lambda one: one.weight == 20)
    await world.run(600, until=_ended)
    assert Phase.SUCCEEDED is world.status.phase


@pytest.mark.parametrize("restarts", [False, True], ids=["one-process", "a-restart"])
async def test_what_is_lost_with_one_pod_of_several_is_no_evidence_against_the_version(restarts: bool) -> None:
    world = await _with_pod(warmUp="3s")
    world.cluster.remove(Kind.POD, NAMESPACE, "p")
    world.wake()
    await world.run(1)
    world.metrics.count_each(CANARY, "canary", [5.0] * 40, code="503", namespace=NAMESPACE)
    await world.run(1)
    world.cluster.remove(Kind.POD, NAMESPACE, "p", force=True)
    if restarts:
        world.restart()
    await world.run(9)
    assert (Phase.PROGRESSING, 0, []) == (world.status.phase, world.status.losses, world.status.departures)
    await world.run(900, until=_ended)
    assert Phase.SUCCEEDED is world.status.phase


async def test_what_a_canary_does_that_hangs_is_evidence_although_no_container_died() -> None:
    world = await _with_pod()
    await _fail(world)
    await _lose(world)
    await world.run(8)
    assert (0, "ErrorRateTooHigh") == (world.weight, world.status.outcome_reason)


async def test_what_a_canary_did_before_it_was_not_ready_for_a_moment_is_judged_before_it_gets_traffic_again() -> None:
    world = await _with_pod()
    await _fail(world)
    await _lose(world)
    assert (0, 1) == (world.weight, world.status.losses)
    lost_at = len(world.weights)
    world.canary.crashes = False
    await world.run(30, until=_ended)
    assert "ErrorRateTooHigh" == world.status.outcome_reason
    assert [] == world.weights[lost_at:]


async def test_what_was_before_the_pod_was_asked_to_go_is_still_judged() -> None:
    world = await _with_pod()
    await _fail(world)
    world.cluster.remove(Kind.POD, NAMESPACE, "p")
    await _lose(world)
    assert (0, 1) == (world.weight, world.status.losses)
    await world.run(8)
    assert (0, "ErrorRateTooHigh") == (world.weight, world.status.outcome_reason)


async def _at_20_percent() -> World:
    """A release at 20 % beside an autoscaler."""
    world = World()
    world.deploy_stable()
    target = {"kind": "Deployment", "name": NAME}
    autoscaler = {
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"minReplicas": 1, "maxReplicas": 20, "scaleTargetRef": target},
    }
    world.cluster.put(Kind.AUTOSCALER, cast(Manifest, autoscaler))
    await world.run(60)
    world.apply()
    await world.run(600, until=lambda one: one.weight == 20)
    await world.run(3)
    return world


def _unreadable(world: World, kinds: tuple[Kind, ...], error: ReleaseError) -> None:
    def refuse(read: Kind, namespace: str | None, name: str | None) -> None:  # noqa: ARG001
        if read in kinds:
            raise error

    world.cluster.before_read = refuse


@pytest.mark.parametrize("kind", [Kind.SERVICE, Kind.AUTOSCALER])
async def test_a_permission_that_the_way_back_does_not_need_holds_no_verdict_up(kind: Kind) -> None:
    world = await _at_20_percent()
    _unreadable(world, (kind,), Forbidden(f"{kind.value.plural} may not be read"))
    world.canary.error_rate = 1.0
    await world.run(10, until=lambda one: one.weight == 0)
    assert "ErrorRateTooHigh" == world.status.outcome_reason
    world.cluster.before_read = None
    await world.run(60, until=_ended)
    assert Phase.ROLLED_BACK is world.status.phase


NEEDED = (Kind.MODEL_RELEASE, Kind.VIRTUAL_SERVICE, Kind.GATEWAY)
"""Gateways say whose requests the route splits; after a restart they are waited for."""
EVERYTHING_ELSE = tuple(kind for kind in Kind if kind not in NEEDED)


@pytest.mark.parametrize("error", [Forbidden("not you"), Retryable("503")], ids=["forbidden", "unavailable"])
@pytest.mark.parametrize("kinds", [(Kind.POD,), (Kind.DEPLOYMENT,), EVERYTHING_ELSE], ids=["pods", "both", "all"])
@pytest.mark.parametrize("restarts", [False, True], ids=["one-process", "a-restart"])
async def test_the_route_and_prometheus_are_enough_to_take_a_bad_canary_off_the_air(
    kinds: tuple[Kind, ...], error: ReleaseError, restarts: bool
) -> None:
    world = await _at_20_percent()
    _unreadable(world, kinds, error)
    if restarts:
        world.restart()
    world.canary.error_rate = 1.0
    await world.run(15, until=lambda one: one.weight == 0)
    assert Phase.PROGRESSING is world.status.phase, "a suspicion is no verdict"
    # Somebody gives it traffic again, and nothing can be seen yet.
    world.touch(Kind.VIRTUAL_SERVICE, NAME, _with_weights(50))
    await world.run(15, until=lambda one: one.weight == 0)
    world.cluster.before_read = None
    await world.run(60, until=_ended)
    assert (Phase.ROLLED_BACK, "ErrorRateTooHigh") == (world.status.phase, world.status.outcome_reason)
    assert 1 == world.announcer.reasons.count("CanarySuspected")


@pytest.mark.parametrize("kinds", [(Kind.POD,), tuple(Kind)], ids=["a-glance", "nobody-looks"])
@pytest.mark.parametrize("restarts", [False, True], ids=["one-process", "a-restart"])
async def test_what_pods_did_that_came_and_went_unseen_is_no_evidence(kinds: tuple[Kind, ...], restarts: bool) -> None:
    """A pod is evicted, and the one in its place fails until it is warm, while the operator sees no pods."""
    world = await _with_pod(warmUp="8s")
    await world.run(10)
    _unreadable(world, kinds, Retryable("503"))
    await world.run(2)
    world.cluster.remove(Kind.POD, NAMESPACE, "p", force=True)
    _put_pod(world, "q")
    for _ in range(5):
        world.metrics.count_each(CANARY, "canary", [5.0] * 20, code="503", namespace=NAMESPACE)
        await world.run(1)
    _put_pod(world, "q", ready=True)
    for _ in range(5):
        world.metrics.count_each(CANARY, "canary", [5.0] * 20, code="503", namespace=NAMESPACE)
        await world.run(1)
    await world.run(10)
    assert (0 if kinds == (Kind.POD,) else 20) == world.weight
    if restarts:
        world.restart()
    world.cluster.before_read = None
    await world.run(900, until=_ended)
    assert Phase.SUCCEEDED is world.status.phase


def _with_weights(canary: int) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for entry in body["spec"]["http"][0]["route"]:
            entry["weight"] = canary if entry["destination"]["host"] == CANARY else 100 - canary

    return change


async def test_pods_that_cannot_be_read_are_nothing_against_a_good_canary() -> None:
    world = await _at_20_percent()
    _unreadable(world, (Kind.POD,), Forbidden("not you"))
    await world.run(30)
    status = world.status
    assert (20, Phase.PROGRESSING, 0) == (world.weight, status.phase, status.losses)
    stalled = status.condition(ConditionType.STALLED)
    assert stalled is not None
    assert (ConditionStatus.TRUE, "Forbidden") == (stalled.status, stalled.reason)
    world.cluster.before_read = None
    await world.run(900, until=_ended)
    assert Phase.SUCCEEDED is world.status.phase


@pytest.mark.parametrize("how", ["abort", "delete"])
async def test_what_people_want_off_the_air_goes_although_pods_cannot_be_read(how: str) -> None:
    world = await _at_20_percent()
    _unreadable(world, (Kind.POD,), Forbidden("not you"))
    before = world.status
    if how == "abort":
        world.annotate("abort", "it smells")
    else:
        world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME)
        world.wake()
    await world.run(15, until=lambda one: one.weight == 0)
    status = world.status
    assert (Phase.ROLLING_BACK, before.canary, before.stable) == (status.phase, status.canary, status.stable)
    await world.run(15)
    assert "not you" == world.status.message
    world.cluster.before_read = None
    await world.run(60, until=lambda one: not one.exists(Kind.DEPLOYMENT, CANARY))
    await world.run(5)
    told = ["A person aborted the release of v1.1.0 (it smells)."] if how == "abort" else []
    assert told == [entry.message for entry in world.status.history], "what kept the way back up is not its reason"


async def test_abort_takes_traffic_off_at_once(world: World) -> None:
    await world.run(600, until=lambda one: one.weight == 20)
    world.annotate("abort", "looks wrong")
    await world.run(2)
    assert world.weight == 0
    await world.run(30, until=_ended)
    assert (Phase.ROLLED_BACK, "Aborted") == (world.status.phase, world.status.outcome_reason)
    assert "looks wrong" in world.status.message
    release = world.cluster.peek(Kind.MODEL_RELEASE, NAMESPACE, NAME)
    assert release is not None
    assert not release["metadata"].get("annotations")  # type: ignore[union-attr]


async def test_retry_begins_the_same_release_again(world: World) -> None:
    world.canary.error_rate = 1.0
    await world.run(600, until=_ended)
    world.canary.error_rate = 0.0
    world.annotate("retry", "true")
    await world.run(900, until=lambda one: one.status.phase is Phase.SUCCEEDED)
    assert [Outcome.SUCCEEDED, Outcome.ROLLED_BACK] == [entry.outcome for entry in world.status.history]


async def test_promote_full_goes_to_the_last_step(world: World) -> None:
    await world.run(600, until=lambda one: one.weight == 5)
    world.annotate("promote", "full")
    await world.run(60, until=_ended)
    assert world.status.phase is Phase.SUCCEEDED
    assert _distinct(world) == [0, 1, 5, 100, 0]


async def test_pause_holds_and_resume_goes_on(world: World) -> None:
    await world.run(600, until=lambda one: one.weight == 5)
    world.annotate("pause", "true")
    await world.run(200)
    assert (5, Phase.PAUSED) == (world.weight, world.status.phase)
    world.annotate("resume", "true")
    await world.run(900, until=_ended)
    assert world.status.phase is Phase.SUCCEEDED


async def test_nothing_is_written_at_rest(world: World) -> None:
    await world.run(900, until=_ended)
    await world.run(5)
    before = len(world.cluster.writes)
    await world.run(700)
    assert before == len(world.cluster.writes)


async def test_a_healthy_release_needs_few_writes(world: World) -> None:
    before, status = len(world.cluster.writes), world.status
    await world.run(900, until=_ended)
    await world.run(5)
    kinds: Counter[tuple[str, str]] = Counter()
    for write in world.cluster.writes[before:]:
        if write.verb == "replace_status":
            assert write.manifest is not None
            status, earlier = parse_status(write.manifest["status"]), status
            if not is_significant(earlier, status):
                continue  # a refresh of figures
        kinds[(write.verb, write.kind.name)] += 1
    assert kinds[("replace", "VIRTUAL_SERVICE")] == 7, kinds
    assert kinds[("create", "DEPLOYMENT")] == kinds[("delete", "DEPLOYMENT")] == 1
    assert sum(kinds.values()) <= 24, kinds


async def test_without_metrics_the_release_holds_and_says_so(world: World) -> None:
    await world.run(600, until=lambda one: one.weight == 5)
    world.metrics.problem = "connection refused"
    await world.run(120)
    healthy = world.status.condition(ConditionType.ANALYSIS_HEALTHY)
    assert healthy is not None
    assert (5, ConditionStatus.FALSE) == (world.weight, healthy.status)


async def test_deletion_gives_stable_its_traffic_back(world: World) -> None:
    await world.run(600, until=lambda one: one.weight == 20)
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME)
    world.wake()
    await world.run(30)
    assert not world.exists(Kind.MODEL_RELEASE, NAME)
    assert not world.exists(Kind.DEPLOYMENT, f"{NAME}-canary")
    assert world.exists(Kind.DEPLOYMENT, NAME)
    assert world.weight == 0


async def test_a_restart_in_a_step_changes_nothing_but_time() -> None:
    ends = []
    for restarts in (False, True):
        world = World(seed=7)
        world.deploy_stable()
        await world.run(60)
        world.apply()
        for _ in range(900):
            if _ended(world):
                break
            await world.run(10)
            if restarts:
                world.restart()
        ends.append((world.status.phase, _distinct(world)))
    assert ends[0] == ends[1]


async def test_someone_elses_weight_is_put_back_and_the_third_time_pauses(world: World) -> None:
    await world.run(600, until=lambda one: one.weight == 20)
    await world.run(3)
    for _ in range(3):

        def meddle(body: dict) -> None:  # type: ignore[type-arg]
            for entry in body["spec"]["http"][0]["route"]:
                entry["weight"] = 70 if "canary" in entry["destination"]["host"] else 30

        world.cluster.edit(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME, meddle)
        await world.run(3)
    assert 20 == world.weight
    assert world.status.paused_reason == "WeightsContested"
    assert 3 == world.announcer.reasons.count("WeightChanged")


async def test_a_new_image_under_way_starts_over(world: World) -> None:
    await world.run(600, until=lambda one: one.weight == 20)
    world.apply(NEW_IMAGE.replace("v1.1.0", "v1.2.0"))
    await world.run(3)
    assert world.weight == 0
    await world.run(900, until=lambda one: one.status.phase is Phase.SUCCEEDED)
    assert [Outcome.SUCCEEDED, Outcome.SUPERSEDED] == [entry.outcome for entry in world.status.history]


def test_the_key_is_what_the_world_works_on() -> None:
    assert str(KEY) == f"{NAMESPACE}/{NAME}"
    assert Canary().starts


@pytest.mark.parametrize("weight", [0, 20])
async def test_a_route_is_given_back_though_release_and_canary_were_both_taken_away_by_force(weight: int) -> None:
    world = await _at_20_percent()
    if weight == 0:
        world.canary.crashes = True
        await world.run(10, until=lambda one: one.weight == 0)
    world.cluster.remove(Kind.DEPLOYMENT, NAMESPACE, CANARY)
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME, force=True)
    world.wake()
    await world.run(3)
    route = world.cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME)
    autoscaler = world.cluster.peek(Kind.AUTOSCALER, NAMESPACE, NAME)
    assert route is not None
    assert autoscaler is not None
    assert VIRTUAL_SERVICE["spec"] == route["spec"]
    assert 1 == cast(dict[str, Any], autoscaler)["spec"]["minReplicas"]


async def test_the_route_of_another_release_is_none_that_a_vanished_one_left() -> None:
    world = await _at_20_percent()
    canary = cast(Manifest, world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY))
    cast(dict[str, Any], canary)["metadata"] = {"name": CANARY, "namespace": NAMESPACE, "labels": {"of": "another"}}
    world.cluster.remove(Kind.DEPLOYMENT, NAMESPACE, CANARY)
    world.cluster.put(Kind.DEPLOYMENT, canary)
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME, force=True)
    world.wake()
    await world.run(3)
    assert 20 == world.weight
