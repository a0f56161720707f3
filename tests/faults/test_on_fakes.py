"""Cases of the list of faults that are about judgement and time: on the fakes, with the whole controller."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest

from fakes.metrics import FakeMetrics
from modelrelease.api.status import ConditionStatus, ConditionType, Phase
from modelrelease.ports import Key, Kind, Manifest, Samples, Watched
from simulation import World
from simulation.invariants import violations
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, STABLE_IMAGE, virtual_service

CANARY = f"{NAME}-canary"


def is_over(world: World) -> bool:
    return bool(world.status.history) and world.status.phase.is_at_rest


async def begun(replicas: int = 1, rps: float = 40, world: World | None = None, **spec: Any) -> World:
    made = world or World(rps=rps)
    made.deploy_stable(replicas)
    await made.run(40)
    made.apply(**spec)
    return made


def has_weight(weight: int) -> Callable[[World], bool]:
    return lambda world: world.weight == weight


def outcome(world: World) -> tuple[Phase, str]:
    assert [] == violations(world.cluster.history)
    return world.status.phase, world.status.outcome_reason


async def test_14_one_error_at_low_traffic_is_no_verdict() -> None:
    world = await begun(rps=15)
    for weight in (1, 20):
        await world.run(900, until=has_weight(weight))
        await world.run(5)
        world.metrics.count(CANARY, "canary", 1, code="503", namespace=NAMESPACE)
    await world.run(2000, until=is_over)
    assert (Phase.SUCCEEDED, "Succeeded") == outcome(world)


async def test_14_counters_that_begin_again_are_no_verdict() -> None:
    world = await begun()
    for weight in (5, 20, 50):
        await world.run(600, until=has_weight(weight))
        world.metrics.restart("gateway-0")
    await world.run(900, until=is_over)
    assert (Phase.SUCCEEDED, "Succeeded") == outcome(world)


async def test_15_what_is_bad_for_both_is_not_the_canarys_fault() -> None:
    world = await begun(rps=60)
    await world.run(600, until=has_weight(20))
    world.canary.error_rate = world.stable_error_rate = 0.3
    await world.run(120)
    assert world.status.phase in (Phase.PROGRESSING, Phase.BAKING, Phase.PROMOTING, Phase.SUCCEEDED)
    world.canary.error_rate = world.stable_error_rate = 0.0
    await world.run(1200, until=is_over)
    assert (Phase.SUCCEEDED, "Succeeded") == outcome(world)


def _third(body: dict[str, Any]) -> None:
    route = body["spec"]["http"][0]["route"]
    route[0]["weight"] = 90
    route.append({"destination": {"host": "shadow"}, "weight": 10})


async def test_18_a_third_destination_is_refused_with_a_reason() -> None:
    world = World(rps=40)
    world.deploy_stable()
    world.cluster.edit(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME, _third)
    await world.run(20)
    world.apply()
    await world.run(60)
    stalled = world.status.condition(ConditionType.STALLED)
    assert stalled is not None
    assert (ConditionStatus.TRUE, "RouteUnsupported") == (stalled.status, stalled.reason)
    assert not world.exists(Kind.DEPLOYMENT, CANARY)
    world.cluster.put(Kind.VIRTUAL_SERVICE, virtual_service())
    world.wake()
    await world.run(900, until=is_over)
    assert (Phase.SUCCEEDED, "Succeeded") == outcome(world)


def in_phase(phase: Phase, weight: int) -> Callable[[World], bool]:
    return lambda world: (world.status.phase, world.status.weight) == (phase, weight)


def runs(world: World) -> str:
    """Image of stable."""
    stable = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME))
    return str(stable["spec"]["template"]["spec"]["containers"][0]["image"])


MEDDLED: dict[str, Callable[[dict[str, Any]], None]] = {
    "scaled": lambda body: body["spec"].update(replicas=0),
    "edited": lambda body: body["spec"]["template"]["spec"]["containers"][0].update(image="somebody/else:v0"),
}
MOMENTS: dict[str, Callable[[World], bool]] = {
    "first-step": in_phase(Phase.PROGRESSING, 20),
    "bake": in_phase(Phase.BAKING, 100),
    "promotion": in_phase(Phase.PROMOTING, 100),
    "drain": in_phase(Phase.PROMOTING, 0),
}


@pytest.mark.parametrize("wish", [{}, {"promote": "full"}], ids=["nobody-acts", "promote-full"])
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("how", ["deleted", *MEDDLED])
async def test_19_a_canary_that_is_meddled_with_is_no_success(
    how: str, moment: Callable[[World], bool], wish: dict[str, str]
) -> None:
    strategy = {
        "steps": [{"weight": weight, "minDuration": "5s"} for weight in (20, 100)],
        "bakeTime": "20s",
        "drainDelay": "5s",
        "progressDeadline": "60s",
    }
    world = await begun(2, rps=60, strategy=strategy)
    await world.run(900, until=moment)
    if how == "deleted":
        world.cluster.remove(Kind.DEPLOYMENT, NAMESPACE, CANARY)
    else:
        world.cluster.edit(Kind.DEPLOYMENT, NAMESPACE, CANARY, MEDDLED[how])
    world.wake()
    await world.run(5)
    for name, value in wish.items():
        world.annotate(name, value)
    await world.run(900, until=is_over)

    await world.run(5)
    by_hand = (
        ["the canary was deleted at weight 20", "the canary was deleted at weight 100"] if how == "deleted" else []
    )
    assert set(violations(world.cluster.history)) <= set(by_hand)
    assert (world.status.phase is Phase.SUCCEEDED) is (runs(world) == NEW_IMAGE)
    assert runs(world) in (NEW_IMAGE, STABLE_IMAGE)
    assert world.weight == 0
    assert world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY) is None


def _second_route(http: list[Any]) -> None:
    http.append({"name": "docs", "match": [{"uri": {"prefix": "/docs"}}], "route": [{"destination": {"host": NAME}}]})


def _redirect_before(http: list[Any]) -> None:
    http.insert(0, {"name": "old", "match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/"}})


def _copied(http: list[Any]) -> None:
    http.insert(0, {**http[0], "name": "gold", "match": [{"headers": {"x-gold": {"exact": "yes"}}}]})


def _renamed(http: list[Any]) -> None:
    http[0]["name"] = "main"


def _subsets(http: list[Any]) -> None:
    stable, canary = http[0]["route"]
    halves = [{"destination": {"host": NAME, "subset": one}, "weight": stable["weight"] // 2} for one in "ab"]
    http[0]["route"] = [*halves, canary]


def _elsewhere(http: list[Any]) -> None:
    http[0]["route"][0]["destination"] = {"host": "maintenance"}


def _canary_alone(http: list[Any]) -> None:
    http[0]["route"] = http[0]["route"][1:]


def _nothing_of_it(http: list[Any]) -> None:
    http[0]["route"] = [{"destination": {"host": "maintenance"}}]


@pytest.mark.parametrize("way", ["abort", "delete", "delete by force", "crash"])
@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (_second_route, None),
        (_redirect_before, None),
        (_copied, None),
        (_copied, "primary"),
        (_renamed, "primary"),
        (_subsets, None),
        (_elsewhere, None),
        (_canary_alone, "primary"),
        (_nothing_of_it, "primary"),
    ],
)
async def test_18_traffic_comes_off_in_whatever_shape_the_route_is(
    edit: Callable[[list[Any]], None], name: str | None, way: str
) -> None:
    world = await begun(**({} if name is None else {"traffic": {"route": name}}))
    await world.run(600, until=has_weight(20))
    world.touch(Kind.VIRTUAL_SERVICE, NAME, lambda body: edit(body["spec"]["http"]))
    await world.run(3)
    match way:
        case "abort":
            world.annotate("abort", "true")
        case "crash":
            world.canary.crashes = True
            world.wake()
        case _:
            world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME, force=way == "delete by force")
            world.wake()
    await world.run(5)
    assert world.weight == 0, world.status.message
    if way == "crash":
        world.annotate("abort", "true")
    await world.run(40, until=lambda one: not one.exists(Kind.DEPLOYMENT, CANARY))
    assert CANARY not in repr(world.cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME))
    assert [] == violations(world.cluster.history)


@pytest.mark.parametrize("edit", [_second_route, _renamed])
async def test_18_the_judge_sees_while_the_canary_has_traffic(edit: Callable[[list[Any]], None]) -> None:
    world = await begun(rps=100, traffic={"route": "primary"})
    await world.run(600, until=has_weight(20))
    world.touch(Kind.VIRTUAL_SERVICE, NAME, lambda body: edit(body["spec"]["http"]))
    world.canary.error_rate = 1.0
    await world.run(60, until=is_over)
    assert (Phase.ROLLED_BACK, "ErrorRateTooHigh") == outcome(world)


async def test_18_an_edit_of_stables_destination_is_followed_and_no_fight() -> None:
    world = await begun(2)
    await world.run(600, until=has_weight(20))
    for number in range(4):
        headers = {"response": {"set": {"x-edit": str(number)}}}
        world.touch(Kind.VIRTUAL_SERVICE, NAME, lambda body, new=headers: _stable_entry(body).update(headers=new))
        await world.run(3)
        route = cast(Any, world.cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME))["spec"]["http"][0]["route"]
        assert [headers, headers] == [entry["headers"] for entry in route]
    assert (0, False) == (world.status.fights, world.status.paused)
    await world.run(900, until=is_over)
    assert (Phase.SUCCEEDED, "Succeeded") == outcome(world)


def _stable_entry(body: dict[str, Any]) -> dict[str, Any]:
    found = (entry for entry in body["spec"]["http"][0]["route"] if entry["destination"]["host"] == NAME)
    return cast(dict[str, Any], next(found))


async def test_18_a_route_that_is_added_keeps_no_release_up() -> None:
    """Which of them is managed is told by the canary, also where no name was ever given."""
    world = await begun()
    await world.run(600, until=has_weight(20))
    world.touch(Kind.VIRTUAL_SERVICE, NAME, lambda body: _second_route(body["spec"]["http"]))
    await world.run(900, until=is_over)
    assert (Phase.SUCCEEDED, "Succeeded") == outcome(world)
    expected: Any = virtual_service()
    _second_route(expected["spec"]["http"])
    found: Any = world.cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME)
    assert expected["spec"] == found["spec"]


async def test_20_a_stable_without_pods_is_given_nothing_more() -> None:
    """A canary that serves keeps what it has, and the release goes on once there is something to compare with."""
    world = await begun(replicas=2)
    await world.run(600, until=has_weight(50))
    world.touch(Kind.DEPLOYMENT, NAME, lambda body: body["spec"].update(replicas=0))
    for _ in range(60):
        await world.second()
        assert world.weight >= 50, world.status.message
    world.touch(Kind.DEPLOYMENT, NAME, lambda body: body["spec"].update(replicas=2))
    await world.run(900, until=is_over)
    assert (Phase.SUCCEEDED, "Succeeded") == outcome(world)


@dataclass
class SkewedMetrics(FakeMetrics):
    """A Prometheus whose clock is right while the operator's is `skew_seconds` ahead."""

    skew_seconds: float = 0.0

    def scrape(self, at_seconds: float, *, target: str | None = None) -> None:
        super().scrape(at_seconds - self.skew_seconds, target=target)

    async def query(
        self, watched: Mapping[Key, Watched], *, start_seconds: float, end_seconds: float
    ) -> Mapping[Key, Samples]:
        return await super().query(watched, start_seconds=start_seconds, end_seconds=end_seconds)


