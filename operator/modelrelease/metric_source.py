"""A section of the operator's configuration: how a mesh or server names what releases are judged by."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

MetricName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
OptionalLabelName = Annotated[str, Field(pattern=r"^([a-zA-Z_][a-zA-Z0-9_]*)?$")]
"""Names go into PromQL as they are, hence the patterns of Prometheus; values are escaped."""


class Section(BaseModel):
    """Immutable, camelCase in the file; an unknown field is an error: nobody would notice that it does nothing."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Source(Section):
    """How a mesh or server names what releases are judged by: a counter of requests and a histogram of durations."""

    requests_metric: MetricName = Field(description="Counter of requests.")
    buckets_metric: MetricName = Field(description="Buckets of the histogram of request durations.")
    arm_label: LabelName = Field(description="Label that tells the canary from stable.")
    arm_value: str = Field(
        min_length=1,
        description="Its value, in which {service}, {namespace} and {domain} stand for the Service's name, its "
        "namespace and the cluster's domain.",
    )
    namespace_label: OptionalLabelName = Field(
        default="", description="Label with the release's namespace, where armValue does not contain it."
    )
    code_label: LabelName = Field(default="response_code", description="Label with the HTTP response code.")
    flags_label: OptionalLabelName = Field(
        default="", description="Label with Envoy's response flags, which tell a client that left."
    )
    grpc_label: OptionalLabelName = Field(
        default="", description="Label with the gRPC status, which counts instead of the HTTP code where it is present."
    )
    fixed_labels: dict[LabelName, str] = Field(
        default_factory=dict, description="Labels that all series must have, such as reporter: source."
    )
    sender_label: OptionalLabelName = Field(
        default="",
        description="Label with the workload that sent the requests: only those that the route splits are counted. "
        "Series that lack it count always. Default: all requests count.",
    )
    sender_namespace_label: OptionalLabelName = Field(
        default="", description="Label with the namespace of that workload. Default: workloads are told by name only."
    )
    pod_labels: dict[LabelName, str] | None = Field(
        default=None,
        description="Labels, in place of fixedLabels, of the series that the answering pods report themselves, such as "
        "reporter: destination. Stable's pods are compared with each other by them. Default: there are none.",
    )
    target_labels: list[LabelName] = Field(
        default=["job", "instance", "pod"],
        min_length=1,
        description="Labels that together name one scraped process, whose counters begin again at 0 together.",
    )
    milliseconds_per_unit: float = Field(
        default=1.0, gt=0, description="1 where bounds of buckets are milliseconds, 1000 where they are seconds."
    )

    @field_validator("arm_value")
    @classmethod
    def _knows_its_placeholders(cls, text: str) -> str:
        try:
            text.format(service="", namespace="", domain="")
        except (LookupError, ValueError) as error:
            raise ValueError("only {service}, {namespace} and {domain} may stand in braces") from error
        return text
