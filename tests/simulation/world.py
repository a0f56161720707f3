"""A small world around the real controller: kubelet, Deployment controller, gateway and Prometheus in a few lines each.

Time is injected and everything is deterministic: a run is repeated exactly by its seed.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

from fakes import FakeAnnouncer, FakeClock, FakeCluster, FakeMetrics
from modelrelease.adapters.istio import IstioTraffic
from modelrelease.api.status import ReleaseStatus, parse_status
from modelrelease.census import Census
from modelrelease.controller.analyst import Analyst
from modelrelease.controller.contention import Contention
from modelrelease.controller.execute import Executor
from modelrelease.controller.gather import Gatherer
from modelrelease.controller.orphan import Orphans
from modelrelease.controller.queue import Queue
from modelrelease.controller.reconcile import Reconciler, Tools
from modelrelease.errors import ReleaseError
from modelrelease.ports import Key, Kind, Manifest

NAMESPACE = "vision"
NAME = "yolov8-detect"
KEY = Key(NAMESPACE, NAME)
STABLE_IMAGE = "harbor.example.com/vision/yolov8-detect:v1.0.0"
NEW_IMAGE = "harbor.example.com/vision/yolov8-detect:v1.1.0"


@dataclass
class Canary:
    """How the new version behaves."""

    error_rate: float = 0.0
    latency_ms: float = 20.0
    starts: bool = True
    crashes: bool = False
    """All its pods are down; may be switched during a run."""
    evicted: int = 0
    """So many of its pods are not there."""


@dataclass
class World:
    """One ModelRelease and what surrounds it; `run` lets time pass."""

    rps: float = 50.0
    seed: int = 1
    canary: Canary = field(default_factory=Canary)
    stable_error_rate: float = 0.0
    start_seconds: float = 3.0
    broken: str = ""
    """An image that never starts in stable's Deployment."""
    clock: FakeClock = field(default_factory=FakeClock)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    announcer: FakeAnnouncer = field(default_factory=FakeAnnouncer)

    def __post_init__(self) -> None:
        self.cluster = FakeCluster(now=self._timestamp)
        self.random = random.Random(self.seed)  # noqa: S311 - repeatable traffic
        self.woken: set[Key] = set()
        self.weights: list[tuple[float, int]] = []
        self.errors: list[ReleaseError] = []
        self._ready_at: dict[tuple[str, str], float] = {}
        self._due = self.clock.monotonic()
        self.restart()

    def _timestamp(self) -> str:
        return datetime.fromtimestamp(int(self.clock.now()), UTC).isoformat().replace("+00:00", "Z")

    def restart(self) -> None:
        """A new operator process: everything in memory is gone."""
        providers = {"default": self.metrics}
        self.analyst = Analyst(providers, frozenset({"Istio"}), self.clock, self.woken.add)
        traffic = IstioTraffic(self.cluster)
        contention = Contention(self.cluster)
        self.queue = Queue(self.clock.monotonic)
        self.census = Census(self.clock.now)
        self.reconciler = Reconciler(
            Tools(
                cluster=self.cluster,
                gatherer=Gatherer(self.cluster, traffic, self.analyst, contention),
                executor=Executor(self.cluster, traffic),
                analyst=self.analyst,
                contention=contention,
                orphans=Orphans(self.cluster, traffic, drain_seconds=0.0),
                announcer=self.announcer,
                clock=self.clock,
                census=self.census,
            )
        )
        self._due = self.clock.monotonic()

    # --- what a user does

    def apply(self, image: str = NEW_IMAGE, **spec: Any) -> None:
        """Create or edit the ModelRelease."""
        if self.cluster.peek(Kind.MODEL_RELEASE, NAMESPACE, NAME) is None:
            self.cluster.put(Kind.MODEL_RELEASE, release(image, **spec))
        else:
            self.cluster.edit(
                Kind.MODEL_RELEASE, NAMESPACE, NAME, lambda body: body["spec"].update({"image": image, **spec})
            )
        self._due = self.clock.monotonic()

    def annotate(self, name: str, value: str) -> None:
        def change(body: dict[str, Any]) -> None:
            body["metadata"].setdefault("annotations", {})[f"modelrelease.dev/{name}"] = value

        self.cluster.edit(Kind.MODEL_RELEASE, NAMESPACE, NAME, change)
        self._due = self.clock.monotonic()

    def deploy_stable(self, replicas: int = 1) -> None:
        """Stable's Deployment, Service and VirtualService, serving."""
        self.cluster.put(Kind.DEPLOYMENT, deployment(replicas))
        self.cluster.put(Kind.SERVICE, service())
        self.cluster.put(Kind.VIRTUAL_SERVICE, virtual_service())

    def touch(self, kind: Kind, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change an object, if it is there, as somebody who is not the operator, which then looks."""
        if self.exists(kind, name):
            self.cluster.edit(kind, NAMESPACE, name, change)
        self.wake()

    def wake(self) -> None:
        """An event, or the next resync: the operator looks now."""
        self._due = self.clock.monotonic()

    # --- what the world shows

    @property
    def status(self) -> ReleaseStatus:
        manifest = self.cluster.peek(Kind.MODEL_RELEASE, NAMESPACE, NAME)
        return parse_status(cast(dict[str, Any], manifest or {}).get("status"))

    @property
    def weight(self) -> int:
        """The canary's share at the gateway, in per cent."""
        manifest = cast(dict[str, Any], self.cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME))
        if manifest is None:
            return 0
        return max(map(canary_share, manifest["spec"]["http"]), default=0)

    def exists(self, kind: Kind, name: str) -> bool:
        return self.cluster.peek(kind, NAMESPACE, name) is not None

    # --- time

    async def run(self, seconds: float, until: Any = None) -> None:
        """Let `seconds` pass, a second at a time, or until a predicate of the world holds."""
        for _ in range(round(seconds)):
            if until is not None and until(self):
                return
            await self.second()
        assert until is None or until(self), f"not within {seconds} s: {self.status.phase} {self.status.message}"

    async def second(self) -> None:
        """Traffic, pods, a scrape, a query, and as many looks as the operator wants."""
        self._serve()
        self.clock.advance(1.0)
        self._pods()
        self.metrics.scrape(self.clock.now())
        await self._tick()
        for _ in range(20):
            if not await self._look():
                break
            self._pods()
        if not self.weights or self.weights[-1][1] != self.weight:
            self.weights.append((self.clock.now(), self.weight))

    async def _tick(self) -> None:
        try:
            await self.analyst.tick("default")
        except ReleaseError as error:
            self.errors.append(error)

    async def _look(self) -> bool:
        """One reconciliation, if one is due; an error is retried a second later."""
        if not self.woken and self.clock.monotonic() < self._due:
            return False
        self.woken.clear()
        try:
            again = await self.reconciler.reconcile(KEY)
        except ReleaseError as error:
            self.errors.append(error)
            self._due = self.clock.monotonic() + 1.0
            return False
        self._due = self.clock.monotonic() + (300.0 if again is None else again)
        return again == 0.0

    def _serve(self) -> None:
        """A second of requests, split by weight."""
        weight = self.weight
        to_canary = sum(self.random.random() * 100 < weight for _ in range(round(self.rps)))
        self._requests("canary", to_canary, self.canary.error_rate, self.canary.latency_ms)
        self._requests("stable", round(self.rps) - to_canary, self.stable_error_rate, 20.0)

    def _requests(self, arm: Literal["stable", "canary"], count: int, error_rate: float, latency_ms: float) -> None:
        name = f"{NAME}-canary" if arm == "canary" else NAME
        if not self._available(name):
            error_rate = 1.0
        by_code: dict[str, list[float]] = {}
        for _ in range(count):
            code = "503" if self.random.random() < error_rate else "200"
            by_code.setdefault(code, []).append(latency_ms * self.random.lognormvariate(0.0, 0.5))
        for code, latencies in by_code.items():
            self.metrics.count_each(name, arm, latencies, code=code, namespace=NAMESPACE)

    def _available(self, name: str) -> int:
        manifest = self.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, name)
        return int((cast(dict[str, Any], manifest or {}).get("status") or {}).get("availableReplicas", 0))

    def _pods(self) -> None:
        """The Deployment controller and the kubelet: a template's pods are ready `start_seconds` after it is new."""
        self.cluster.collect_garbage()
        for manifest in self.cluster.all(Kind.DEPLOYMENT):
            self._roll(cast(dict[str, Any], manifest))

    def _roll(self, body: dict[str, Any]) -> None:
        metadata, spec = body["metadata"], body["spec"]
        name, is_canary = metadata["name"], metadata["name"].endswith("-canary")
        mark = (metadata["uid"], repr(spec["template"]))
        first = not any(uid == metadata["uid"] for uid, _ in self._ready_at) and not is_canary
        ready_at = self._ready_at.setdefault(mark, self.clock.monotonic() + (0 if first else self.start_seconds))
        good = not is_canary or (self.canary.starts and not self.canary.crashes)
        new = self.clock.monotonic() >= ready_at and good
        replicas = spec.get("replicas", 1)
        available = replicas if new else (0 if is_canary else max(0, replicas - 1) or replicas)
        if not is_canary and spec["template"]["spec"]["containers"][0]["image"] == self.broken:
            new, available = False, 0
        if is_canary:
            available = max(0, available - self.canary.evicted)
        status = {
            "observedGeneration": metadata.get("generation", 1),
            "replicas": replicas,
            "updatedReplicas": replicas if new or is_canary else 0,
            "readyReplicas": available,
            "availableReplicas": available,
        }
        if body.get("status") != status:
            self.cluster.edit(Kind.DEPLOYMENT, NAMESPACE, name, lambda stored: stored.update(status=status))


