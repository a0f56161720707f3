"""What a person reads: get, get -w, describe, wait, explain and events."""

from __future__ import annotations

import subprocess

import pytest

from demo.errors import KubectlError
from demo.manifests import MODEL_RELEASE
from demo.scenes import STABLE
from demo.stage import Stage
from e2e.arena import STEPS, Arena
from modelrelease.api.status import Phase

pytestmark = pytest.mark.e2e

STORY = {"ReleaseStarted", "StepStarted", "Promoting", "TrafficReturned", "Succeeded", "RolledBack", "Failed"}


def test_a_release_reads_well_from_its_start_to_its_end(arena: Arena) -> None:
    arena.install()
    watching = subprocess.Popen(
        arena.kube.command("get", "mr", "--watch"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        arena.start("v1.1.0")
        name = f"mr/{arena.model.name}"
        arena.kube.run("wait", name, "--for=condition=Succeeded", "--timeout=200s", timeout_seconds=210)
        assert arena.kube.run("get", name, "-o", "jsonpath={.status.phase}") == Phase.SUCCEEDED
    finally:
        watching.terminate()
        watched, _ = watching.communicate(timeout=10)

    heading, *rows = watched.splitlines()
    assert heading.split() == ["NAME", "IMAGE", "PHASE", "STEP", "WEIGHT", "MESSAGE", "AGE"]
    assert all(len(row) < 250 for row in rows)
    for number, weight in enumerate(STEPS, 1):
        assert any(f"{number}/{len(STEPS)}" in row and f" {weight} " in row for row in rows)
    assert rows[-1].split()[:3] == [arena.model.name, "v1.1.0", "Succeeded"]
    assert_story(arena)
    assert_description(arena)


def assert_story(arena: Arena) -> None:
    """Events tell the whole release in sentences, in the order in which it went, each once."""
    # Times of Events are whole seconds; within one, versions tell the order.
    told = sorted(
        arena.events(), key=lambda event: (event["firstTimestamp"], int(event["metadata"]["resourceVersion"]))
    )
    story = [event for event in told if event["reason"] in STORY]
    steps = ["StepStarted"] * len(STEPS)
    assert [event["reason"] for event in story] == [
        "ReleaseStarted", *steps, "Promoting", "TrafficReturned", "Succeeded",
    ]  # fmt: skip
    assert all(event["count"] == 1 and event["type"] == "Normal" for event in story)
    assert "v1.1.0" in story[0]["message"]
    assert STABLE in story[0]["message"]
    for number, (event, weight) in enumerate(zip(story[1:], STEPS, strict=False), 1):
        assert event["message"].startswith(f"Step {number} of {len(STEPS)}: v1.1.0 gets {weight} % of the traffic.")
    assert "v1.1.0 was released in " in story[-1]["message"]
    for event in told:
        message = event["message"]
        assert message[0].isupper() or message[0].isdigit() or message.startswith("v")
        assert message.endswith((".", "%.")), message


def assert_description(arena: Arena) -> None:
    """`kubectl describe` shows conditions, figures and the story."""
    text = arena.kube.run("describe", "mr", arena.model.name)
    for word in ("Phase:", "Succeeded", "History:", "Outcome:", "Conditions:", "Last Transition Time:", "Events:"):
        assert word in text


def test_waiting_is_not_satisfied_by_the_release_before(arena: Arena) -> None:
    arena.install({"progressDeadline": "40s", "drainDelay": "2s"})
    arena.start("v1.2.0-never-ready")

    with pytest.raises(KubectlError, match="timed out"):
        arena.kube.run("wait", f"mr/{arena.model.name}", "--for=condition=Succeeded", "--timeout=8s")


def test_explain_has_a_sentence_for_each_field(stage: Stage) -> None:
    for field in ("spec", "spec.strategy", "spec.analysis", "status"):
        text = stage.kube("default").run("explain", f"{MODEL_RELEASE.partition('.')[0]}.{field}")
        described = [line for line in text.splitlines() if "<no description>" in line]
        assert described == [], field
        assert "FIELDS:" in text
