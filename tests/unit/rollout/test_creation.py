"""Creation mode keeps up what was released: never what was rolled back, never a tag that may have moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from modelrelease.api.spec import EnvVar
from modelrelease.api.status import ConditionStatus, ConditionType, Phase
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import CreateDeployment
from modelrelease.rollout.revision import template_digest
from simulation.cases import resting
from simulation.looks import NOW, spec_of

TEMPLATE: dict[str, Any] = {"spec": {"containers": [{"name": "server", "image": "ignored"}]}}
RELEASED = "harbor.example.com/vision/yolov8-detect@sha256:" + "a" * 64
BAD = "harbor.example.com/vision/yolov8-detect:v6.6.6"


def _created(spec_image: str, phase: Phase, **status: Any) -> dict[str, Any]:
    spec = spec_of(spec_image, workload={"deployment": "yolov8-detect", "template": TEMPLATE})
    seen = replace(resting(phase, stable=None, status=status), spec=spec)
    decision = decide(seen, NOW)
    assert isinstance(decision.effect, CreateDeployment), decision.status.message
    ready = decision.status.condition(ConditionType.READY)
    assert ready is not None
    assert ready.status is ConditionStatus.FALSE
    assert ["Creating"] == [announcement.reason for announcement in decision.announcements]
    container: dict[str, Any] = cast(Any, decision.effect.manifest)["spec"]["template"]["spec"]["containers"][0]
    return container


RAN = {
    "released_image": "harbor.example.com/vision/yolov8-detect:v1.1.0",
    "promoted_image": RELEASED,
    "released_template": template_digest(cast(Any, TEMPLATE)),
}


@pytest.mark.parametrize("phase", [Phase.ROLLED_BACK, Phase.FAILED, Phase.SUCCEEDED, Phase.STABLE])
def test_a_deleted_deployment_comes_back_as_it_was_released(phase: Phase) -> None:
    assert RELEASED == _created(BAD, phase, **RAN)["image"]


def test_its_environment_is_the_released_one_too() -> None:
    container = _created(BAD, Phase.ROLLED_BACK, **RAN, released_env=[EnvVar(name="MODEL_URI", value="good")])
    assert [{"name": "MODEL_URI", "value": "good"}] == container["env"]


def test_where_nothing_was_released_the_specification_is_what_serves_first() -> None:
    fresh = {"released_image": "", "promoted_image": ""}
    assert BAD == _created(BAD, Phase.INITIALIZING, **fresh)["image"]


@pytest.mark.parametrize(
    "status", [{**RAN, "released_template": "another"}, {"released_image": "", "promoted_image": ""}]
)
def test_what_is_not_known_any_more_is_not_guessed(status: dict[str, Any]) -> None:
    spec = spec_of(BAD, workload={"deployment": "yolov8-detect", "template": TEMPLATE})
    decision = decide(replace(resting(Phase.ROLLED_BACK, stable=None, status=status), spec=spec), NOW)
    assert decision.effect is None
    assert "DeploymentMissing" in [announcement.reason for announcement in decision.announcements]
