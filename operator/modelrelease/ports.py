"""What the controller asks of the world; adapters answer with one library each, tests with fakes.

One contract suite per port (`tests/contract/`) runs on the fake and on the real adapter. Every method may raise the
errors of `modelrelease.errors`; every implementation bounds its waiting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from modelrelease.api.model import GROUP, PLURAL, VERSION
from modelrelease.judge import Series
from modelrelease.rollout.decision import Announcement
from modelrelease.rollout.seen import Manifest, RouteReference, RouteSeen


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Identity of a ModelRelease: all that travels through the queue."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Resource:
    """Where the API server serves a kind."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


class Kind(Enum):
    """The kinds that the operator touches; the RBAC table is generated from it."""

    MODEL_RELEASE = Resource(GROUP, VERSION, PLURAL, "ModelRelease")
    DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
    SERVICE = Resource("", "v1", "services", "Service")
    POD = Resource("", "v1", "pods", "Pod")
    EVENT = Resource("", "v1", "events", "Event")
    AUTOSCALER = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
    VIRTUAL_SERVICE = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService")
    GATEWAY = Resource("networking.istio.io", "v1", "gateways", "Gateway")
    DESTINATION_RULE = Resource("networking.istio.io", "v1", "destinationrules", "DestinationRule")
    NETWORK_POLICY = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
    AUTHORIZATION_POLICY = Resource("security.istio.io", "v1", "authorizationpolicies", "AuthorizationPolicy")
    PEER_AUTHENTICATION = Resource("security.istio.io", "v1", "peerauthentications", "PeerAuthentication")
    REQUEST_AUTHENTICATION = Resource("security.istio.io", "v1", "requestauthentications", "RequestAuthentication")
    LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")


class Cluster(Protocol):
    """The Kubernetes API: plain objects, optimistic concurrency, errors translated."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The object, read from etcd (not from a watch cache); None where there is none or its kind is not served."""

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None) -> list[Manifest]:
        """All objects (paged), in one namespace or, with None, in all that the operator watches; [] for kinds that are
        not served."""

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create; raises Conflict where it exists already."""

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Write back a whole object under its resourceVersion; raises Conflict where somebody wrote first."""

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        """JSON merge patch; guarded when the patch holds metadata.resourceVersion or metadata.uid (Conflict)."""

    async def replace_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Write the status subresource under the resourceVersion that `manifest` holds."""

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        """Delete (background propagation), guarded by `uid`; an object that is gone is no error."""


@dataclass(frozen=True, slots=True, order=True)
class Workload:
    """A sender of requests, as metrics name it."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Senders:
    """Whose requests a route splits; requests of others go to stable, whatever the weight is."""

    workloads: tuple[Workload, ...] | None = None
    """None: everybody's are counted."""
    problem: str = ""
    """A sentence where everybody's are counted although the route splits only some."""


class Traffic(Protocol):
    """The split of one route between stable and canary."""

    async def read(self, namespace: str, reference: RouteReference) -> RouteSeen:
        """The route as it stands. Raises Terminal with the remedy where nothing names the canary, and there is no route
        to split: VirtualServiceMissing, RouteMissing, RouteAmbiguous, RouteUnsupported."""

    async def set_weight(
        self, namespace: str, reference: RouteReference, seen: RouteSeen, weight_percent: int
    ) -> RouteSeen:
        """Give the canary host `weight_percent` of the route in one write guarded by what was `seen`, and return what
        the API server stored. Everything else in the object stays as it is. 0 takes the canary's share off in every
        shape; more raises Terminal where the route cannot be split. Raises Conflict."""

    async def restore(self, namespace: str, reference: RouteReference, seen: RouteSeen) -> None:
        """Give the route its original shape back: all traffic to stable, no canary destination."""

    async def confirm(self, seen: RouteSeen) -> None:
        """Make sure that the route still is as it was `seen`: what is read may lag behind. Raises Conflict."""

    async def senders(self, namespace: str, reference: RouteReference, seen: RouteSeen) -> Senders:
        """Whose requests the route splits. May be some seconds old; raises Retryable."""

    async def policy_missing(self, namespace: str, reference: RouteReference, seen: RouteSeen) -> bool:
        """Whether stable's host has a traffic policy (a DestinationRule) that the canary's host lacks."""

    async def copy_policy(
        self, namespace: str, reference: RouteReference, seen: RouteSeen, owner: Manifest, labels: Mapping[str, str]
    ) -> None:
        """Give the canary's host stable's traffic policy; `owner` is the ownerReference by which it goes again."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What to ask Prometheus about one release.

    source: which metrics; as `analysis.source` names them.
    senders: whose requests count, where the source's metrics tell.
    """

    namespace: str
    stable_service: str
    canary_service: str
    source: str
    error_codes: tuple[str, ...]
    senders: Senders = Senders()


@dataclass(frozen=True, slots=True)
class Samples:
    """The answer for one release: raw samples, and how old the newest one is allowed to be is the caller's business."""

    series: tuple[Series, ...]
    newest_seconds: float | None


class Metrics(Protocol):
    """One Prometheus provider."""

    scrape_interval_seconds: float

    async def query(
        self, watched: Mapping[Key, Watched], *, start_seconds: float, end_seconds: float
    ) -> Mapping[Key, Samples]:
        """Raw counter samples in (start, end] of all releases by one query (per 100 or so of them).
        Raises MetricsUnavailable; partial answers (warnings) are refused, too."""

    async def query_pods(
        self, watched: Watched, *, start_seconds: float, end_seconds: float
    ) -> Mapping[str, tuple[Series, ...]]:
        """The same of stable's pods, each as it counted by itself; empty where pods do not report. By one query.
        Raises MetricsUnavailable."""


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds; for what is written into status."""

    def monotonic(self) -> float:
        """Seconds that never jump; for delays and leases."""


class Lease(Protocol):
    """Leadership: at most one holder may write."""

    def is_held(self) -> bool:
        """True only while the lease is certainly ours; nothing is begun without it."""

    def write_seconds(self) -> float:
        """How long a write that begins now may take, so that it is over before anybody else can lead; 0 where the
        lease is not held. Asked before every write."""

    async def run(self, on_change: Callable[[bool], None]) -> None:
        """Acquire, renew and, on cancellation, release the lease."""


class Announcer(Protocol):
    async def announce(self, release: Manifest, announcement: Announcement) -> None:
        """Post an Event. Never raises and never blocks for long: the story is not worth a delay of the release."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to a release or to what it owns: look again."""

    key: Key
    resource_version: str | None


class Source(Protocol):
    """Where keys come from."""

    def changes(self) -> AsyncIterator[Change]:
        """Keys of releases that changed, for ever."""


__all__: Sequence[str] = [
    "Announcement",
    "Announcer",
    "Change",
    "Clock",
    "Cluster",
    "Key",
    "Kind",
    "Lease",
    "Manifest",
    "Metrics",
    "Resource",
    "Samples",
    "Senders",
    "Source",
    "Traffic",
    "Watched",
    "Workload",
]
