"""One release from the edit of the image to the end, with everything that was seen of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from demo import manifests
from demo.errors import DemoError, OverdueError
from demo.kube import Kube
from demo.manifests import MODEL_RELEASE, VIRTUAL_SERVICE, Model
from demo.measure import Release, between
from demo.records import Record
from demo.scenes import Kill, Scene, Steer
from demo.stage import kill_leader, leader
from demo.traffic import Traffic
from demo.watch import Version, Watch
from localcluster.containers import Containers
from modelrelease.api.model import GROUP
from modelrelease.api.status import ReleaseStatus, parse_status
from modelrelease.rollout.labels import FINALIZER, RELEASE, release_label

_LOOK_SECONDS = 0.25
_QUIET_SECONDS = 4.0
_COLLECTION_SECONDS = 20.0
_OF_CANARY = ("deployments", "services", "destinationrules.networking.istio.io")
"""How long clients are watched after the end, for answers that should not be there any more."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What all releases of a model have in common: the model, ways to it, and eyes on it."""

    model: Model
    kube: Kube
    traffic: Traffic
    releases: Watch
    """Of the ModelRelease."""
    routes: Watch
    """Of the VirtualService."""
    original: dict[str, Any]
    """The VirtualService as it was before the first release."""
    containers: Containers
    """Of the cluster, where the operator is one of them."""

    def status(self) -> ReleaseStatus:
        """The ModelRelease's status as last told."""
        latest = self.releases.latest
        return parse_status(latest.get("status") if latest else None)

    def weights(self, since: float) -> list[tuple[float, int]]:
        """(when, canary's weight in per cent) by the VirtualService: the weight at `since`, then every change."""
        changes: list[tuple[float, int]] = []
        for version in self.routes.versions:
            if version.manifest is None:
                continue
            weight = manifests.canary_weight(version.manifest, self.model)
            at = max(since, version.at)
            if changes and changes[-1][0] == at:
                changes[-1] = (at, weight)
            else:
                changes.append((at, weight))
        return [change for i, change in enumerate(changes) if i == 0 or change[1] != changes[i - 1][1]]


@dataclass(frozen=True, slots=True)
class Takeover:
    """From the kill of the operator that led to the moment at which another one has the Lease."""

    killed_at: float
    successor_since: float
    successor: str
    """Its name in the Lease."""

    @property
    def seconds(self) -> float:
        return self.successor_since - self.killed_at


@dataclass(frozen=True, slots=True)
class Performance:
    """A release that came to its end."""

    scene: Scene
    release: Release
    began_at: float
    ended_at: float
    watched_until: float
    """Some seconds after `ended_at`."""
    records: list[Record]
    """Requests that were due in [`began_at`, `watched_until`) and that have an answer, or their time-out, so far."""
    weights: list[tuple[float, int]]
    status: ReleaseStatus
    told: list[Version] = field(repr=False)
    """Versions of the ModelRelease."""
    routes: list[Version] = field(repr=False)
    """Versions of the VirtualService."""
    route_after: dict[str, Any] | None = field(repr=False)
    """The VirtualService as it was read at the end."""
    takeovers: list[Takeover] = field(default_factory=list)
    """One for each time that the operator was killed and another one went on."""
    leftovers: list[str] = field(default_factory=list)
    """Objects of the canary that are there although the release is over, as kind/name."""

    def completed(self, records: Sequence[Record]) -> Performance:
        """The same with what came late: a request may hang longer than clients are watched.

        `records`: all requests of all time, read after the last one had its answer or its time-out.
        """
        return replace(self, records=between(records, self.began_at, self.watched_until))


Show = Callable[[Scene, Release, float], None]
"""Called several times a second while a release runs: scene, release, unix seconds of its beginning."""


Tell = Callable[[str], None]
"""Called with a sentence for people, when something was done."""


def _nobody(sentence: str) -> None:
    """Where nobody listens."""


def perform(ground: Ground, scene: Scene, image: str, show: Show, tell: Tell = _nobody) -> Performance:
    """Edit the image, wait for the end, and keep what was seen. Raises OverdueError where there is none in time."""
    release = Release(scene.version, ground.model.canary)
    before = ground.status()
    began_at = time.time()
    ground.kube.patch(MODEL_RELEASE, ground.model.name, {"spec": {"image": image}})
    hand = Hand(ground, scene.steers, tell)
    _wait_for_end(ground, scene, hand, before, lambda: show(scene, release, began_at))
    ended_at = time.time()
    hand.look_for_successor()
    while time.time() < ended_at + _QUIET_SECONDS:
        show(scene, release, began_at)
        time.sleep(_LOOK_SECONDS)
    watched_until = time.time()
    return Performance(
        scene=scene,
        release=release,
        began_at=began_at,
        ended_at=ended_at,
        watched_until=watched_until,
        records=between(ground.traffic.since(began_at), began_at, watched_until),
        weights=ground.weights(began_at),
        status=ground.status(),
        told=ground.releases.since(began_at),
        routes=ground.routes.since(began_at),
        route_after=ground.kube.get(VIRTUAL_SERVICE, ground.model.name),
        takeovers=hand.takeovers,
        leftovers=_leftovers(ground),
    )


