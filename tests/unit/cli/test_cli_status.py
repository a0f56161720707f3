"""`status` and `history` of releases that the real controller runs in a simulated world."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from modelrelease.api.status import Outcome, Phase
from modelrelease.cli.app import application
from modelrelease.cli.commands import history, status
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.printing import Output, serialised
from modelrelease.cli.problems import Missing
from modelrelease.cli.releases import read_release
from modelrelease.ports import Kind
from simulation import World
from simulation.world import NAME, NAMESPACE
from unit.cli.shown import lines

UNDER_WAY = """\
vision/yolov8-detect  Progressing  step 3/5
├── release  v1.1.0, began 41s ago, revision 2f37b1d7fa
├── stable   v1.0.0, 3 of 3 pods ready
├── canary   v1.1.0, 1 of 1 pods ready
└── route    yolov8-detect: stable 80 %, canary 20 %

METRIC  STABLE  CANARY  REQUESTS  FOR PROMOTION    FOR ROLLBACK
errors   0.00%   0.00%        23  ██░░░░░░░░  16%  ░░░░░░░░░░   0%
P99      49 ms   88 ms        23  ░░░░░░░░░░   0%  ░░░░░░░░░░   0%

Step 3 of 5, 20 %: error rate 0.00% (stable 0.00%); P99 88 ms (stable 49 ms); 23
canary requests. The step lasts at least 5s; 1s left."""

ENDED = """\
vision/yolov8-detect  RolledBack
├── stable   v1.0.0, 3 of 3 pods ready
└── route    yolov8-detect: stable 100 %, canary 0 %

The release of v1.1.0 was rolled back after 50s. v1.1.0 has more errors than
stable: error rate 20.29% (stable 0.00%); 69 canary requests. All traffic goes
back to v1.0.0."""

HISTORY = """\
IMAGE   OUTCOME     REASON            TOOK  ENDED
v1.1.0  RolledBack  ErrorRateTooHigh   50s  0s ago