@pytest.mark.parametrize("advance", ["Evidence", "Time"])
@pytest.mark.parametrize("hours", [1, -1])
async def test_25_a_clock_that_jumps_makes_no_step_come_early(hours: int, advance: str) -> None:
    metrics = SkewedMetrics()
    world = await begun(world=World(rps=40, metrics=metrics), strategy=_strategy(advance))
    await world.run(600, until=has_weight(20))
    metrics.skew_seconds = 3600.0 * hours
    world.clock.jump(3600.0 * hours)
    await world.run(3)
    step = world.status.step
    for _ in range(40):
        await world.second()
        assert (step, Phase.PROGRESSING) == (world.status.step, world.status.phase), world.status.message
    metrics.skew_seconds = 0.0
    world.clock.jump(-3600.0 * hours)
    await world.run(900, until=is_over)
    assert (Phase.SUCCEEDED, "Succeeded") == outcome(world)


LASTING = {
    "steps": [{"weight": weight, "minDuration": "60s"} for weight in (20, 100)],
    "bakeTime": "60s",
    "drainDelay": "60s",
    "progressDeadline": "60s",
}


@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("moment", ["first-step", "bake", "promotion-drain"])
async def test_25_what_has_to_last_lasts_when_prometheus_shares_the_jump(moment: str, hours: int) -> None:
    """And is not prolonged either where Prometheus goes on: one that went back takes no samples for an hour."""
    phase, weight = {"first-step": (Phase.PROGRESSING, 20), "bake": (Phase.BAKING, 100)}.get(
        moment, (Phase.PROMOTING, 0)
    )
    world = await begun(2, rps=60, strategy=LASTING)
    await world.run(900, until=in_phase(phase, weight))
    await world.run(10)
    world.clock.jump(3600.0 * hours)
    await world.run(45)
    assert (phase, weight) == (world.status.phase, world.status.weight)
    if hours > 0 or moment == "promotion-drain":
        await world.run(60, until=lambda world: world.status.phase is not phase)


