"""`plan` and `backtest`: predictions from measured traffic, held against what simulated releases then take."""

from __future__ import annotations

import json
import statistics
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from typer.testing import CliRunner

from modelrelease.api.spec import parse_spec
from modelrelease.api.status import Phase
from modelrelease.cli.app import application
from modelrelease.cli.baseline import Stretch, measure, served_seconds
from modelrelease.cli.before_and_after import promoting_seconds
from modelrelease.cli.changes import changes_of
from modelrelease.cli.commands import backtest, plan
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.findings import Level
from modelrelease.cli.forecast import TrafficView, forecast, pace_of, traffic_view
from modelrelease.cli.measured import Traffic, watched_of
from modelrelease.cli.problems import Problem
from modelrelease.cli.replay import deal
from modelrelease.cli.survey import findings_of, standing, survey
from modelrelease.judge import Arm, Window
from modelrelease.ports import Kind
from modelrelease.rollout.revision import revision_of
from simulation import World
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, STABLE_IMAGE, release
from unit.cli.shown import lines

BOUNDS_MS = (10.0, 50.0, 100.0, 1000.0, float("inf"))


async def serving(seconds: float = 300, **world: Any) -> World:
    made = World(**world)
    made.deploy_stable(3)
    made.cluster.put(Kind.POD, pod(made.clock.now(), made.start_seconds))
    await made.run(seconds)
    return made


def pod(created: float, start_seconds: float) -> Any:
    """One of stable's."""
    moments = created, created + start_seconds
    times = [datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z") for at in moments]
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": times[1]}]
    labels = {"app": NAME}
    metadata = {"name": "one", "namespace": NAMESPACE, "labels": labels, "creationTimestamp": times[0]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"conditions": conditions}}


async def measured(world: World, draft: plan.Draft, asked_seconds: float | None = None) -> Traffic:
    now = world.clock.now()
    watched = await watched_of(world.cluster, NAMESPACE, draft.spec)
    found = await survey(world.cluster, NAMESPACE, NAME, draft.spec)
    stretch = Stretch(now, served_seconds(found.stable, draft.spec, now), asked_seconds)
    return await measure(world.metrics, watched, draft.spec, stretch)


async def planned(world: World, manifest: Any = None) -> plan.PlanView:
    draft = plan.draft_of(manifest or release(NEW_IMAGE), NAMESPACE)
    found = await survey(world.cluster, NAMESPACE, NAME, draft.spec)
    now = world.clock.now()
    traffic = await measured(world, draft)
    return plan.view_of(
        draft, found, traffic, [*standing(found, draft.spec), *findings_of(found, draft.spec)], (now, 1.0)
    )


async def taken(seed: int) -> list[float]:
    """How long a whole release took, in seconds: until the first step, each step, and from the bake to the end."""
    world = await serving(60, seed=seed, start_seconds=0.0)
    began: dict[int, float] = {}
    applied = world.clock.now()
    world.apply()

    def is_over(one: World) -> bool:
        if one.status.phase in (Phase.PROGRESSING, Phase.BAKING):
            began.setdefault(one.status.step, one.clock.now())
        return one.status.phase is Phase.SUCCEEDED

    await world.run(900, until=is_over)
    moments = [applied, *(began[step] for step in range(1, 6)), world.clock.now()]
    return [later - earlier for earlier, later in pairwise(moments)]


async def test_a_plan_predicts_what_releases_then_take() -> None:
    """Median of five releases within 25 %, the promise of the documentation. Pods start at once: pods that are only
    added do so here always."""
    view = await planned(await serving(seed=9, start_seconds=0.0), release(NEW_IMAGE, workload={"deployment": NAME}))
    actual = [await taken(seed) for seed in range(1, 6)]
    steps = statistics.median(sum(one[1:5]) for one in actual)
    assert sum(cast(float, step.typical_seconds) for step in view.steps) == pytest.approx(steps, rel=0.25)
    assert view.typical_seconds == pytest.approx(statistics.median(map(sum, actual)), rel=0.25)
    for step, each in zip(view.steps, list(zip(*actual, strict=True))[1:5], strict=True):
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


