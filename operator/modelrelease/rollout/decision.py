"""What a look at the world ends in: a new status, at most one effect, and a time to look again."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelrelease.api.annotations import Request
from modelrelease.api.status import ReleaseStatus
from modelrelease.rollout.seen import Manifest

IMMEDIATELY = 0.0


@dataclass(frozen=True, slots=True)
class SetWeight:
    """Give the canary this share of the managed route, in per cent."""

    percent: int


@dataclass(frozen=True, slots=True)
class RestoreRoute:
    """Give the managed route its original shape: all traffic to stable, no canary destination."""


@dataclass(frozen=True, slots=True)
class CreateDeployment:
    manifest: Manifest = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreateService:
    manifest: Manifest = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreateVirtualService:
    manifest: Manifest = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreateCanaryService:
    """Made by the executor from what it reads, since its owner's uid is known only after the Deployment exists."""


@dataclass(frozen=True, slots=True)
class CreateCanaryRule:
    """Copy stable's DestinationRule traffic policy for the canary's host."""


@dataclass(frozen=True, slots=True)
class ScaleCanary:
    replicas: int


@dataclass(frozen=True, slots=True)
class ScaleStable:
    """Give a Deployment of creation mode the number of replicas that its specification was edited to."""

    replicas: int


@dataclass(frozen=True, slots=True)
class StampCanary:
    """Write on the canary's Deployment what must outlive the status, or the whole ModelRelease."""

    annotation: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeleteCanary:
    """Delete the canary's Deployment; what it owns goes with it."""

    uid: str


@dataclass(frozen=True, slots=True)
class SetStableTemplate:
    """Replace stable's pod template (promotion, or taking one back), guarded by the version that was seen."""

    template: Manifest = field(repr=False)
    template_mark: str = ""


@dataclass(frozen=True, slots=True)
class SetAutoscalerMinimum:
    name: str
    min_replicas: int


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Deleting the ModelRelease waits until traffic is back on stable."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    pass


@dataclass(frozen=True, slots=True)
class ConsumeRequests:
    """Remove steering annotations that were acted on (only where they still hold the same value)."""

    requests: tuple[Request, ...]


Effect = (
    SetWeight
    | RestoreRoute
    | CreateDeployment
    | CreateService
    | CreateVirtualService
    | CreateCanaryService
    | CreateCanaryRule
    | ScaleCanary
    | ScaleStable
    | StampCanary
    | DeleteCanary
    | SetStableTemplate
    | SetAutoscalerMinimum
    | AddFinalizer
    | RemoveFinalizer
    | ConsumeRequests
)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A Kubernetes Event about a ModelRelease: a full sentence for people."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """`status` is written first, then `effect` is carried out; with `effect_first` the other way round.

    Taking traffic off the canary is the one thing that goes first, since it must not wait for a status write.
    """

    status: ReleaseStatus
    effect: Effect | None = None
    effect_first: bool = False
    announcements: tuple[Announcement, ...] = ()
    again_seconds: float = 300.0