async def test_25_a_canary_that_is_taken_back_drains_across_a_jump() -> None:
    world = await begun(2, rps=60, strategy=LASTING)
    await world.run(900, until=has_weight(20))
    world.annotate("abort", "not this one")
    await world.run(10, until=has_weight(0))
    world.clock.jump(3600.0)
    world.wake()
    await world.run(1)
    world.restart()  # what was found out about the clock is in status
    await world.run(55)
    assert world.exists(Kind.DEPLOYMENT, CANARY)
    await world.run(10, until=is_over)
    assert (Phase.ROLLED_BACK, "Aborted") == outcome(world)


async def test_25_a_jump_is_not_the_end_of_the_progress_deadline() -> None:
    world = World(rps=40)
    world.canary.starts = False
    await begun(world=world, strategy=LASTING)
    await world.run(15)
    world.clock.jump(3600.0)
    await world.run(30)
    assert world.status.phase is Phase.PREPARING
    await world.run(30, until=is_over)
    assert (Phase.FAILED, "ProgressDeadlineExceeded") == outcome(world)


def _strategy(advance: str) -> dict[str, Any]:
    steps = [{"weight": weight, "minDuration": "5s"} for weight in (1, 5, 20, 50, 100)]
    return {"steps": steps, "bakeTime": "10s", "drainDelay": "5s", "progressDeadline": "30s", "advance": advance}


