"""What a person reads: get, get -w, describe, wait, explain and events."""

from __future__ import annotations

import subprocess

import pytest

from demo.errors import KubectlError
from demo.manifests import MODEL_RELEASE
from demo.stage import Stage
from e2e.arena import STEPS, Arena
from modelrelease.api.status import Phase

pytestmark = pytest.mark.e2e


def test_a_release_reads_well_from_its_start_to_its_end(arena: Arena) -> None:
    arena.install()
    watching = subprocess.Popen(
        arena.kube.command("get", "mr", "--watch"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        arena.start("v1.1.0")
        name = f"mr/{arena.model.name}"
        arena.kube.run("wait", name, "--for=condition=Succeeded", "--timeout=100s", timeout_seconds=110)
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
    """Events tell the release in sentences, in the order in which it went."""
    told = sorted(arena.events(), key=lambda event: event.get("eventTime") or event["firstTimestamp"])
    reasons = [event["reason"] for event in told]
    assert reasons.index("ReleaseStarted") < reasons.index("StepStarted") < reasons.index("Succeeded")
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