def _leftovers(ground: Ground) -> list[str]:
    """What is still there of the canary, stable's own objects, which the operator may have made, left out. What the
    canary's Deployment owns goes a moment after it."""
    label = f"{RELEASE}={release_label(ground.model.name)}"
    words = ("get", ",".join(_OF_CANARY), f"--selector={label}", "--output=name")
    deadline = time.monotonic() + _COLLECTION_SECONDS
    while True:
        left = [one for one in ground.kube.run(*words).split() if one.rpartition("/")[2] != ground.model.name]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(_LOOK_SECONDS)


class Hand:
    """Does what people do in a scene, one thing after the other, each when its time has come."""

    def __init__(self, ground: Ground, steers: Sequence[Steer | Kill], tell: Tell) -> None:
        self._ground, self._left, self._tell = ground, list(steers), tell
        self._due: float | None = None
        self._killed: tuple[float, str] | None = None
        """When the leader was killed whose successor is yet to come, and its name in the Lease."""
        self.takeovers: list[Takeover] = []

    def steer(self, status: ReleaseStatus) -> None:
        """Called again and again with what the release has got to."""
        self.look_for_successor()
        if self._killed is not None:
            return
        if not self._left or (self._due is None and not _has_come(self._left[0], status)):
            return
        if self._due is None:
            self._due = time.monotonic() + self._left[0].after_seconds
        if time.monotonic() >= self._due:
            first, self._due = self._left.pop(0), None
            self._do(first)

    def look_for_successor(self) -> None:
        """Note who leads since the leader was killed."""
        if self._killed is None:
            return
        killed_at, killed = self._killed
        leads = leader(self._ground.kube)
        if leads.holder not in ("", killed):
            self.takeovers.append(Takeover(killed_at, leads.since, leads.holder))
            self._killed = None

    def _do(self, steer: Steer | Kill) -> None:
        match steer:
            case Steer(annotation=annotation, value=value):
                self._ground.kube.annotate(MODEL_RELEASE, self._ground.model.name, **{annotation: value})
                self._tell(f"annotated: {GROUP}/{annotation}={value}")
            case Kill():
                leads = kill_leader(self._ground.kube, self._ground.containers)
                self._killed = (time.time(), leads.holder)
                self._tell(f"here the operator in pod {leads.pod} was killed with SIGKILL")
            case never:
                assert_never(never)


def _has_come(steer: Steer | Kill, status: ReleaseStatus) -> bool:
    """Whether the release has got to where something is to be done."""
    return status.step >= steer.at_step and (isinstance(steer, Steer) or status.phase is steer.phase)


def _wait_for_end(ground: Ground, scene: Scene, hand: Hand, before: ReleaseStatus, show: Callable[[], None]) -> None:
    deadline = time.monotonic() + scene.patience_seconds
    while not has_ended(ground, before):
        ground.traffic.check_alive()
        status = ground.status()
        if _is_new(status, before):
            hand.steer(status)
        if time.monotonic() > deadline:
            raise OverdueError(
                f"release {scene.name} has not ended within {scene.patience_seconds:.0f} s; it is {status.phase}, "
                f"step {status.progress or status.step}, weight {status.weight}: {status.message}"
            )
        show()
        time.sleep(_LOOK_SECONDS)


def _is_new(status: ReleaseStatus, before: ReleaseStatus) -> bool:
    return status.started_at is not None and status.started_at != before.started_at


def has_ended(ground: Ground, before: ReleaseStatus) -> bool:
    """True when another release than the one in `before` is over, to the operator's last write, and the status is about
    the object as it is."""
    latest = ground.releases.latest
    if latest is None:
        raise DemoError(f"ModelRelease {ground.model.name} is gone")
    status = parse_status(latest.get("status"))
    return (
        _is_new(status, before)
        and status.phase.is_at_rest
        and status.observed_generation == latest["metadata"]["generation"]
        and FINALIZER not in latest["metadata"].get("finalizers", [])
    )


def served_model(kube: Kube, model: Model, image: str, timeout_seconds: float = 120) -> dict[str, Any]:
    """Bring up stable and its route; returns the VirtualService as the API server holds it."""
    kube.apply(*manifests.served_model(model, image))
    kube.wait_rolled_out(model.name, timeout_seconds)
    virtual = kube.get(VIRTUAL_SERVICE, model.name)
    if virtual is None:
        raise DemoError(f"VirtualService {model.name} is not there")
    return virtual