PULL = "Back-off pulling image: manifest unknown"
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def _waiting(reason: str, message: str, **last: Any) -> dict[str, Any]:
    container = {"name": "server", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": reason}}}
    container["state"]["waiting"]["message"] = message  # type: ignore[index]
    return {"phase": "Pending", "containerStatuses": [{**container, **last}]}


TROUBLE: dict[str, tuple[dict[str, Any], str]] = {
    "image": (_waiting("ImagePullBackOff", PULL), PULL.rpartition(": ")[2]),
    "crash loop": (
        _waiting(
            "CrashLoopBackOff",
            "back-off 5m0s restarting failed container",
            lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        ),
        "OOMKilled",
    ),
    "bad digest": (_waiting("InvalidImageName", "couldn't parse image reference"), "couldn't parse image reference"),
    "no GPU": (
        {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_GPU}],
        },
        NO_GPU,
    ),
}


@pytest.mark.parametrize("trouble", sorted(TROUBLE))
async def test_26_27_a_canary_that_never_starts_fails_with_the_kubelets_words(trouble: str) -> None:
    status, quoted = TROUBLE[trouble]
    world = World(rps=40)
    world.canary.starts = False
    await begun(world=world)
    await world.run(60, until=lambda one: one.exists(Kind.DEPLOYMENT, CANARY))
    canary = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY))
    metadata = {
        "name": f"{CANARY}-0",
        "namespace": NAMESPACE,
        "labels": canary["spec"]["template"]["metadata"]["labels"],
        "ownerReferences": [{"uid": canary["metadata"]["uid"]}],
    }
    world.cluster.put(Kind.POD, cast(Manifest, {"metadata": metadata, "spec": {}, "status": status}))
    await world.run(120, until=is_over)
    assert Phase.FAILED is outcome(world)[0]
    assert quoted in world.status.message
    assert {0} == {weight for _, weight in world.weights}
    assert STABLE_IMAGE == _stable_image(world)


def _stable_image(world: World) -> str:
    found = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME))
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_28_the_weight_follows_the_pods_that_are_left() -> None:
    world = await begun(replicas=4)
    await world.run(600, until=has_weight(50))
    world.canary.evicted = 1
    await world.run(5, until=has_weight(20))
    world.canary.evicted = 0
    await world.run(900, until=is_over)
    assert (Phase.SUCCEEDED, "Succeeded") == outcome(world)


@pytest.mark.parametrize("weight", [0, 20])
async def test_29_abort_wins_over_promote_and_acts_once(weight: int) -> None:
    world = await begun()
    if weight:
        await world.run(600, until=has_weight(weight))
    else:
        await world.run(60, until=lambda one: one.status.phase is Phase.PREPARING)
    for _ in range(3):
        world.annotate("promote", "full")
        world.annotate("abort", "both at once")
        await world.run(2)
    await world.run(120, until=is_over)
    await world.run(30)
    assert (Phase.ROLLED_BACK, "Aborted") == outcome(world)
    assert 1 == len(world.status.history)
    assert 1 == world.announcer.reasons.count("Aborted")
    assert weight == max(at for _, at in world.weights)
