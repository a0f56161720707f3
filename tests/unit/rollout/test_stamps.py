"""What the canary's Deployment remembers of stable, and what a promotion that was cut short is taken back to."""

from __future__ import annotations

from typing import Any

import pytest

from modelrelease.rollout.canary import canary_deployment, with_release
from modelrelease.rollout.labels import BEFORE, TEMPLATE
from modelrelease.rollout.revision import template_digest
from modelrelease.rollout.stamps import MOST_BYTES, stamp_on, stamped_before, taken_back
from simulation.looks import spec_of
from simulation.world import NAME, NEW_IMAGE, STABLE_IMAGE, deployment, service

DIGEST = f"{NEW_IMAGE.partition(':')[0]}@sha256:" + "a" * 64
OURS = {"name": "MODEL", "value": "b"}
MINE = {"name": "THREADS", "value": "2"}


def _stable(image: str = STABLE_IMAGE, env: Any = None, **container: Any) -> Any:
    body: Any = deployment(2)
    found = body["spec"]["template"]["spec"]["containers"][0]
    found.update({"image": image, **({"env": env} if env is not None else {}), **container})
    return body


def _container(body: Any) -> Any:
    return body["spec"]["template"]["spec"]["containers"][0]


def _canary(stable: Any, spec: Any) -> Any:
    return canary_deployment(stable, service(), spec, release=NAME, revision="r", replicas=1)


def _back(stable: Any, spec: Any, before: Any = None) -> Any:
    canary = _canary(before or _stable(), spec)
    stamp = stamped_before(canary)
    assert stamp is not None
    return taken_back(stable, canary, stamp)


@pytest.mark.parametrize("image", [NEW_IMAGE, DIGEST], ids=["by tag", "by digest"])
def test_the_image_is_taken_back_and_what_others_changed_stays(image: str) -> None:
    resources = {"limits": {"cpu": "2"}}
    back = _back(_stable(image, resources=resources), spec_of())
    assert (STABLE_IMAGE, resources) == (_container(back)["image"], _container(back)["resources"])


@pytest.mark.parametrize(
    "image", [STABLE_IMAGE, "harbor.example.com/vision/yolov8-detect:v1.0.1", "other@sha256:" + "b" * 64]
)
def test_a_stable_that_was_not_promoted_is_left_alone(image: str) -> None:
    assert _back(_stable(image), spec_of()) is None


def test_an_environment_is_taken_back_to_what_it_was() -> None:
    spec = spec_of(STABLE_IMAGE, env=[OURS])
    assert [MINE] == _container(_back(_stable(env=[MINE, OURS]), spec, _stable(env=[MINE])))["env"]
    assert [] == _container(_back(_stable(env=[OURS]), spec))["env"]
    assert _back(_stable(env=[MINE]), spec) is None, "somebody else's edit"


def test_in_creation_mode_the_whole_template_is_taken_back() -> None:
    template: Any = {"spec": {"containers": [{"name": "server", "args": ["--half"]}]}}
    spec = spec_of(STABLE_IMAGE, workload={"template": template})
    before, promoted = _stable(), _stable()
    before["metadata"]["annotations"] = {TEMPLATE: "old"}
    promoted["metadata"]["annotations"] = {TEMPLATE: template_digest(template)}
    promoted["spec"]["template"] = with_release(template, spec, STABLE_IMAGE)

    back = _back(promoted, spec, before)

    assert before["spec"]["template"] == back["spec"]["template"]
    assert "old" == back["metadata"]["annotations"][TEMPLATE]
    assert _back(before, spec, before) is None


def test_a_stamp_that_would_not_fit_is_left_out() -> None:
    huge = _canary(_stable(env=[{"name": "A", "value": "a" * MOST_BYTES}]), spec_of())
    assert ("", None) == (stamp_on(huge, BEFORE), stamped_before(huge))
