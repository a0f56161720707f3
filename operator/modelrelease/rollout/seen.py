"""What one look at the world found, in the few facts that decisions need."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import JsonValue

from modelrelease.api.annotations import Request
from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.api.status import ReleaseStatus
from modelrelease.judge import Assessment, State

Manifest = dict[str, JsonValue]
"""A Kubernetes object as JSON. Opaque outside of the few places that read or build one."""


@dataclass(frozen=True, slots=True)
class RouteReference:
    """Which route of which VirtualService is split between which hosts."""

    virtual_service: str
    route: str | None
    stable_host: str
    canary_host: str


@dataclass(frozen=True, slots=True)
class RouteSeen:
    """The managed route as it stands."""

    resource_version: str
    weight_percent: int
    """Canary's weight; 0 only where no route of the VirtualService gives the canary a share of stable's traffic."""
    has_canary: bool
    """Whether the canary host is among the destinations of any such route, be it with weight 0."""
    is_consistent: bool
    """False where the managed weights do not add up to 100: somebody else wrote them."""
    is_alike: bool
    """Whether the canary's destination is stable's but for host, subset and weight; False where either was edited."""
    problem: tuple[str, str] | None
    """(reason, sentence) where the route was edited so that its weight can only go to 0; None where it can be split."""
    is_ours: bool
    """Whether the operator was the last to change the VirtualService's routes, and nobody else asks for the same."""
    manifest: Manifest = field(repr=False)
    """The whole VirtualService, as read; what a write must leave alone stays in here."""


@dataclass(frozen=True, slots=True)
class PodTrouble:
    """Why pods do not get ready, in the words of the kubelet or the scheduler."""

    reason: str
    message: str


STEADY_SECONDS = 3.0
"""How long the canary's newest pod must have been ready before the first traffic; times of pods are whole seconds."""


@dataclass(frozen=True, slots=True)
class DeploymentSeen:
    """One arm's Deployment."""

    name: str
    uid: str
    resource_version: str
    replicas: int
    ready: int
    available: int
    is_rolled_out: bool
    """Every replica runs the current template and is available; none of an older one is left."""
    image: str
    env: tuple[tuple[str, str], ...]
    digest: str
    """Reference by digest (`repository@sha256:…`) that its Ready pods report; empty where they report none."""
    digests: tuple[str, ...]
    """All digests reported by its pods: more than one means that a tag changed its content."""
    pods_changed_at_seconds: float | None
    """When the set of ready pods last changed: one became ready, or was asked to go."""
    pod_changes_seconds: tuple[float, ...]
    """All such moments that its pods still show, in order."""
    serving_since_seconds: float | None
    """Since when its oldest ready pod is ready: what was measured before tells nothing about the pods of today."""
    asked_to_go_seconds: tuple[float, ...]
    """When those of its pods that are being deleted were asked to go."""
    created_seconds: tuple[float, ...]
    """When those of its pods that are not being deleted were created, in order."""
    has_crashed: bool
    """A container of its pods ended with an error or was started again."""
    crash_loop: bool
    restarts: int
    trouble: PodTrouble | None
    revision: str
    """Release revision stamped on the object; empty for stable."""
    verdict: str
    """Verdict stamped on the canary, empty where there is none."""
    gitops_owner: str
    """Field manager of a GitOps tool that owns the image, or empty."""
    manifest: Manifest = field(repr=False)

    def seconds_to_steady(self, now: float) -> float:
        """How long until its newest pod has been ready for STEADY_SECONDS; 0 or less when it has."""
        return (self.pods_changed_at_seconds or 0.0) + STEADY_SECONDS - now


@dataclass(frozen=True, slots=True)
class AutoscalerSeen:
    name: str
    min_replicas: int
    max_replicas: int


class MetricsHealth(StrEnum):
    """Whether the analysis has something to stand on."""

    FRESH = "Fresh"
    WAITING = "Waiting"
    """No window is complete yet; normal at the start of a step."""
    STALE = "Stale"
    UNAVAILABLE = "Unavailable"


@dataclass(frozen=True, slots=True)
class AnalysisSeen:
    """What the judge says now, and whether its data are sound."""

    health: MetricsHealth
    message: str
    assessment: Assessment | None
    state: State | None
    """The judge's state; goes into status as a checkpoint with the next write."""
    requests_in_step: int = 0
    seconds_to_gate: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that `decide` may look at."""

    is_glance: bool
    """Whether only the release, its route and the metrics were read: all else looks as if it were not there."""
    namespace: str
    name: str
    uid: str
    generation: int
    is_deleting: bool
    has_finalizer: bool
    spec: ModelReleaseSpec
    spec_problem: str
    """Why the specification cannot be read; `spec` is then what the release began with. Empty where it can."""
    status: ReleaseStatus
    requests: tuple[Request, ...]
    gitops_requests: tuple[Request, ...]
    """Steering annotations that a GitOps tool owns: not obeyed."""
    unknown_annotations: tuple[str, ...]
    """Names of annotations that look as if they should steer and do not."""
    stable: DeploymentSeen | None
    canary: DeploymentSeen | None
    stable_service: Manifest | None
    canary_service: Manifest | None
    policy_missing: bool
    """Whether stable's host has a DestinationRule traffic policy that the canary's host lacks."""
    route: RouteSeen | None
    route_problem: tuple[str, str] | None
    """(reason, sentence) where the route cannot be read, or not be split any more."""
    autoscaler: AutoscalerSeen | None
    analysis: AnalysisSeen | None
    conflict: str
    """Name of an older ModelRelease for the same Deployment or route; empty where there is none."""
    canary_taken: bool
    """Whether the route's destination for the canary is a Deployment or Service of somebody else. Looked at only where
    the route has one and there is no canary."""
    uncovered_policies: tuple[str, ...]
    metrics_problem: tuple[str, str] | None
    """(reason, sentence) where the named provider or source is not configured."""