v1.1.0 has more errors than stable: error rate 20.29% (stable 0.00%); 69 canary
requests. All traffic goes back to v1.0.0."""

LIST = """\
NAME           IMAGE   PHASE        STEP  WEIGHT  BEGAN
yolov8-detect  v1.1.0  Progressing  3/5     20 %  41s ago"""


@pytest.fixture
async def world() -> World:
    made = World()
    made.deploy_stable(3)
    await made.run(60)
    made.apply()
    await made.run(300, until=lambda one: one.weight == 20)
    await made.run(4)
    return made


async def test_a_release_under_way_at_a_glance(world: World) -> None:
    view = await status.look(world.cluster, NAMESPACE, NAME)
    assert UNDER_WAY.splitlines() == lines(status.render(view, world.clock.now()))
    every = await status.look_at_all(world.cluster, NAMESPACE)
    assert LIST.splitlines() == lines(status.render_all(every, world.clock.now(), is_wide=False))


async def test_one_that_cannot_be_read_hides_none_of_the_others(world: World) -> None:
    """A status that another version of the operator wrote."""
    other: Any = {"metadata": {"name": "other", "namespace": NAMESPACE}}
    other |= {"spec": {"image": "m:v2", "workload": {"deployment": "other"}}, "status": {"phase": "Levitating"}}
    world.cluster.put(Kind.MODEL_RELEASE, other)
    view = await status.look_at_all(world.cluster, NAMESPACE)
    shown = " ".join(lines(status.render_all(view, world.clock.now(), is_wide=False)))
    assert shown.startswith(" ".join(LIST.splitlines()))
    assert "! other: The status of other was written by another version of the operator" in shown
    with pytest.raises(Missing, match=r"there are: other, yolov8-detect\."):
        await read_release(world.cluster, NAMESPACE, "zzz")


async def test_a_release_that_was_rolled_back(world: World) -> None:
    world.canary.error_rate = 0.5
    await world.run(300, until=lambda one: one.status.phase.is_at_rest)
    view = await status.look(world.cluster, NAMESPACE, NAME)
    assert ENDED.splitlines() == lines(status.render(view, world.clock.now()))
    ended = history.view_of(await read_release(world.cluster, NAMESPACE, NAME))
    assert HISTORY.splitlines() == lines(history.render(ended, world.clock.now()))


async def test_programs_get_the_names_of_the_resource(world: World) -> None:
    view = await status.look(world.cluster, NAMESPACE, NAME)
    read = json.loads(serialised(view, Output.JSON))
    assert read == yaml.safe_load(serialised(view, Output.YAML))
    assert ("Progressing", 3, 20, "v1.0.0") == (read["phase"], read["step"], read["weight"], read["stable"]["tag"])
    assert {"name", "stable", "canary", "rollbackEvidence", "promotionEvidence"} <= set(read["metrics"][0])
    assert read["startedAt"].endswith("Z")
    assert set(status.StatusView.model_json_schema(by_alias=True)["properties"]) == set(read)


async def test_what_is_wrong_is_said_beside_the_message(world: World) -> None:
    world.annotate("pause", "true")
    await world.run(2)
    shown = lines(status.render(await status.look(world.cluster, NAMESPACE, NAME), world.clock.now()))
    assert "annotate with modelrelease.dev/resume=true" in " ".join(shown)
    assert Phase.PAUSED in shown[0]


async def test_pods_that_are_in_trouble_say_why(world: World) -> None:
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
    world.cluster.put(
        Kind.POD,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "canary-0", "namespace": NAMESPACE, "labels": {"app": f"{NAME}-canary"}},
            "status": {
                "containerStatuses": [
                    {"name": "server", "restartCount": 2, "ready": False, "state": {"waiting": waiting}}
                ]
            },
        },
    )
    shown = lines(status.render(await status.look(world.cluster, NAMESPACE, NAME), world.clock.now()))
    assert "│   └── ✗ canary-0, 2 restarts: CrashLoopBackOff: back-off 10s" in shown


async def test_a_wrong_name_is_told_what_was_probably_meant(world: World) -> None:
    with pytest.raises(Missing, match="did you mean yolov8-detect\\?"):
        await status.look(world.cluster, NAMESPACE, "yolo8-detect")
    with pytest.raises(Missing, match="there are: yolov8-detect"):
        await status.look(world.cluster, NAMESPACE, "x")
    with pytest.raises(Missing, match="look into another"):
        await status.look(world.cluster, "elsewhere", NAME)
    with pytest.raises(Missing, match="look into all with --all-namespaces"):
        await status.look_at_all(world.cluster, "elsewhere")


async def test_history_is_empty_before_the_first_release_ends(world: World) -> None:
    view = history.view_of(await read_release(world.cluster, NAMESPACE, NAME))
    assert lines(history.render(view, world.clock.now())) == ["No release has ended yet."]
    assert set(history.STYLES) == set(Outcome)


async def test_the_only_release_of_all_namespaces_is_shown_with_its_own(world: World) -> None:
    view = await status.look_at_all(world.cluster, None)
    (_, shown) = lines(status.render_all(view, world.clock.now(), is_wide=True))
    assert f"{NAMESPACE}/{NAME}" == shown.split()[0]


async def test_releases_of_all_namespaces_are_told_apart(world: World) -> None:
    world.apply()
    other: Any = world.cluster.peek(Kind.MODEL_RELEASE, NAMESPACE, NAME)
    world.cluster.put(Kind.MODEL_RELEASE, other | {"metadata": other["metadata"] | {"namespace": "audio", "uid": "2"}})
    view = await status.look_at_all(world.cluster, None)
    assert [("audio", NAME), (NAMESPACE, NAME)] == [(one.namespace, one.name) for one in view.items]
    shown = lines(status.render_all(view, world.clock.now(), is_wide=True))
    assert [f"audio/{NAME}", f"{NAMESPACE}/{NAME}"] == [line.split()[0] for line in shown[1:]]
    result = CliRunner().invoke(application(), ["status", "-A", "-n", "vision"])
    assert ExitCode.USAGE == result.exit_code
