"""Creation mode keeps up what was released: never what was rolled back, never a tag that may have moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from modelrelease.api.spec import EnvVar
from modelrelease.api.status import ConditionStatus, ConditionType, Phase
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import CreateDeployment, ScaleStable
from modelrelease.rollout.labels import RELEASE
from modelrelease.rollout.labels import TEMPLATE as MARK
from modelrelease.rollout.provision import created_stable
from modelrelease.rollout.revision import template_digest
from simulation.cases import resting
from simulation.looks import NOW, spec_of, stable_seen
from simulation.world import NAME, NEW_IMAGE, deployment

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


def _sized(replicas: int | None, applied: int | None, present: int = 2) -> Any:
    spec = spec_of(NEW_IMAGE, workload={"deployment": NAME, "template": TEMPLATE, "replicas": replicas})
    status = {**RAN, "promoted_image": NEW_IMAGE, "created_replicas": applied}
    manifest: Any = deployment(present)
    manifest["metadata"]["annotations"] = {MARK: RAN["released_template"]}
    stable = stable_seen(image=NEW_IMAGE, replicas=present, manifest=manifest)
    return decide(replace(resting(Phase.STABLE, status=status, stable=stable), spec=spec), NOW)


@pytest.mark.parametrize(
    ("wanted", "applied", "present", "effect"),
    [
        (3, 2, 2, ScaleStable(3)),
        (3, 2, 3, None),
        (3, 3, 7, None),
        (3, None, 7, None),
        (None, 3, 3, None),
        (3, 0, 1, ScaleStable(3)),
    ],
    ids=["an edit", "scaled already", "an autoscaler's", "not known yet", "taken out", "put in"],
)
def test_an_edit_of_the_replicas_is_applied_once(
    wanted: int | None, applied: int | None, present: int, effect: Any
) -> None:
    decision = _sized(wanted, applied, present)
    assert (effect, wanted or 0) == (decision.effect, decision.status.created_replicas)
    assert (["Scaled"] if effect else []) == [one.reason for one in decision.announcements if one.reason == "Scaled"]


def test_what_is_created_is_heard_of_when_it_is_deleted() -> None:
    deployment, _ = created_stable(
        spec_of(workload={"deployment": NAME, "template": TEMPLATE}), "vision", "the-release"
    )
    assert "the-release" == cast(Any, deployment)["metadata"]["labels"][RELEASE]


@pytest.mark.parametrize(
    "status", [{**RAN, "released_template": "another"}, {"released_image": "", "promoted_image": ""}]
)
def test_what_is_not_known_any_more_is_not_guessed(status: dict[str, Any]) -> None:
    spec = spec_of(BAD, workload={"deployment": "yolov8-detect", "template": TEMPLATE})
    decision = decide(replace(resting(Phase.ROLLED_BACK, stable=None, status=status), spec=spec), NOW)
    assert decision.effect is None
    assert "DeploymentMissing" in [announcement.reason for announcement in decision.announcements]
