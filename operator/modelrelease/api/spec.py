"""What a user writes: the `spec` of a ModelRelease.

Field descriptions end up in the CRD and so in `kubectl explain`; keep them whole sentences. A default that no
description mentions is added there by `schema.py`. What takes more than one field to check is in `validations.py`.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, JsonValue, ValidationError, model_validator

from modelrelease.api.durations import Duration
from modelrelease.api.fields import POD_TEMPLATE, SET, Gateway, Host, Name, ResponseCode, RouteName, ShortName
from modelrelease.api.model import Model
from modelrelease.errors import InvalidResource

Percent = Annotated[int, Field(ge=1, le=100)]
Probability = Annotated[float, Field(gt=0, lt=0.5)]
Manifest = dict[str, JsonValue]


class Advance(StrEnum):
    """What ends a step."""

    EVIDENCE = "Evidence"
    TIME = "Time"


class OnStepDeadline(StrEnum):
    """What happens when the evidence is not there by the step deadline."""

    HOLD = "Hold"
    ROLLBACK = "Rollback"
    PROMOTE = "Promote"


class OnUnresolvable(StrEnum):
    """What happens when the latency buckets cannot resolve stable's P99."""

    SKIP = "Skip"
    HOLD = "Hold"


class PolicyCoverage(StrEnum):
    """What happens when a policy selects stable's pods but not the canary's."""

    WARN = "Warn"
    REQUIRE = "Require"


class EnvVar(Model):
    """An environment variable with a plain value."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[ -<>-~]+$")] = Field(
        description="Name of the environment variable."
    )
    value: Annotated[str, Field(max_length=8192)] = Field(default="", description="Its value in the new release.")


class Workload(Model):
    """What serves in production."""

    deployment: Name = Field(description="Name of the stable Deployment, in the same namespace. Immutable.")
    container: ShortName | None = Field(
        default=None,
        description="Container whose image changes. Default: the kubectl.kubernetes.io/default-container annotation "
        "of the pod template, else its first container.",
    )
    service: ShortName | None = Field(
        default=None, description="Name of the stable Service. Default: the name of the Deployment. Immutable."
    )
    template: Manifest | None = Field(
        default=None,
        description="Pod template. When given, the operator creates the Deployment and the Service if they are absent "
        "and keeps them up. Labels by which these select pods stay as they are, whatever the template says.",
        json_schema_extra=POD_TEMPLATE,
    )
    replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="Replicas of a Deployment that the operator creates. Default 1. An edit is applied once, between "
        "releases; an autoscaler may change the number afterwards.",
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="Container port of a Service that the operator creates. Default 8000. Immutable."
    )


class Traffic(Model):
    """What splits the traffic."""

    virtual_service: Name | None = Field(
        default=None, description="Name of the VirtualService that splits the traffic. Default: the Service's name."
    )
    route: RouteName | None = Field(
        default=None, description="Name of its http route. Default: its only route; required where it has several."
    )
    hosts: Annotated[list[Host], Field(max_length=32)] = Field(
        default_factory=list,
        description="Hosts of a VirtualService that the operator creates when it is absent.",
        json_schema_extra=SET,
    )
    gateways: Annotated[list[Gateway], Field(max_length=32)] = Field(
        default_factory=list,
        description="Gateways of a VirtualService that the operator creates, as name or namespace/name. Default: mesh.",
        json_schema_extra=SET,
    )


class Step(Model):
    """A share of the traffic, and what it takes to go on from there."""

    weight: Percent = Field(description="Share of the traffic, in per cent, that the canary gets in this step.")
    min_duration: Duration = Field(default=60.0, description="Least time that the step lasts.")
    approval: bool = Field(
        default=False,
        description="Wait for the annotation modelrelease.dev/promote: next before the next step; in the last step, "
        "before stable gets the new image.",
    )


def default_steps() -> list[Step]:
    return [Step(weight=weight) for weight in (1, 5, 20, 50, 100)]


class Strategy(Model):
    """How the rollout proceeds."""

    steps: Annotated[list[Step], Field(min_length=1, max_length=20)] = Field(
        default_factory=default_steps,
        description="Steps of the rollout. Weights increase strictly and end at 100. Default: 1, 5, 20, 50, 100.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    advance: Advance = Field(
        default=Advance.EVIDENCE,
        description="Evidence: a step ends when its promotion gate is passed and minDuration is over. Time: when "
        "minDuration is over, metrics are fresh, analysis.minRequests canary requests were seen and nothing speaks "
        "against the canary.",
    )
    canary_replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="Fixed number of canary replicas. Default: ceil(stable replicas * next weight / 100), at least 1.",
    )
    progress_deadline: Duration = Field(
        default=600.0, description="The release fails when the canary is not available by then."
    )
    step_deadline: Duration = Field(
        default=7200.0, description="When a step has lasted so long, onStepDeadline applies."
    )
    on_step_deadline: OnStepDeadline = Field(
        default=OnStepDeadline.HOLD,
        description="Hold: say so and keep collecting evidence. Rollback: end the release. Promote: go on with what "
        "evidence there is, but only while metrics are fresh.",
    )
    bake_time: Duration = Field(
        default=300.0, description="Time at 100 % during which stable is kept at full size for an instant way back."
    )
    drain_delay: Duration = Field(
        default=30.0, description="Time between taking traffic off pods and scaling them down."
    )
    hold_autoscaler: bool = Field(
        default=True, description="Hold minReplicas of stable's HorizontalPodAutoscaler at its size of the start."
    )
    policy_coverage: PolicyCoverage = Field(
        default=PolicyCoverage.WARN,
        description="Warn or, with Require, stop when a policy selects stable's pods but not the canary's.",
    )


class ErrorRate(Model):
    """How much worse the canary's error rate may be."""

    max_ratio: Annotated[float, Field(ge=1, le=100)] = Field(
        default=1.1, description="Tolerated ratio of the canary's error rate to stable's."
    )
    max_increase: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.001, description="Tolerated absolute increase of the error rate."
    )
    ceiling: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="Absolute limit of the canary's error rate, whatever stable's is."
    )
    codes: Annotated[list[ResponseCode], Field(min_length=1, max_length=20)] = Field(
        default_factory=lambda: ["5xx", "0"],
        description="Response codes that count as errors, such as 429, 4xx or 5xx; the list replaces the default. "
        "Default: 5xx and 0 (no response, except a client that left).",
        json_schema_extra=SET,
    )