def release(image: str, **spec: Any) -> Manifest:
    """A ModelRelease with fast steps."""
    steps = [{"weight": weight, "minDuration": "5s"} for weight in (1, 5, 20, 50, 100)]
    body: dict[str, Any] = {
        "image": image,
        "workload": {"deployment": NAME},
        "strategy": {"steps": steps, "bakeTime": "10s", "drainDelay": "5s", "progressDeadline": "30s"},
        "analysis": {
            "interval": "1s",
            "lag": "1s",
            "warmUp": "0s",
            "harmBudget": 0.02,
            "errorRate": {"maxIncrease": 0.01},
            "latencyP99": {"maxRatio": 2.0},
        },
    }
    return {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {**body, **spec},
    }


def deployment(replicas: int) -> Manifest:
    labels = {"app": NAME}
    container = {"name": "server", "image": STABLE_IMAGE, "ports": [{"containerPort": 8000}]}
    return cast(
        Manifest,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": dict(labels)},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": dict(labels)},
                "template": {"metadata": {"labels": dict(labels)}, "spec": {"containers": [container]}},
            },
        },
    )


def service() -> Manifest:
    return cast(
        Manifest,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {"app": NAME}},
            "spec": {"selector": {"app": NAME}, "ports": [{"name": "http", "port": 8000, "targetPort": 8000}]},
        },
    )


VIRTUAL_SERVICE: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "spec": {
        "hosts": ["detect.example.com"],
        "gateways": ["istio-system/ingressgateway"],
        "http": [{"name": "primary", "route": [{"destination": {"host": NAME, "port": {"number": 8000}}}]}],
    },
}


def canary_share(route: dict[str, Any]) -> int:
    """What an `http` route gives the canary, in per cent: an only destination has all."""
    entries = route.get("route", [])
    default = 100 if len(entries) == 1 else 0
    return sum(entry.get("weight", default) for entry in entries if "canary" in entry["destination"]["host"])


def virtual_service() -> Manifest:
    return copy.deepcopy(VIRTUAL_SERVICE)
