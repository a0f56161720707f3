"""Where counters come from, as data: names of metrics and labels. Another mesh or server is another definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SourceDefinition:
    """How a source names what the judge compares.

    requests_metric, buckets_metric: the counter of requests, and the buckets of the histogram of their durations.
    arm_label: the label that tells stable from canary. Its value is `arm_value` with `{service}`, `{namespace}` and
        `{domain}` (the cluster domain) filled in.
    namespace_label: a second label that must be the release's namespace; empty where `arm_value` says it already.
    code_label: the HTTP response code.
    flags_label: Envoy's response flags; `DC` marks a client that left. Empty where there are none.
    grpc_label: the gRPC status, which counts instead of the HTTP code where it is present. Empty where there is none.
    fixed_labels: what all series must have besides, such as `reporter="source"`: a canary without a pod that answers
        has source series only.
    sender_label, sender_namespace_label: who sent the requests, as a workload; empty where the metrics do not tell.
    pod_labels: what series must have instead of `fixed_labels` that the answering pods report themselves, each as a
        target of its own; None where pods report nothing.
    target_labels: these together identify one scraped process, whose counters begin again at 0 together.
    milliseconds_per_unit: 1 where bucket bounds are milliseconds, 1000 where they are seconds.
    """

    requests_metric: str
    buckets_metric: str
    arm_label: str
    arm_value: str
    namespace_label: str = ""
    code_label: str = "response_code"
    flags_label: str = ""
    grpc_label: str = ""
    fixed_labels: Mapping[str, str] = field(default_factory=dict)
    sender_label: str = ""
    sender_namespace_label: str = ""
    pod_labels: Mapping[str, str] | None = None
    target_labels: tuple[str, ...] = ("job", "instance", "pod")
    milliseconds_per_unit: float = 1.0

    def value_of(self, service: str, namespace: str, domain: str) -> str:
        return self.arm_value.format(service=service, namespace=namespace, domain=domain)


ISTIO = SourceDefinition(
    requests_metric="istio_requests_total",
    buckets_metric="istio_request_duration_milliseconds_bucket",
    arm_label="destination_service",
    arm_value="{service}.{namespace}.svc.{domain}",
    flags_label="response_flags",
    grpc_label="grpc_response_status",
    fixed_labels={"reporter": "source"},
    sender_label="source_workload",
    sender_namespace_label="source_workload_namespace",
    pod_labels={"reporter": "destination"},
)
"""Istio's standard metrics, as the client's side (gateway or sidecar) reports them."""

INFERENCE = SourceDefinition(
    requests_metric="inference_requests_total",
    buckets_metric="inference_request_duration_seconds_bucket",
    arm_label="service",
    arm_value="{service}",
    namespace_label="namespace",
    code_label="code",
    pod_labels={},
    milliseconds_per_unit=1000.0,
)
"""The inference image's own metrics, with the labels that a ServiceMonitor adds to each target."""
