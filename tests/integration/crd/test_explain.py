"""`kubectl explain` as people read it, and the short names by which they ask."""

from __future__ import annotations

import re

import pytest

from localcluster.controlplane import ControlPlane


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("mr", "names the Deployment that serves a model and the image that it should serve with."),
        ("mr.spec.strategy", "bakeTime <string> Time at 100 % during which stable is kept at full size"),
        ("mr.spec.strategy", "enum: Hold, Rollback, Promote Hold: say so and keep collecting evidence."),
        ("mr.spec.strategy.steps", "weight <integer> -required- Share of the traffic, in per cent"),
        ("mr.spec.analysis.interval", "Time between two evaluations, at least 1s. Default: 10s."),
        ("mr.spec.workload.template.spec.containers", "name <string> -required-"),
        ("mr.status.conditions", "reason <string> Why, in one CamelCase word."),
    ],
)
def test_a_field_explains_itself(installed: ControlPlane, path: str, sentence: str) -> None:
    assert sentence in flat(installed.kubectl("explain", path))


def test_no_field_is_without_an_explanation(installed: ControlPlane) -> None:
    for part in ("spec", "status"):
        text = installed.kubectl("explain", f"modelreleases.{part}", "--recursive=false")
        assert "<no description>" not in text
        assert "DESCRIPTION:\n    <empty>" not in text


@pytest.mark.parametrize("word", ["mr", "modelrelease", "modelreleases", "modelreleases.modelrelease.dev"])
def test_the_resource_answers_to_its_names(installed: ControlPlane, word: str) -> None:
    assert installed.kubectl("get", word, "--namespace=default", "--ignore-not-found") == ""


def test_get_all_shows_what_made_the_canary(installed: ControlPlane) -> None:
    listed = installed.kubectl("api-resources", "--categories=all", "--api-group=modelrelease.dev", "--output=name")
    assert listed.split() == ["modelreleases.modelrelease.dev"]
