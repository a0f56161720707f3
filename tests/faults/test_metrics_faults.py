"""What Prometheus and the versions themselves may do (cases 10 to 13 of the list of faults)."""

from __future__ import annotations

import asyncio

import pytest

from faults.metrics_proxy import LIES
from faults.stage import Scene, Stage
from faults.test_api_faults import in_order, succeeded
from modelrelease.api.status import Phase

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]
BLIND_SECONDS = 6.0


@pytest.mark.parametrize("lie", sorted(LIES))
async def test_10_to_12_without_true_metrics_nothing_goes_forward(stage: Stage, lie: str) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply()
        await scene.until(lambda one: one.weight == 20)
        scene.metrics.tell(LIES[lie])
        before = scene.operator.resources()["rss_mib"]
        await asyncio.sleep(BLIND_SECONDS)
        step = scene.status.step
        await scene.holds(lambda one: one.status.step == step and one.weight in (20, 100), BLIND_SECONDS)
        assert "True" != scene.condition("AnalysisHealthy").partition("/")[0]
        assert scene.metrics.queries > 0
        if lie == "enormous":
            assert scene.operator.resources()["rss_mib"] - before < 400
        scene.metrics.tell(None)
        await succeeded(scene)


async def test_10_after_the_deadline_the_strategy_decides(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy={"stepDeadline": "5s", "onStepDeadline": "Rollback"})
        await scene.until(lambda one: one.weight == 20)
        scene.metrics.tell(LIES["refused"])
        await scene.until(lambda one: one.is_over)
        assert Phase.ROLLED_BACK is scene.status.phase
        await in_order(scene)


async def test_13_errors_only_are_no_missing_data(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        scene.world.canary.error_rate = 1.0
        await scene.apply()
        await scene.until(lambda one: one.is_over)
        assert (Phase.ROLLED_BACK, "ErrorRateTooHigh") == (scene.status.phase, scene.status.outcome_reason)
        await in_order(scene)


async def test_13_a_canary_that_crashes_and_whose_series_vanish_gets_no_traffic(stage: Stage) -> None:
    async with stage.scene() as scene:
        scene.operator.start()
        await scene.apply(strategy={"progressDeadline": "6s"})
        await scene.until(lambda one: one.weight == 20)
        scene.world.canary.crashes = True
        await scene.until(lambda one: one.weight == 0)
        stage.exporter.forget(scene.namespace)
        await scene.until(lambda one: one.is_over)
        assert Phase.ROLLED_BACK is scene.status.phase
        await _nothing_left(scene)


async def _nothing_left(scene: Scene) -> None:
    await scene.rest(1.0)
    assert ([], []) == (scene.violations(), scene.left_over())
