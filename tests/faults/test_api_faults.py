"""What the API server may do to the operator (cases 4 to 9, 22, 30 and 31 of the list of faults)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from faults.api_proxy import Exchange, Fault, Reply, delay, drop, refuse, throttle
from faults.kube import Json
from faults.manifests import CANARY, LONG_STEP, NAME, NEW_IMAGE, OLD_IMAGE
from faults.stage import Scene, Stage
from faults.writes import Asked
from modelrelease.api.status import Phase
from modelrelease.ports import Kind

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]


def is_route_write(asked: Asked) -> bool:
    return asked.plural == "virtualservices" and asked.is_write


async def succeeded(scene: Scene) -> None:
    """It ends as a release without faults does."""
    await scene.until(lambda one: one.is_over)
    assert Phase.SUCCEEDED is scene.status.phase
    await in_order(scene)


async def in_order(scene: Scene) -> None:
    """Nothing is violated, nothing is left, nobody lost a request, and nothing is written any more."""
    writes_at_rest = await scene.rest(1.0)
    assert [] == scene.violations()
    assert [] == scene.left_over()
    assert (0, 0) == (writes_at_rest, scene.world.lost_requests)


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
async def test_04_retry_after_is_honoured(stage: Stage, as_date: bool) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        scene.api.on(is_route_write, throttle(4, as_date=as_date))
        await scene.apply()

        def moments(_: Scene) -> list[float]:
            return [at for at, asked in scene.api.writes if is_route_write(asked)]

        await scene.until(lambda one: len(moments(one)) > 1)
        first, second = moments(scene)[:2]
        assert second - first >= (2.9 if as_date else 4.0), "a date has whole seconds"
        await succeeded(scene)


@pytest.mark.parametrize("how", ["500", "503", "refused"])
async def test_05_an_api_server_that_is_away_loses_nothing(stage: Stage, how: str) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply()
        await scene.until(lambda one: one.weight == 20)
        before = scene.api.requests
        if how == "refused":
            scene.api.cut()
        else:
            scene.api.on(lambda asked: not asked.is_lease, refuse(int(how)), times=math.inf)
        await asyncio.sleep(8)
        asked = scene.api.requests - before
        assert asked < 200, f"{asked} requests in 8 s are a hot loop"
        scene.api.rules.clear()
        scene.api.mend()
        await succeeded(scene)


async def test_06_no_step_is_skipped_after_the_api_server_was_away(stage: Stage) -> None:
    """It is away for several times as long as a step lasts; the checker wants one step at a time."""
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy={"steps": [{"weight": one, "minDuration": "2s"} for one in (1, 5, 20, 50, 100)]})
        await scene.until(lambda one: one.weight == 1)
        scene.api.cut()
        await asyncio.sleep(10)
        scene.api.mend()
        await scene.until(lambda one: one.weight > 1)
        assert 5 == scene.weight


async def test_07_forbidden_is_said_and_tried_again(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        rule = scene.api.on(is_route_write, refuse(403, "virtualservices is forbidden"), times=math.inf)
        await scene.apply()
        await scene.until(lambda one: one.condition("Stalled") == "True/Forbidden")
        struck = rule.struck
        await scene.until(lambda _: rule.struck > struck, 40)
        assert 0 == scene.weight
        scene.api.rules.clear()
        await succeeded(scene)
        assert not scene.condition("Stalled").startswith("True")


@pytest.mark.parametrize("plurals", [("pods",), ("deployments",), ("pods", "deployments", "services")])
async def test_07_what_a_verdict_does_not_need_may_be_forbidden_to_read(stage: Stage, plurals: tuple[str, ...]) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy=LONG_STEP)
        await scene.until(lambda one: one.weight == 20)

        def is_forbidden(asked: Asked) -> bool:
            return asked.plural in plurals and not asked.is_write and not asked.is_watch

        scene.api.on(is_forbidden, refuse(403, f"{plurals[0]} is forbidden"), times=math.inf)
        await scene.until(lambda one: one.condition("Stalled") == "True/Forbidden")
        assert 20 == scene.weight, "a permission that is missing is nothing against a canary"
        scene.world.canary.error_rate = 1.0
        await scene.until(lambda one: one.weight == 0)
        await scene.until(lambda one: one.status.weight == 0)
        assert Phase.PROGRESSING is scene.status.phase, "without its pods that is no verdict"
        scene.api.rules.clear()
        await scene.until(lambda one: one.is_over)
        assert (Phase.ROLLED_BACK, "ErrorRateTooHigh") == (scene.status.phase, scene.status.outcome_reason)
        await in_order(scene)


def _gone(_: Asked, event: Json) -> list[Json]:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired"}
    return [event, {"type": "ERROR", "object": status}]


@pytest.mark.parametrize("how", ["cut", "410", "twice", "no events"])
async def test_08_broken_watches_are_repaired(stage: Stage, how: str) -> None:
    async with stage.scene() as scene:
        alterations: dict[str, Any] = {
            "410": _gone,
            "twice": lambda _, event: [event, event],
            "no events": lambda _, event: [event] if event["type"] == "BOOKMARK" else [],
            "cut": None,
        }
        scene.operator.start()
        await scene.until(lambda one: any(line["event"] == "leadership" for line in one.operator.said()))
        await asyncio.sleep(1)
        scene.api.alter_event = alterations[how]
        cutter = asyncio.create_task(_cut_watches(scene)) if how == "cut" else None
        await scene.apply()
        await succeeded(scene)
        if cutter is not None:
            cutter.cancel()


async def _cut_watches(scene: Scene) -> None:
    while True:
        await asyncio.sleep(1)
        scene.api.cut_watches()


async def test_08_a_deletion_that_nobody_was_told_of_is_found(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply()
        await scene.until(lambda one: one.weight == 20)
        scene.api.alter_event = lambda _, event: [] if event["type"] in ("DELETED", "MODIFIED") else [event]
        await scene.delete()
        await scene.until(lambda one: one.is_over)
        await in_order(scene)


async def test_09_an_old_answer_after_a_restart_brings_no_old_weight_back(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        answers: list[Reply] = []

        async def remember(exchange: Exchange) -> Any:
            answers.append(await exchange.forward())
            return answers[-1].response()

        def is_route_read(asked: Asked) -> bool:
            return asked.plural == "virtualservices" and asked.method == "GET" and bool(asked.name)

        scene.api.on(lambda asked: is_route_read(asked) and scene.weight == 20, remember)
        await scene.apply()
        await scene.until(lambda one: one.weight == 20 and answers)
        scene.world.canary.error_rate = 1.0
        await scene.until(lambda one: one.weight == 0)
        await asyncio.to_thread(scene.operator.kill)

        async def replay(_: Exchange) -> Any:
            return answers[0].response()

        scene.api.on(is_route_read, replay, times=40)
        scene.operator.start()
        await scene.until(lambda one: one.is_over)
        assert Phase.ROLLED_BACK is scene.status.phase
        await in_order(scene)


@pytest.mark.parametrize("phase", ["Preparing", "Progressing", "Baking", "Promoting", "RollingBack"])
async def test_22_deleted_in_any_phase_it_leaves_stable_alone(stage: Stage, phase: str) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        scene.world.canary.error_rate = 1.0 if phase == "RollingBack" else 0.0
        scene.world.start_seconds = 3.0 if phase in ("Preparing", "Promoting") else 0.3
        await scene.apply(strategy={"bakeTime": "4s", "drainDelay": "3s"})
        await scene.until(lambda one: one.status.phase == phase)
        scene.metrics.tell(_hang_up)
        await scene.delete()
        await scene.until(lambda one: one.is_over)
        assert OLD_IMAGE == scene.stable_image, "what was replaced half is put back"
        await in_order(scene)


async def _hang_up(_: Any, request: Any, __: bytes) -> Any:
    from faults.metrics_proxy import refuse as hang_up  # noqa: PLC0415 - the other `refuse`

    return await hang_up(_, request, __)


async def test_22_without_its_finalizer_the_canary_is_cleaned_up_all_the_same(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply()
        await scene.until(lambda one: one.weight == 20)
        await scene.kube.merge(Kind.MODEL_RELEASE, scene.namespace, NAME, {"metadata": {"finalizers": None}})
        await scene.delete()
        await scene.until(lambda one: one.manifest(Kind.MODEL_RELEASE) is None)
        await scene.until(lambda one: one.weight == 0)
        await scene.until(lambda one: one.is_over)
        await in_order(scene)


def _is_told(asked: Asked) -> bool:
    return asked.is_write and asked.plural == "events"


def _is_noted(asked: Asked) -> bool:
    return asked.subresource == "status"


@pytest.mark.parametrize("fault", [refuse(500), refuse(403), delay(30), drop], ids=["500", "403", "stalled", "dropped"])
@pytest.mark.parametrize("matches", [_is_told, _is_noted], ids=["events", "status"])
async def test_30_a_bad_canary_is_taken_off_the_air_though_nobody_can_be_told(
    stage: Stage, matches: Callable[[Asked], bool], fault: Fault
) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy=LONG_STEP)
        await scene.until(lambda one: one.weight == 20)
        rules = [scene.api.on(_is_told, fault, times=math.inf)]
        if matches is _is_noted:
            rules.append(scene.api.on(_is_noted, fault, times=math.inf))
        scene.world.canary.error_rate = 1.0
        await scene.until(lambda one: one.weight == 0)
        await scene.until(lambda _: rules[-1].struck > 1)
        await scene.holds(lambda one: one.weight == 0, 4)
        assert matches is _is_told or Phase.PROGRESSING is scene.status.phase, "nobody could note it"
        scene.api.rules.clear()
        await scene.until(lambda one: one.is_over)
        assert Phase.ROLLED_BACK is scene.status.phase
        await in_order(scene)


async def test_30_a_namespace_that_is_deleted_blocks_nothing(stage: Stage) -> None:
    """Nothing can be created in it any more, and all that is in it goes."""
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply()
        await scene.until(lambda one: one.weight == 20)
        await scene.kube.send("DELETE", f"/api/v1/namespaces/{scene.namespace}")
        for kind in (Kind.MODEL_RELEASE, Kind.VIRTUAL_SERVICE, Kind.SERVICE, Kind.DEPLOYMENT):
            await scene.delete(kind)
        await scene.until(lambda one: one.manifest(Kind.MODEL_RELEASE) is None, 60)
        await scene.until(lambda one: one.manifest(Kind.DEPLOYMENT, CANARY) is None, 60)
        assert scene.operator.is_alive
        assert [] == scene.operator.crashes()


async def test_31_a_new_operator_and_a_new_definition_take_up_where_the_old_ones_were(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply()
        await scene.until(lambda one: one.weight == 20)
        status = await asyncio.to_thread(scene.operator.stop)
        assert 0 == status, "SIGTERM is no failure"
        name = "modelreleases.modelrelease.dev"
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        labels = {"metadata": {"labels": {"upgraded": "true"}}}
        await scene.kube.send("PATCH", path, labels, kind="application/merge-patch+json")
        scene.operator.start()
        await scene.until(lambda one: one.weight == 100)
        await succeeded(scene)
        assert NEW_IMAGE == scene.stable_image