class LatencyP99(Model):
    """How much worse the canary's P99 latency may be."""

    max_ratio: Annotated[float, Field(gt=1, le=100)] = Field(
        default=1.2, description="Tolerated ratio of the canary's P99 latency to stable's."
    )
    ceiling_milliseconds: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Absolute limit of the canary's P99 latency in milliseconds."
    )
    on_unresolvable: OnUnresolvable = Field(
        default=OnUnresolvable.SKIP,
        description="Skip latency (with a warning), or Hold the release, when the buckets cannot resolve stable's P99.",
    )


class Analysis(Model):
    """How the canary is compared with stable."""

    provider: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        default="default", description="Name of a Prometheus in the operator's configuration."
    )
    source: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        default="Istio",
        description="Istio, Inference (the inference image's own metrics) or a name of the operator's configuration.",
    )
    interval: Duration = Field(default=10.0, description="Time between two evaluations, at least 1s.")
    lag: Duration | None = Field(
        default=None, description="How far behind now a sample must be to count. Default: two scrape intervals."
    )
    warm_up: Duration = Field(
        default=30.0, description="Time after the canary's pods change that is not counted, in both arms."
    )
    baseline: Duration = Field(
        default=600.0,
        description=(
            "Stable's history that shows its P99 before traffic moves. A younger stable is waited for until it has "
            "shown enough requests, at most this long; of an older one up to six times as much is read where it takes "
            "that many."
        ),
    )
    min_requests: Annotated[int, Field(ge=1)] = Field(
        default=50, description="With advance: Time, least number of canary requests in a step."
    )
    false_rollback_probability: Probability = Field(
        default=0.01, description="Upper bound of the probability that an equal canary is rolled back, per release."
    )
    missed_regression_probability: Probability = Field(
        default=0.01, description="Upper bound of the probability that a gate passes a canary beyond the tolerance."
    )
    error_rate: ErrorRate = Field(default_factory=ErrorRate, description="Tolerances for the error rate.")
    latency_p99: LatencyP99 = Field(
        default_factory=LatencyP99, alias="latencyP99", description="Tolerances for the P99 latency."
    )
    harm_budget: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.002, description="Share of all requests that may be harmed before a step is allowed to grow."
    )

    @model_validator(mode="after")
    def _interval_is_a_second_or_more(self) -> Analysis:
        if self.interval < 1:
            raise ValueError("analysis.interval must be at least 1s")
        return self


class ModelReleaseSpec(Model):
    """What to release, where and how. A release starts whenever image, env or template differ from what stable runs."""

    image: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^\S+$")] = Field(
        description="Image to release, by tag or digest. A tag is resolved to the digest that the first Ready canary "
        "pod reports, and that digest is promoted."
    )
    env: Annotated[list[EnvVar], Field(max_length=64)] = Field(
        default_factory=list,
        description="Environment variables that change with this release, such as MODEL_URI. One that a release "
        "brought and that is removed here goes from stable with the next release.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    workload: Workload = Field(description="The Deployment and Service that serve in production.")
    traffic: Traffic = Field(default_factory=Traffic, description="The VirtualService that splits the traffic.")
    strategy: Strategy = Field(default_factory=Strategy, description="How the rollout proceeds.")
    analysis: Analysis = Field(default_factory=Analysis, description="How the canary is compared with stable.")
    paused: bool = Field(default=False, description="Stop forward moves. Analysis, rollback and abort go on.")

    @model_validator(mode="after")
    def _steps_increase_to_100(self) -> ModelReleaseSpec:
        weights = [step.weight for step in self.strategy.steps]
        if any(later <= earlier for earlier, later in pairwise(weights)):
            raise ValueError(f"strategy.steps: weights must increase strictly, but are {weights}")
        if weights[-1] != 100:
            raise ValueError(f"strategy.steps: the last weight must be 100, but is {weights[-1]}")
        return self

    @property
    def service_name(self) -> str:
        return self.workload.service or self.workload.deployment

    @property
    def virtual_service_name(self) -> str:
        return self.traffic.virtual_service or self.service_name


_SAID = {"model_type": "it must be an object with fields", "missing": "it must be given"}
"""Instead of the library's words, which name its own classes."""


def parse_spec(raw: Any) -> ModelReleaseSpec:
    """Read a spec as the API server holds it. Raises InvalidResource with one sentence per wrong field."""
    try:
        return ModelReleaseSpec.model_validate(raw)
    except ValidationError as error:
        sentences = [
            f"spec{''.join(f'[{part}]' if isinstance(part, int) else f'.{part}' for part in detail['loc'])}: "
            f"{_SAID.get(detail['type'], detail['msg']).removeprefix('Value error, ')}"
            for detail in error.errors(include_url=False)
        ]
        raise InvalidResource("; ".join(sentences)) from error
