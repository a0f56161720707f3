"""`plan` and `backtest`: predictions from measured traffic, held against what simulated releases then take."""

from __future__ import annotations

import statistics
from typing import Any, cast

import numpy as np
import pytest

from modelrelease.api.spec import parse_spec
from modelrelease.api.status import Phase
from modelrelease.cli.commands import backtest, plan
from modelrelease.cli.findings import Level
from modelrelease.cli.forecast import forecast, pace_of, traffic_view
from modelrelease.cli.measured import Traffic
from modelrelease.cli.problems import Problem
from modelrelease.cli.replay import deal
from modelrelease.cli.survey import findings_of, survey
from modelrelease.judge import Arm, Window
from modelrelease.ports import Kind
from simulation import World
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, release
from unit.cli.shown import lines

BOUNDS_MS = (10.0, 50.0, 100.0, 1000.0, float("inf"))


async def serving(seconds: float = 300, **world: Any) -> World:
    made = World(**world)
    made.deploy_stable(3)
    await made.run(seconds)
    return made


async def planned(world: World, manifest: Any = None) -> plan.PlanView:
    draft = plan.draft_of(manifest or release(NEW_IMAGE), NAMESPACE)
    traffic = await plan.measure(world.cluster, world.metrics, draft, (world.clock.now(), 200))
    found = await survey(world.cluster, NAMESPACE, NAME, draft.spec)
    return plan.view_of(draft, found, traffic, list(findings_of(found, draft.spec)), 1.0)


async def taken(seed: int) -> list[float]:
    """How long each step of a whole release took."""
    world = await serving(60, seed=seed)
    began: dict[int, float] = {}
    world.apply()

    def is_over(one: World) -> bool:
        if one.status.phase in (Phase.PROGRESSING, Phase.BAKING):
            began.setdefault(one.status.step, one.clock.now())
        return one.status.phase is Phase.SUCCEEDED

    await world.run(900, until=is_over)
    return [began[step + 1] - began[step] for step in range(1, 5)]


async def test_a_plan_predicts_what_releases_then_take() -> None:
    """Median of five releases within 25 %, the promise of the documentation."""
    world = await serving(seed=9)
    draft = plan.draft_of(release(NEW_IMAGE), NAMESPACE)
    traffic = await plan.measure(world.cluster, world.metrics, draft, (world.clock.now(), 200))
    steps = forecast(draft.spec, traffic, pace_of(draft.spec, 3, 0.0, 1.0), 3)
    actual = [await taken(seed) for seed in range(1, 6)]
    total = statistics.median(sum(one) for one in actual)
    assert sum(cast(float, step.typical_seconds) for step in steps) == pytest.approx(total, rel=0.25)
    for step, each in zip(steps, zip(*actual, strict=True), strict=True):
        assert cast(float, step.most_seconds) >= statistics.median(each)


async def test_a_plan_shows_each_object_and_what_speaks_against_it() -> None:
    world = await serving(250)
    view = await planned(world)
    assert [
        ("create", "ModelRelease", NAME),
        ("create", "Deployment", f"{NAME}-canary"),
        ("create", "Service", f"{NAME}-canary"),
        ("change", "VirtualService", NAME),
        ("change", "Deployment", NAME),
    ] == [(change.verb, change.kind, change.name) for change in view.changes]
    assert {Level.GOOD} == {finding.level for finding in view.findings}
    route = next(change for change in view.changes if change.kind == "VirtualService")
    assert [line.split(":")[0].strip() for line in route.diff if line.startswith("+")] == [
        "+      weight",
        "+    - destination",
        "+        host",
        "+        port",
        "+          number",
        "+      weight",
    ]
    assert all(len(line) < 80 for change in view.changes for line in change.diff)
    shown = lines(plan.render(view))
    assert "✓ stable  yolov8-detect has 3 of 3 pods available." in shown
    heading = shown.index("STEP  WEIGHT  PODS  TAKES  9 OF 10 IN  ERRORS IN  P99 IN")
    assert [["1", "1", "%"], ["2", "5", "%"], ["3", "20", "%"], ["4", "50", "%"]] == [
        line.split()[:3] for line in shown[heading + 1 : heading + 5]
    ]
    assert world.cluster.peek(Kind.MODEL_RELEASE, NAMESPACE, NAME) is None, "nothing is written"


