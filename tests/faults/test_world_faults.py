"""What people and machines may do to the objects of a release (cases 16, 17, 19, 21, 23 of the list of faults)."""

from __future__ import annotations

import asyncio

import pytest

from faults import manifests
from faults.checks import canary_weights
from faults.manifests import CANARY, LONG_STEP, NAME, NEWER_IMAGE, OLD_IMAGE
from faults.stage import Scene, Stage
from faults.test_api_faults import in_order, succeeded
from modelrelease.api.model import GROUP
from modelrelease.api.status import Phase
from modelrelease.ports import Kind

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]


async def test_16_a_weight_of_somebody_else_is_put_back_and_in_a_loop_the_release_pauses(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy=LONG_STEP)
        await scene.until(lambda one: one.weight == 20 and one.status.confirmed_weight == 20)
        for number in range(1, 4):
            await scene.set_weights(30, 70)
            await scene.until(lambda one: one.weight == 70)
            if number < 3:
                await scene.until(lambda one: one.weight == 20)
                await scene.until(lambda one, wanted=number: one.status.fights == wanted)
        await scene.until(lambda one: one.condition("Paused").startswith("True"), 30)
        await scene.set_weights(60, 40)
        await scene.until(lambda one: one.condition("Stalled") == "True/WeightsContested", 30)
        await scene.annotate("abort", "who writes here?")
        await scene.until(lambda one: one.is_over)
        assert Phase.ROLLED_BACK is scene.status.phase
        await in_order(scene)


async def test_17_a_route_that_is_deleted_stalls_the_release_until_it_is_back(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy=LONG_STEP)
        await scene.until(lambda one: one.weight == 20)
        await scene.delete(Kind.VIRTUAL_SERVICE)
        await scene.until(lambda one: one.condition("Stalled") == "True/VirtualServiceMissing", 30)
        await scene.serve_route()
        await scene.until(lambda one: one.weight == 20, 60)
        await succeeded(scene)


@pytest.mark.parametrize("how", ["delete", "scale", "edit"])
async def test_19_a_canary_that_is_meddled_with_loses_its_traffic_first(stage: Stage, how: str) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy=LONG_STEP)
        await scene.until(lambda one: one.weight == 20)
        before = len(scene.api.writes)
        if how == "delete":
            await scene.delete(Kind.DEPLOYMENT, CANARY)
        elif how == "scale":
            await scene.kube.merge(Kind.DEPLOYMENT, scene.namespace, CANARY, {"spec": {"replicas": 0}})
        else:
            container = {"name": "server", "image": "somebody/else:v0"}
            template = {"template": {"spec": {"containers": [container]}}}
            await scene.kube.merge(Kind.DEPLOYMENT, scene.namespace, CANARY, {"spec": template})
        await scene.until(lambda one: one.weight == 0)
        acts = [asked.signature for _, asked in scene.api.writes[before:] if asked.plural != "events"]
        assert "PUT virtualservices 100,0" == next(one for one in acts if "/status" not in one)
        await scene.until(_is_settled)
        await scene.rest(1.0)
        assert [] == scene.violations()
        assert [] == scene.left_over()


def _is_settled(scene: Scene) -> bool:
    return scene.is_over and scene.status.phase is not Phase.INITIALIZING


async def test_21_an_edit_of_the_image_starts_over_from_0_and_an_old_promotion_is_ignored(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy=LONG_STEP)
        await scene.until(lambda one: one.weight == 20)
        old = (scene.manifest(Kind.MODEL_RELEASE) or {})["metadata"]["generation"]
        await scene.apply(NEWER_IMAGE)
        await scene.annotate("promote", f"full@{old}")
        await scene.until(lambda one: one.weight == 0, 20)
        await scene.until(lambda one: one.is_over and one.stable_image == NEWER_IMAGE)
        assert Phase.SUCCEEDED is scene.status.phase
        await in_order(scene)
        annotations = (scene.manifest(Kind.MODEL_RELEASE) or {})["metadata"].get("annotations") or {}
        assert not [name for name in annotations if name.startswith(f"{GROUP}/")]
        assert [20, 0, 20, 100] == canary_weights(scene.revisions, NAME)[:4]


async def test_21_an_image_that_is_changed_back_leaves_stable_as_it_was(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy=LONG_STEP)
        await scene.until(lambda one: one.weight == 20)
        await scene.apply(OLD_IMAGE)
        await scene.until(lambda one: one.weight == 0, 20)
        await scene.until(_is_settled)
        assert OLD_IMAGE == scene.stable_image
        await in_order(scene)


async def test_23_of_two_releases_for_one_deployment_one_waits(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply()
        await scene.until(lambda one: one.weight == 20)
        rival = manifests.release(scene.namespace, NEWER_IMAGE, name="rival")
        await scene.kube.create(Kind.MODEL_RELEASE, rival)

        def conflict(one: Scene) -> bool:
            conditions = ((one.manifest(Kind.MODEL_RELEASE, "rival") or {}).get("status") or {}).get("conditions") or []
            return any((found["type"], found["reason"]) == ("Stalled", "Conflict") for found in conditions)

        await scene.until(conflict, 30)
        await scene.until(lambda one: one.is_over)
        assert Phase.SUCCEEDED is scene.status.phase
        await asyncio.sleep(1)
        assert [] == scene.violations()
