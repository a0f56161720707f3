"""Killing the operator changes nothing but a short delay. Alone, because all releases of the cluster feel it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from demo.scenes import Kill, Limit, Scene
from demo.stage import LEASE_SECONDS, OPERATOR, SYSTEM_NAMESPACE, Stage
from e2e.arena import STRATEGY, Arena
from modelrelease.api.status import Phase

pytestmark = pytest.mark.e2e

MOST_SECONDS = LEASE_SECONDS + 2
READY_SECONDS = 60.0


@pytest.fixture
def standby(stage: Stage) -> Iterator[None]:
    """A second operator, as in production, in new pods both: the kubelet lets one that ended twice wait."""
    kube = stage.kube(SYSTEM_NAMESPACE)
    try:
        kube.run("scale", f"deployment/{OPERATOR}", "--replicas=2")
        kube.run("rollout", "restart", f"deployment/{OPERATOR}")
        kube.wait_rolled_out(OPERATOR, READY_SECONDS)
        yield
    finally:
        kube.run("scale", f"deployment/{OPERATOR}", "--replicas=1")
        kube.wait_rolled_out(OPERATOR, READY_SECONDS)


@pytest.mark.usefixtures("standby")
@pytest.mark.parametrize(
    "kills",
    [
        (Kill(Phase.PROGRESSING, 1, at_step=1), Kill(Phase.PROGRESSING, 1, at_step=2)),
        (Kill(Phase.BAKING, 1), Kill(Phase.PROMOTING, 1)),
    ],
    ids=["20-and-50-percent", "100-percent-and-promoting"],
)
def test_release_goes_on_when_the_operator_is_killed(
    arena: Arena, kills: tuple[Kill, ...], tell: Callable[[str], None]
) -> None:
    arena.install()
    scene = Scene("killed", "", "v1.1.0", Phase.SUCCEEDED, 300, steers=kills, is_full_course=True)

    _, result, complaints = arena.perform(scene)

    tell(f"nobody led for {result.takeover_seconds} s")
    assert complaints == []
    assert max(result.takeover_seconds) <= MOST_SECONDS


@pytest.mark.usefixtures("standby")
def test_bad_version_is_rolled_back_by_the_next_operator(arena: Arena, tell: Callable[[str], None]) -> None:
    """Killed before the verdict, and the next one while it rolls back."""
    kills = (Kill(Phase.PROGRESSING, 0), Kill(Phase.ROLLING_BACK, 0))
    arena.install({**STRATEGY, "steps": [{"weight": 20, "minDuration": "60s"}, {"weight": 100}], "drainDelay": "4s"})
    limit = Limit(bad_answers=120, seconds=30)
    scene = Scene("errors", "", "v1.2.0-errors", Phase.ROLLED_BACK, 180, steers=kills, fails=True, limit=limit)

    performance, result, complaints = arena.perform(scene)

    tell(f"nobody led for {result.takeover_seconds} s")
    assert complaints == []
    assert performance.status.outcome_reason == "ErrorRateTooHigh"
    assert max(result.takeover_seconds) <= MOST_SECONDS
