"""What a real API server accepts and refuses, and whether what it says tells people what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from integration.crd.releases import Releases
from localcluster.errors import CommandFailed
from modelrelease.api.spec import parse_spec
from modelrelease.api.validations import VALIDATIONS

Spec = dict[str, Any]
IMAGE = "harbor.example.com/vision/yolov8-detect:v1.2.0-gpu-cu126"
LEAST: Spec = {"image": IMAGE, "workload": {"deployment": "yolov8-detect"}}
TEMPLATE = {"spec": {"containers": [{"name": "server", "ports": [{"containerPort": 8000}]}]}}
LONG = "a" * 64


def changed(**parts: Any) -> Spec:
    """The least spec with some parts replaced or added."""
    return copy.deepcopy(LEAST) | parts


def workload(**fields: Any) -> Spec:
    return changed(workload={"deployment": "yolov8-detect", **fields})


def steps(*weights: int) -> Spec:
    return changed(strategy={"steps": [{"weight": weight} for weight in weights]})


def strategy(**fields: Any) -> Spec:
    return changed(strategy=fields)


def analysis(**fields: Any) -> Spec:
    return changed(analysis=fields)


REFUSED: list[tuple[str, Spec]] = [
    ("an image reference has no scheme", changed(image="https://harbor.example.com/yolo:v1")),
    ("no image can be called this", changed(image="harbor.example.com/Vision/YOLO:v1")),
    ("no image can be called this", changed(image="harbor.example.com/yolo:")),
    ("no image can be called this", changed(image="harbor.example.com/yolo@sha256:123")),
    ("a Service's name has at most 63 characters", changed(workload={"deployment": LONG})),
    ("workload.replicas and workload.port are for", workload(replicas=2)),
    ("workload.replicas and workload.port are for", workload(port=8000)),
    ("workload.container must be the name of", workload(template=TEMPLATE, container="sidecar")),
    ("traffic.gateways are for a VirtualService", changed(traffic={"gateways": ["istio-ingress/public"]})),
    ("must increase strictly", steps(5, 5, 100)),
    ("must increase strictly", steps(20, 5, 100)),
    ("must increase strictly", steps(5, 100, 20)),
    ("the last of strategy.steps must have weight 100", steps(5, 20)),
    (
        "must be longer than minDuration",
        strategy(onStepDeadline="Rollback", stepDeadline="30s", steps=[{"weight": 100}]),
    ),
    (
        "must be longer than minDuration",
        strategy(onStepDeadline="Promote", steps=[{"weight": 5, "minDuration": "3h"}, {"weight": 100}]),
    ),
    ("strategy.progressDeadline must be at least 1s", strategy(progressDeadline="0s")),
    ("strategy.stepDeadline must be at least 1s", strategy(stepDeadline="999ms")),
    ("analysis.interval must be at least 1s", analysis(interval="500ms")),
    ("analysis.interval must be at least 1s", analysis(interval="0.9s")),
    ("analysis.errorRate.codes must contain 5xx", analysis(errorRate={"codes": ["429"]})),
]
"""Sentence, or its beginning, that a rule says, and what it says it about."""

IMMUTABLE: list[tuple[str, Spec, Spec]] = [
    ("workload.deployment is immutable", LEAST, changed(workload={"deployment": "other"})),
    ("workload.service is immutable", LEAST, workload(service="other")),
    ("workload.port is immutable", workload(template=TEMPLATE, port=8000), workload(template=TEMPLATE, port=9000)),
    ("workload.service is immutable", workload(service="other"), LEAST),
]

OUT_OF_BOUNDS: list[tuple[str, Spec]] = [
    ("spec.image: Required value", {"workload": {"deployment": "yolov8-detect"}}),
    ("spec.workload: Required value", {"image": IMAGE}),
    ("spec.workload.deployment: Required value", changed(workload={})),
    ("spec.image in body should match", changed(image="yolo v1")),
    ("spec.image in body should be at least 1", changed(image="")),
    ("spec.workload.deployment in body should match", changed(workload={"deployment": "YOLO"})),
    ("spec.strategy.steps[0].weight in body should be greater than or equal to 1", steps(0, 100)),
    ("spec.strategy.steps[1].weight in body should be less than or equal to 100", steps(5, 101)),
    ("spec.strategy.steps in body should have at least 1 items", strategy(steps=[])),
    ("spec.strategy.steps: Too many", steps(*range(80, 101))),
    ('spec.strategy.advance: Unsupported value: "Quickly"', strategy(advance="Quickly")),
    ("spec.strategy.bakeTime in body should match", strategy(bakeTime="5 minutes")),
    ("spec.strategy.bakeTime in body should match", strategy(bakeTime="-5m")),
    ("spec.strategy.bakeTime in body should match", strategy(bakeTime="9999999h")),
    ("spec.analysis.interval in body must be of type string", analysis(interval=10)),
    ("spec.analysis.falseRollbackProbability in body should be less than 0.5", analysis(falseRollbackProbability=0.5)),
    ("spec.analysis.falseRollbackProbability in body should be greater than 0", analysis(falseRollbackProbability=0)),
    ("spec.analysis.errorRate.codes[1] in body should match", analysis(errorRate={"codes": ["5xx", "2xx"]})),
    ('spec.env[1]: Duplicate value: {"name":"A"}', changed(env=[{"name": "A"}, {"name": "A"}])),
    ("spec.env[0].name in body should match", changed(env=[{"name": "A=B"}])),
    ('spec.traffic.hosts[1]: Duplicate value: "a.example.com"', changed(traffic={"hosts": ["a.example.com"] * 2})),
    ("spec.traffic.hosts[0] in body should match", changed(traffic={"hosts": ["https://a.example.com"]})),
    ("spec.workload.template.spec.containers: Required value", workload(template={"spec": {}})),
    ('unknown field "spec.stratgy"', changed(stratgy={})),
    ('unknown field "spec.strategy.bakeTimes"', strategy(bakeTimes="5m")),
]

ACCEPTED: dict[str, Spec] = {
    "least": LEAST,
    "one step": steps(100),
    "twenty steps": steps(*range(81, 101)),
    "fractions and sums of units": strategy(bakeTime="1h30m", drainDelay="1.5s", progressDeadline="1m30s500ms"),
    "no waiting": strategy(bakeTime="0s", drainDelay="0s", steps=[{"weight": 100, "minDuration": "0s"}]),
    "a long step that holds": strategy(stepDeadline="1m", steps=[{"weight": 100, "minDuration": "1h"}]),
    "mesh only": changed(traffic={"hosts": ["yolov8-detect", "*.example.com", "*"], "gateways": ["mesh", "a/b.c"]}),
    "empty lists": changed(env=[], traffic={"hosts": [], "gateways": []}),
    "the limits": analysis(falseRollbackProbability=0.499, harmBudget=1e-9, minRequests=1, interval="1s"),
    "no tolerance": analysis(errorRate={"maxRatio": 1, "maxIncrease": 0, "codes": ["5xx", "0", "429", "4xx"]}),
    "a short name": changed(image="yolo"),
    "a path with separators": changed(image="docker.io/a__b/c-d.e_f/yolo8:V1.0_x-y"),
    "an address for a registry": changed(image=f"[2001:db8::1]:5000/yolo:v1@sha256:{'0' * 64}"),
    "by digest": changed(image=f"registry:5000/yolo@sha256:{'0' * 64}"),
    "service named where the deployment's name is no Service's": changed(
        workload={"deployment": LONG, "service": "yolo"}
    ),
    "template": workload(template=TEMPLATE, container="server", replicas=2, port=8080),
    "longest": changed(
        image="r/" + "a" * 1022,
        env=[{"name": f"NAME_{number}", "value": "v" * 8192} for number in range(64)],
        strategy={
            "steps": [{"weight": weight, "minDuration": "999998h59m59.123456s"} for weight in range(81, 101)],
            "onStepDeadline": "Rollback",
            "stepDeadline": "999999h59m59.1s",
        },
        workload={
            "deployment": "d" * 253,
            "service": "s" * 63,
            "container": "c31",
            "template": {"spec": {"containers": [{"name": f"c{number}"} for number in range(32)]}},
        },
    ),
}


def refusal(attempt: Callable[[], None]) -> str:
    with pytest.raises(CommandFailed) as caught:
        attempt()
    return str(caught.value)


@pytest.mark.parametrize(("sentence", "spec"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_rule_refuses_with_its_sentence(releases: Releases, sentence: str, spec: Spec) -> None:
    said = refusal(lambda: releases.create("refused", spec, dry_run=True))
    expected = next(validation.message for validation in VALIDATIONS if sentence in validation.message)
    assert expected in said
    others = [validation.message for validation in VALIDATIONS if validation.message in said]
    assert [expected] == others


@pytest.mark.parametrize(("number", "case"), list(enumerate(IMMUTABLE)))
def test_what_is_immutable_stays(releases: Releases, number: int, case: tuple[str, Spec, Spec]) -> None:
    sentence, before, after = case
    name = f"immutable-{number}"
    releases.create(name, before)
    said = refusal(lambda: releases.replace(name, after))
    assert [next(validation.message for validation in VALIDATIONS if sentence in validation.message)] == [
        validation.message for validation in VALIDATIONS if validation.message in said
    ]


def test_naming_the_service_that_is_the_default_changes_nothing(releases: Releases) -> None:
    releases.create("default-service", LEAST)
    releases.replace("default-service", workload(service="yolov8-detect"))
    assert releases.read("default-service")["spec"]["workload"]["service"] == "yolov8-detect"


def test_every_rule_has_an_example_that_it_refuses() -> None:
    sentences = [case[0] for case in REFUSED] + [case[0] for case in IMMUTABLE]
    untried = [each.message for each in VALIDATIONS if not any(sentence in each.message for sentence in sentences)]
    assert untried == []


@pytest.mark.parametrize(("sentence", "spec"), OUT_OF_BOUNDS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_out_of_bounds_is_named(releases: Releases, sentence: str, spec: Spec) -> None:
    assert sentence in refusal(lambda: releases.create("refused", spec, dry_run=True))


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_right_is_accepted_and_stored_as_it_is_written(releases: Releases, name: str) -> None:
    stored = name.lower().replace(" ", "-").replace("'", "")
    releases.create(stored, ACCEPTED[name])
    spec = releases.read(stored)["spec"]
    assert ACCEPTED[name] == spec
    assert parse_spec(spec).image == spec["image"], "what the API server accepts, the operator must be able to read"
