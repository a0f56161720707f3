"""A namespace in which one model is served under load, and what tests do there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from demo.errors import DemoError
from demo.kube import Kube
from demo.manifests import MODEL_RELEASE, ROUTE, VIRTUAL_SERVICE, Model, canary_weight, model_release, namespace
from demo.measure import Release, arms, between
from demo.performance import Ground, Performance, perform, served_model
from demo.play import count_writes
from demo.result import Result, complaints, summarise
from demo.scenes import KNOWN_REQUESTS, STABLE, Scene
from demo.stage import BUILD, Stage
from demo.traffic import Traffic
from demo.waiting import wait_for
from demo.watch import Watch
from modelrelease.api.status import ConditionType, Phase, ReleaseStatus

Manifest = dict[str, Any]

RATE: Final = 20.0
STEPS: Final = (20, 50, 100)
STRATEGY: Final[Manifest] = {
    "advance": "Time",
    "steps": [{"weight": weight, "minDuration": "4s"} for weight in STEPS],
    "bakeTime": "3s",
    "drainDelay": "2s",
    "progressDeadline": "45s",
}
ANALYSIS: Final[Manifest] = {
    "interval": "1s",
    "lag": "1s",
    "warmUp": "1s",
    "minRequests": 10,
    "harmBudget": 0.05,
    "errorRate": {"maxIncrease": 0.05},
    "latencyP99": {"maxRatio": 5},
}
HOLD_FIRST: Final[Manifest] = {
    **STRATEGY,
    "steps": [{"weight": 20, "minDuration": "2s", "approval": True}, {"weight": 100, "minDuration": "2s"}],
}
"""Waits at 20 % until somebody approves."""


@dataclass(frozen=True, slots=True)
class Arena:
    """A test's own place in the cluster."""

    stage: Stage
    ground: Ground
    promises: list[Callable[[], list[str]]] = field(default_factory=list, repr=False)
    """What tests said of clients, as sentences about what is wrong. A request may hang until its time-out, longer than
    tests look: they are asked again when the traffic has stopped and its last request has ended."""

    @property
    def kube(self) -> Kube:
        return self.ground.kube

    @property
    def model(self) -> Model:
        return self.ground.model

    @property
    def traffic(self) -> Traffic:
        return self.ground.traffic

    def status(self) -> ReleaseStatus:
        """The ModelRelease's status."""
        return self.ground.status()

    def weight(self) -> int:
        """The canary's weight as the VirtualService has it."""
        latest = self.ground.routes.latest
        return canary_weight(latest, self.model) if latest else 0

    def manifest(self, version: str, strategy: Mapping[str, Any] = STRATEGY, **changes: Any) -> Manifest:
        """The ModelRelease; `changes` replace fields of its spec."""
        made = model_release(self.model, self.image(version), strategy=strategy, analysis=ANALYSIS)
        return {**made, "spec": {**made["spec"], **changes}}

    def image(self, version: str) -> str:
        """Its reference."""
        return self.stage.images[version]

    def install(self, strategy: Mapping[str, Any] = STRATEGY, analysis: Mapping[str, Any] = ANALYSIS) -> None:
        """A ModelRelease at rest: it names the version that stable runs."""
        self.kube.apply(self.manifest(STABLE, strategy, analysis=dict(analysis)))
        self.wait_phase(Phase.STABLE, 90)

    def start(self, version: str) -> float:
        """Release a version; unix seconds of the edit."""
        now = time.time()
        self.kube.patch(MODEL_RELEASE, self.model.name, {"spec": {"image": self.image(version)}})
        return now

    def steer(self, **annotations: str) -> None:
        """Set `modelrelease.dev/<key>` annotations."""
        self.kube.annotate(MODEL_RELEASE, self.model.name, **annotations)

    def wait_phase(self, phase: Phase, timeout_seconds: float) -> None:
        """Until the release is in this phase."""
        wait_for(f"phase {phase}", lambda: self.status().phase is phase, timeout_seconds, seen=self.tell)

    def wait_weight(self, weight: int, timeout_seconds: float = 120) -> None:
        """Until the VirtualService gives the canary this weight, in per cent."""
        wait_for(f"weight {weight}", lambda: self.weight() == weight, timeout_seconds, seen=self.tell)

    def wait_clients_get(self, version: str, timeout_seconds: float = 30) -> None:
        """Until clients have got answers of this version."""
        since = time.time()
        wait_for(
            f"answers of {version}",
            lambda: any(record.version == version for record in self.traffic.since(since)),
            timeout_seconds,
            seen=self.tell,
        )

    def wait_calm(self) -> None:
        """Until clients have got answers for a second, and no errors any more."""
        wait_for("a second of traffic without errors", lambda: _is_calm(self.traffic, self.traffic.rate), 120)

    def wait_known_latency(self) -> None:
        """Until stable has answered often enough for its P99 to be known; before, latency is not compared."""
        wait_for(f"{KNOWN_REQUESTS} requests", lambda: len(self.traffic.records) >= KNOWN_REQUESTS, 90)

    def wait_condition(self, kind: ConditionType, reason: str, timeout_seconds: float = 90) -> str:
        """Until the condition has this reason; its message."""

        def message() -> str | None:
            condition = self.status().condition(kind)
            return condition.message if condition and condition.reason == reason else None

        return wait_for(f"condition {kind} with reason {reason}", message, timeout_seconds, seen=self.conditions)

    def events(self) -> list[Manifest]:
        """Events about the ModelRelease."""
        found = self.kube.list("events", f"--field-selector=involvedObject.name={self.model.name}")
        return [event for event in found if event["involvedObject"]["kind"] == "ModelRelease"]

    def wait_event(self, reason: str, timeout_seconds: float = 60) -> str:
        """Until there is an Event with this reason; its message."""

        def message() -> str | None:
            return next((event["message"] for event in self.events() if event["reason"] == reason), None)

        def reasons() -> str:
            return str([event["reason"] for event in self.events()])

        return wait_for(f"an Event {reason}", message, timeout_seconds, seen=reasons)

    def annotations(self) -> Mapping[str, str]:
        """Of the ModelRelease, without kubectl's own."""
        latest = self.ground.releases.latest or {"metadata": {}}
        found: Mapping[str, str] = latest["metadata"].get("annotations", {})
        return {key: value for key, value in found.items() if key.startswith("modelrelease.dev/")}

    def canary_objects(self) -> list[str]:
        """What is there of the canary."""
        words = ("get", "deployment,service", self.model.canary, "--ignore-not-found", "-o", "name")
        return self.kube.run(*words).split()

    def assert_no_errors(self, since: float, *, of_stable: bool = False) -> None:
        """No request since then failed; `of_stable`: none that was not the canary's."""
        until, release = time.time(), Release("none", self.model.canary)

        def errors() -> list[str]:
            failed = [record for record in between(self.traffic.records, since, until) if record.is_error]
            counted = [record for record in failed if not (of_stable and release.serves(record))]
            return [f"{record.due_at:.3f}: {record.status} {record.problem}" for record in counted]

        self.promises.append(errors)
        assert errors() == []

    def shares(self, version: str, seconds: float) -> float:
        """Share of the version in the last seconds, in per cent."""
        stable, canary = arms(self.traffic.since(time.time() - seconds), Release(version, self.model.canary))
        return 100 * canary.requests / max(1, stable.requests + canary.requests)

    def perform(self, scene: Scene) -> tuple[Performance, Result, list[str]]:
        """Release, wait for the end, and hold it against what the scene expects."""
        performance = perform(self.ground, scene, self.image(scene.version), lambda *_: None)
        written = count_writes(self.stage, performance, self.model.namespace)

        def result() -> Result:
            return summarise(performance.completed(self.traffic.records), self.ground.original, written)

        self.promises.append(lambda: complaints(result(), declared=STEPS))
        return performance, result(), complaints(result(), declared=STEPS)

    def tell(self) -> str:
        """What is going on, for messages of failed waits."""
        status = self.status()
        return f"{status.phase}, step {status.progress}, weight {self.weight()}: {status.message}"

    def conditions(self) -> str:
        """Reasons of all conditions."""
        return f"{self.status().phase} {[(str(c.type), c.reason) for c in self.status().conditions]}"


