"""Good and bad versions, from the edit of the image to the end, judged by what clients got."""

from __future__ import annotations

import pytest

from demo.scenes import STABLE, Limit, Scene
from e2e.arena import ANALYSIS, STEPS, STRATEGY, Arena
from modelrelease.api.status import Outcome, Phase

pytestmark = pytest.mark.e2e

MOST_WRITES = 20
"""24 are allowed in a release of five steps; a step is two of them, and here are three."""


def test_healthy_version_is_served_step_by_step_and_promoted_without_an_error(arena: Arena) -> None:
    arena.install()
    arena.wait_known_latency()
    scene = Scene("healthy", "", "v1.1.0", Phase.SUCCEEDED, 240, is_full_course=True)

    performance, result, complaints = arena.perform(scene)

    assert complaints == []
    assert result.api_writes is not None
    assert len(STEPS) < result.api_writes <= MOST_WRITES
    assert result.route_writes == result.weight_changes + 1 == len(STEPS) + 2
    assert [span.weight_percent for span in result.spans if span.weight_percent][: len(STEPS)] == list(STEPS)
    assert arena.kube.get("deployment", arena.model.name)["spec"]["template"]["spec"]["containers"][0][  # type: ignore[index]
        "image"
    ].startswith("docker.io/library/yolov8-shapes@sha256:")
    assert arena.canary_objects() == []
    assert performance.status.history[-1].outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("version", "reason"),
    [("v1.2.0-errors", "ErrorRateTooHigh"), ("v1.2.0-slow", "LatencyTooHigh")],
)
def test_bad_version_is_taken_off_the_air_and_only_its_clients_notice(arena: Arena, version: str, reason: str) -> None:
    strategy = {**STRATEGY, "steps": [{"weight": 20, "minDuration": "180s"}, {"weight": 100}]}
    arena.install(strategy, {**ANALYSIS, "latencyP99": {"maxRatio": 1.2}})
    arena.wait_known_latency()
    is_slow = version.endswith("slow")
    # Other tests share the two cores, so this is no measurement; `e2e/quiet/test_breach.py` is.
    limit = Limit(bad_answers=100, seconds=30)
    scene = Scene("bad", "", version, Phase.ROLLED_BACK, 180, is_bad_from_birth=is_slow, fails=not is_slow, limit=limit)

    performance, _, complaints = arena.perform(scene)

    assert complaints == []
    assert performance.status.outcome_reason == reason
    assert arena.canary_objects() == []
    image = arena.kube.get("deployment", arena.model.name)["spec"]["template"]["spec"]["containers"][0]["image"]  # type: ignore[index]
    assert image == arena.image(STABLE)


def test_crashing_version_is_rolled_back_and_not_waited_for(arena: Arena) -> None:
    hold = {"advance": "Time", "steps": [{"weight": 20, "minDuration": "180s"}, {"weight": 100}], "drainDelay": "2s"}
    arena.install(hold)
    scene = Scene("crash", "", "v1.2.0-crash", Phase.ROLLED_BACK, 170, fails=True)

    performance, _, complaints = arena.perform(scene)

    assert complaints == []
    assert performance.status.outcome_reason in {"CanaryCrashed", "ErrorRateTooHigh", "CanaryUnavailable"}
    assert arena.canary_objects() == []


def test_version_that_never_gets_ready_fails_without_having_got_a_request(arena: Arena) -> None:
    arena.install({"progressDeadline": "15s", "drainDelay": "2s"})
    scene = Scene("never-ready", "", "v1.2.0-never-ready", Phase.FAILED, 120, gets_traffic=False)

    performance, result, complaints = arena.perform(scene)

    assert complaints == []
    assert result.canary.requests == 0
    assert performance.weights == [(performance.began_at, 0)]
    assert arena.canary_objects() == []


def test_image_that_does_not_exist_fails_with_the_words_of_the_kubelet(arena: Arena) -> None:
    arena.install({"progressDeadline": "12s", "drainDelay": "2s"})
    began = arena.start(STABLE)
    arena.kube.patch("modelrelease", arena.model.name, {"spec": {"image": "yolov8-shapes:v9.9.9"}})

    arena.wait_phase(Phase.FAILED, 120)

    message = arena.status().message
    assert "pull" in message.lower()
    assert "Set spec.image to one that becomes ready" in message
    arena.assert_no_errors(began)
    assert arena.weight() == 0