async def test_a_plan_names_what_is_missing_with_the_remedy() -> None:
    world = await serving(20)
    spec = parse_spec({"image": "x:1", "workload": {"deployment": "nobody"}})
    found = await survey(world.cluster, NAMESPACE, "nobody", spec)
    said = {finding.about: finding.message for finding in findings_of(found, spec) if finding.level is Level.PROBLEM}
    assert said["stable"] == "Deployment nobody does not exist; create it, or give spec.workload.template."
    assert said["service"] == "Service nobody does not exist; create it or name another one."
    assert "VirtualService vision/nobody does not exist; create it" in said["route"]


async def test_without_any_traffic_nothing_is_predicted() -> None:
    world = await serving(20, rps=0)
    draft = plan.draft_of(release(NEW_IMAGE), NAMESPACE)
    with pytest.raises(Problem, match=r"knows of no requests to yolov8-detect\.vision"):
        await plan.measure(world.cluster, world.metrics, draft, (world.clock.now(), 10))


def test_a_wrong_specification_is_a_sentence() -> None:
    manifest: Any = release(NEW_IMAGE, strategy={"steps": [{"weight": 50}]})
    with pytest.raises(Problem, match=r"strategy.steps: the last weight must be 100"):
        plan.draft_of(manifest, NAMESPACE)


def history(minutes: int, error_rate: float = 0.005, rps: float = 50.0) -> list[Window]:
    """Stable's windows of ten seconds."""
    random = np.random.default_rng(3)
    found = []
    for number in range(minutes * 6):
        requests = int(random.poisson(rps * 10))
        errors = int(random.binomial(requests, error_rate))
        latencies = 20 * random.lognormal(0, 0.5, requests - errors)
        within = tuple(int((latencies <= bound).sum()) for bound in BOUNDS_MS)
        start = 1_800_000_000.0 + 10 * number
        found.append(Window(start, start + 10, Arm(requests, errors, BOUNDS_MS, within, requests), Arm(0, 0)))
    return found


def test_an_equal_version_is_hardly_ever_rolled_back_in_a_backtest() -> None:
    spec = parse_spec({"image": "x:1", "workload": {"deployment": NAME}})
    found = history(70)
    traffic = Traffic(tuple(found[:60])), Traffic(tuple(found[60:]))
    view = backtest.view_of((NAMESPACE, NAME), spec, traffic, pace_of(spec, 3, 10.0, 15.0), 30)
    assert view.rolled_back == 0
    assert not view.breaks_promise
    assert [30, 30] == [view.steps[0].reached, view.steps[0].passed]
    shown = lines(backtest.render(view))
    assert "0 of 30 rolled back falsely; promised: at most 1%." in shown
    assert "STEP  WEIGHT  REACHED  PASSED  TYPICALLY IN" in shown
    assert view.model_copy(update={"rolled_back": 4}).breaks_promise
    assert not view.model_copy(update={"rolled_back": 1}).breaks_promise


def test_bursts_in_single_pods_make_a_release_slower() -> None:
    """Pods that are compared with each other give the burst factor, as for the release itself."""
    spec = parse_spec({"image": "x:1", "workload": {"deployment": NAME}})
    found = history(10)

    def pod(bad: tuple[int, int]) -> list[Window]:
        return [
            Window(window.start_seconds, window.end_seconds, Arm(250, bad[index % 2]), Arm(0, 0))
            for index, window in enumerate(found)
        ]

    even, bursty = {"a": pod((2, 2)), "b": pod((2, 2))}, {"a": pod((8, 0)), "b": pod((0, 8))}
    factors = [traffic_view(spec, Traffic(tuple(found), pods)).burst_factor for pods in (even, bursty)]
    assert factors[0] < 4 < factors[1]


@pytest.mark.parametrize("weight", [1, 50, 100])
def test_dealing_loses_and_makes_no_request(weight: int) -> None:
    (window,) = history(1)[:1]
    random = np.random.default_rng(1)
    dealt = [one for _ in range(200) for one in deal(window, [weight], random)]
    for one in dealt:
        assert one.canary.requests + one.stable.requests == window.stable.requests
        assert one.canary.errors + one.stable.errors == window.stable.errors
        both = zip(one.canary.at_most, one.stable.at_most, strict=True)
        assert [sum(pair) for pair in both] == list(window.stable.at_most)
    mean = statistics.mean(one.canary.requests for one in dealt)
    assert mean == pytest.approx(window.stable.requests * weight / 100, rel=0.1)
