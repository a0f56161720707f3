"""What a cluster does around the operator, in one namespace: pods that start, garbage that goes, traffic that flows."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from contract.prometheus_process import Exporter
from faults.kube import Json, Kube
from faults.recorder import Recorder, Revision
from modelrelease.ports import Kind

BEAT_SECONDS = 0.1
CLUSTER_DOMAIN = "svc.cluster.local"


@dataclass
class Behaviour:
    """How one arm behaves; may be switched during a run."""

    error_rate: float = 0.0
    latency_ms: float = 20.0
    starts: bool = True
    crashes: bool = False


@dataclass
class Surroundings:
    """Deployment controller, kubelet, garbage collector and gateway of one namespace, over what the recorder saw."""

    kube: Kube
    recorder: Recorder
    exporter: Exporter
    namespace: str
    name: str
    rps: float = 300.0
    start_seconds: float = 0.3
    canary: Behaviour = field(default_factory=Behaviour)
    stable: Behaviour = field(default_factory=Behaviour)
    lost_requests: int = 0
    """Requests that stable should have answered, or a canary that behaves, and that met no available pod."""
    served_requests: int = 0
    _ready_at: dict[tuple[str, str], float] = field(default_factory=dict)
    _carry: dict[tuple[str, str], float] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)

    async def live(self) -> None:
        """For ever."""
        self.recorder.listen(self.namespace, self._heard)
        last = monotonic()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = monotonic()
            self._serve(now - last)
            last = now
            with contextlib.suppress(OSError):
                await self._pods()
                await self._collect_garbage()

    def weight(self) -> int:
        """The canary's share at the gateway, in per cent."""
        manifest = self.recorder.latest(self.namespace, Kind.VIRTUAL_SERVICE, self.name)
        return canary_weight(manifest) if manifest is not None else 0

    def available(self, name: str) -> int:
        manifest = self.recorder.latest(self.namespace, Kind.DEPLOYMENT, name)
        return int(((manifest or {}).get("status") or {}).get("availableReplicas", 0))

    def _heard(self, revision: Revision) -> None:
        if revision.is_deletion and revision.kind is Kind.DEPLOYMENT:
            self._gone.add(revision.manifest["metadata"]["uid"])

    async def _collect_garbage(self) -> None:
        """Also what was created for a Deployment that had just gone."""
        for kind in (Kind.SERVICE, Kind.DESTINATION_RULE):
            for found in self.recorder.all(self.namespace, kind):
                if any(owner["uid"] in self._gone for owner in found["metadata"].get("ownerReferences") or []):
                    await self.kube.delete(kind, self.namespace, found["metadata"]["name"], found["metadata"]["uid"])

    async def _pods(self) -> None:
        for manifest in self.recorder.all(self.namespace, Kind.DEPLOYMENT):
            wanted = self._deployment_status(manifest)
            if {key: (manifest.get("status") or {}).get(key, 0) for key in wanted} != wanted:
                name = manifest["metadata"]["name"]
                await self.kube.merge(Kind.DEPLOYMENT, self.namespace, name, {"status": wanted}, status=True)

    def _deployment_status(self, manifest: Json) -> dict[str, int]:
        metadata, spec = manifest["metadata"], manifest["spec"]
        is_canary = metadata["name"] != self.name
        mark = (metadata["uid"], repr(spec["template"]["spec"]))
        first = not is_canary and not any(uid == metadata["uid"] for uid, _ in self._ready_at)
        ready_at = self._ready_at.setdefault(mark, monotonic() + (0.0 if first else self.start_seconds))
        arm = self.canary if is_canary else self.stable
        is_new = monotonic() >= ready_at and arm.starts and not arm.crashes
        replicas = spec.get("replicas", 1)
        old = 0 if is_canary or arm.crashes else max(0, replicas - 1) or replicas
        available = replicas if is_new else old
        return {
            "observedGeneration": metadata["generation"],
            "replicas": replicas,
            "updatedReplicas": replicas if is_new or is_canary else 0,
            "readyReplicas": available,
            "availableReplicas": available,
        }

    def _serve(self, seconds: float) -> None:
        if not self.served_requests and not self.available(self.name):
            return  # clients come once somebody serves
        share = self.weight() / 100
        self._requests(f"{self.name}-canary", self.canary, self.rps * share * seconds)
        self._requests(self.name, self.stable, self.rps * (1 - share) * seconds)

    def _requests(self, name: str, arm: Behaviour, requests: float) -> None:
        is_served = self.available(name) > 0
        rate = arm.error_rate if is_served else 1.0
        host = f"{name}.{self.namespace}.{CLUSTER_DOMAIN}"
        for code, amount in (("503", requests * rate), ("200", requests * (1 - rate))):
            count = self._whole((name, code), amount)
            if not count:
                continue
            labels = {"reporter": "source", "destination_service": host, "response_code": code}
            self.exporter.count(count, arm.latency_ms, **labels)
            self.served_requests += count
            if not is_served and not arm.crashes:
                self.lost_requests += count

    def _whole(self, key: tuple[str, str], amount: float) -> int:
        total = self._carry.get(key, 0.0) + amount
        self._carry[key] = total - int(total)
        return int(total)


def canary_weight(virtual_service: Json) -> int:
    """The weight of destinations that are canaries', over the managed route."""
    route: list[Any] = virtual_service["spec"]["http"][0].get("route") or []
    return sum(entry.get("weight", 0) for entry in route if entry["destination"]["host"].endswith("-canary"))
