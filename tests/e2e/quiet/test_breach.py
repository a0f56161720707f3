"""How fast a canary that turns bad is off the air. Alone, because it is about seconds."""

from __future__ import annotations

import pytest

from demo.breach import BreachPlan, breach_once, judge, prepared
from demo.manifests import Model
from demo.scenes import TURNS_BAD
from demo.stage import Stage

pytestmark = pytest.mark.e2e

RUNS = 5


def test_breach_at_20_percent_ends_within_seconds(stage: Stage) -> None:
    plan = BreachPlan(runs=RUNS, model=Model("e2e-breach", "e2e-breach.example.com"), good_seconds=8)
    with prepared(stage, plan) as ground:
        runs = [breach_once(ground, stage.images[TURNS_BAD], plan) for _ in range(plan.runs)]
        ground.kube.run("delete", "namespace", plan.model.namespace, "--wait=false")

    assert judge(runs) == []
    assert all(run.breach.canary_errors > 0 for run in runs)