def set_environment(body: dict[str, Any]) -> None:
    """Stable as releases left it, with a variable of its own."""
    (container,) = body["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "THREADS", "value": "2"}, {"name": "MODEL_URI", "value": "s3://models/1"}]


def brought(body: dict[str, Any], **status: Any) -> dict[str, Any]:
    """A ModelRelease whose last release brought MODEL_URI."""
    released = [{"name": "MODEL_URI", "value": "s3://models/1"}]
    return {**body, "status": {"phase": "Succeeded", "releasedEnv": released, **status}}


async def test_a_plan_shows_variables_that_the_release_drops_and_changes() -> None:
    world = await serving(250)
    world.touch(Kind.DEPLOYMENT, NAME, set_environment)
    world.cluster.put(Kind.MODEL_RELEASE, cast(Any, brought(cast(Any, release(STABLE_IMAGE)))))
    gone = await planned(world)
    changed = await planned(world, release(NEW_IMAGE, env=[{"name": "MODEL_URI", "value": "s3://models/2"}]))
    for view, added in ((gone, []), (changed, ["s3://models/2"])):
        diffs = [change.diff for change in view.changes if change.kind == "Deployment"]
        assert len(diffs) == 2, "the canary and, at promotion, stable"
        for diff in diffs:
            lost = [line.split()[-1] for line in diff if line.startswith("-") and "s3://" in line]
            new = [line.split()[-1] for line in diff if line.startswith("+") and "s3://" in line]
            assert (["s3://models/1"], added) == (lost, new)
            assert not [line for line in diff if line[0] in "+-" and "THREADS" in line]


@pytest.mark.parametrize(
    ("image", "status", "said"),
    [
        (STABLE_IMAGE, {"phase": "Stable"}, "Stable runs v1.0.0 already, so no release begins."),
        (NEW_IMAGE, {"phase": "RolledBack"}, "v1.1.0 was tried before (RolledBack)"),
        (NEW_IMAGE, {"phase": "Progressing"}, "The release of v1.1.0 is under way already"),
        ("x:v9", {"phase": "Progressing", "canary": {"image": NEW_IMAGE}}, "The release of v1.1.0 is under way; this"),
    ],
)
async def test_a_plan_says_whether_a_release_begins(image: str, status: dict[str, Any], said: str) -> None:
    world = await serving(5)
    there = cast(Any, release(NEW_IMAGE))
    revision = revision_of(parse_spec(there["spec"]), 0)
    world.cluster.put(Kind.MODEL_RELEASE, {**there, "status": {"revision": revision, **status}})
    spec = parse_spec(cast(Any, release(image))["spec"])
    found = await survey(world.cluster, NAMESPACE, NAME, spec)
    (finding,) = standing(found, spec)
    assert said in finding.message
    changes = changes_of(found.present, release(image), spec, NAMESPACE)
    assert (image == STABLE_IMAGE) == ([change.kind for change in changes] == ["ModelRelease"])


async def test_a_plan_finds_another_model_release_of_the_same_deployment() -> None:
    world = await serving(5)
    other = cast(Any, release(STABLE_IMAGE))
    world.cluster.put(Kind.MODEL_RELEASE, {**other, "metadata": {**other["metadata"], "name": "older"}})
    spec = parse_spec(cast(Any, release(NEW_IMAGE))["spec"])
    found = await survey(world.cluster, NAMESPACE, NAME, spec)
    assert "ModelRelease older has the same Deployment or route; delete one of the two." in [
        finding.message for finding in findings_of(found, spec) if finding.level is Level.PROBLEM
    ]


async def test_a_young_stable_is_waited_for_and_an_old_one_is_read_further_back() -> None:
    """As the release itself does: the plan would else say that P99 cannot be compared where it will be."""
    young = await planned(await serving(20, rps=3))
    assert 40 < cast(float, young.preparing_seconds) < 60, "200 requests and more are needed"
    (latency,) = [finding for finding in young.findings if finding.about == "latency"]
    assert "Stable has served for too short a time to know its P99" in latency.message

    world = await serving(400, rps=3)
    manifest = cast(Any, release(NEW_IMAGE))
    manifest["spec"]["analysis"]["baseline"] = "60s"
    assert cast(TrafficView, (await planned(world, manifest)).traffic).minutes > 5
    manifest["spec"]["analysis"]["baseline"] = "395s"
    assert cast(TrafficView, (await planned(await serving(400), manifest)).traffic).minutes < 7


def test_steps_by_the_clock_wait_for_requests_and_for_the_pods_of_the_next() -> None:
    strategy = {"advance": "Time", "steps": [{"weight": 10, "minDuration": "2m"}, {"weight": 40}, {"weight": 100}]}
    spec = parse_spec({"image": "x:1", "workload": {"deployment": NAME}, "strategy": strategy})
    traffic = Traffic(tuple(history(5, rps=2.0)))
    first, second = forecast(spec, traffic, pace_of(spec, 2, 20.0, 15.0), 2)
    needed = 30 + 50 / (0.1 * traffic.requests_per_second) + 30
    assert first.typical_seconds == first.most_seconds == pytest.approx(needed), "one pod carries 40 % as well"
    assert second.typical_seconds == pytest.approx(max(60, 1 + 50 / (0.4 * traffic.requests_per_second) + 30) + 20)


@pytest.mark.parametrize(
    ("replicas", "strategy", "rounds"),
    [
        (1, {}, 1),
        (8, {}, 2),  # 2 more and 2 fewer at a time
        (10, {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, 10),
        (10, {"rollingUpdate": {"maxSurge": "15%", "maxUnavailable": "19%"}}, 4),  # 2 more, 1 fewer
        (10, {"type": "Recreate"}, 1),
    ],
)
def test_stable_is_replaced_in_rounds(replicas: int, strategy: dict[str, Any], rounds: int) -> None:
    spec = parse_spec({"image": "x:1", "workload": {"deployment": NAME}})
    stable: Any = {"spec": {"replicas": replicas, "strategy": strategy}}
    assert promoting_seconds(spec, stable, 20.0) == pytest.approx(20 * rounds + 35)


async def test_without_any_traffic_nothing_is_predicted() -> None:
    world = await serving(20, rps=0)
    draft = plan.draft_of(release(NEW_IMAGE), NAMESPACE)
    with pytest.raises(Problem, match=r"knows of no requests to yolov8-detect\.vision"):
        await measured(world, draft, 10)


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


def test_releases_that_the_history_cuts_off_count_with_the_time_that_they_had() -> None:
    """With the fast ones alone the typical time would be far too short."""
    spec = parse_spec({"image": "x:1", "workload": {"deployment": NAME}})
    found = history(40, rps=10.0)
    traffic = Traffic(tuple(found[:60])), Traffic(tuple(found[60:]))
    view = backtest.view_of((NAMESPACE, NAME), spec, traffic, pace_of(spec, 3, 10.0, 15.0), 30)
    cut = next(step for step in view.steps if 0 < step.reached > step.passed)
    assert cut.truncated
    shown = " ".join(lines(backtest.render(view)))
    assert "more than" in shown
    assert "No release got to its end in this history; play a longer one with --window." in shown


async def test_a_new_object_is_said_to_be_compared_with_stable_and_pieces_are_apart() -> None:
    view = await planned(await serving(250))
    text = " ".join(lines(plan.render(view)))
    assert f"create Deployment/{NAME}-canary, before the first traffic, as Deployment/{NAME}" in text
    canary = next(change for change in view.changes if change.name.endswith("-canary") and change.kind == "Deployment")
    assert NAME == canary.like
    assert any(line.strip() == "…" for line in canary.diff)
    assert canary.diff[0].strip() != "…"


def test_a_file_for_another_namespace_is_no_plan_for_this_one(tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    path.write_text(json.dumps(release(NEW_IMAGE)), encoding="utf-8")
    result = CliRunner().invoke(application(), ["plan", "-n", "try", "-f", str(path)])
    assert ExitCode.USAGE == result.exit_code
    assert f"The file names namespace '{NAMESPACE}', but -n says 'try'; leave one out." in result.stderr