@contextmanager
def arena_in(
    stage: Stage,
    model: Model,
    *,
    version: str = STABLE,
    rate: float = RATE,
    route: Manifest | None = None,
    others: Sequence[Manifest] = (),
) -> Iterator[Arena]:
    """Serve the model and send pictures. `route` replaces the VirtualService, `others` are applied too."""
    kube = stage.kube(model.namespace)
    _clear(kube)
    original = served_model(kube, model, stage.images[version])
    if others or route:
        kube.apply(*others, *([route] if route else []))
        original = kube.get(VIRTUAL_SERVICE, model.name) or original
    with _watched(stage, model, rate, original) as made:
        made.wait_calm()
        yield made


@contextmanager
def created_arena(stage: Stage, model: Model, release: Manifest) -> Iterator[Arena]:
    """A namespace with this ModelRelease and nothing else; pictures come in once what the operator made serves."""
    kube = stage.kube(model.namespace)
    _clear(kube)
    kube.apply(namespace(model), release)
    wait_for("the Deployment to be created", lambda: kube.get("deployment", model.name), 60)
    kube.wait_rolled_out(model.name, 120)
    original = wait_for("the VirtualService to be created", lambda: kube.get(VIRTUAL_SERVICE, model.name), 60)
    with _watched(stage, model, RATE, original) as made:
        made.wait_calm()
        made.wait_phase(Phase.STABLE, 90)
        yield made


def _clear(kube: Kube) -> None:
    kube.run("delete", "namespace", kube.namespace, "--ignore-not-found", timeout_seconds=120)


@contextmanager
def _watched(stage: Stage, model: Model, rate: float, original: Manifest) -> Iterator[Arena]:
    kube = stage.kube(model.namespace)
    try:
        with ExitStack() as stack:
            routes = stack.enter_context(Watch(kube, VIRTUAL_SERVICE, model.name))
            releases = stack.enter_context(Watch(kube, MODEL_RELEASE, model.name))
            output = BUILD / "e2e" / f"{model.namespace}.tsv"
            traffic = stack.enter_context(Traffic(stage.target(model.host), rate, output))
            made = Arena(stage, Ground(model, kube, traffic, releases, routes, original, stage.cluster.containers))
            yield made
            sent = traffic.stop().sent
            if sent != len(traffic.records):
                raise DemoError(f"of {sent} requests that were sent, {len(traffic.records)} have a record")
            assert [sentence for promise in made.promises for sentence in promise()] == []
    finally:
        kube.run("delete", "namespace", model.namespace, "--wait=false", timeout_seconds=60)


def _is_calm(traffic: Traffic, rate: float) -> bool:
    traffic.check_alive()
    recent = traffic.since(time.time() - 1.5)
    return len(recent) >= rate * 0.8 and not any(record.is_error for record in recent)


def renamed(model: Model, name: str) -> Model:
    """The same namespace and host under another name."""
    return replace(model, name=name)


__all__ = [
    "ANALYSIS",
    "HOLD_FIRST",
    "RATE",
    "ROUTE",
    "STEPS",
    "STRATEGY",
    "Arena",
    "arena_in",
    "created_arena",
    "renamed",
]
