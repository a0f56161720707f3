"""A real API server and a real Prometheus, and scenes on them: one namespace, one operator, its proxies, one world."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import yaml

from contract.prometheus_process import Exporter, prometheus
from faults import manifests
from faults.api_proxy import ApiProxy
from faults.checks import Facts, violations
from faults.kube import Json, Kube, connected, path_of
from faults.manifests import CANARY, NAME
from faults.metrics_proxy import MetricsProxy
from faults.operator_process import Operator
from faults.recorder import Recorder, Revision, recording
from faults.surroundings import Surroundings
from localcluster.blueprint import custom_resources
from localcluster.controlplane import ControlPlane
from localcluster.folders import Cache
from modelrelease.api.model import GROUP
from modelrelease.api.status import ReleaseStatus, parse_status
from modelrelease.ports import Kind

_ROOT = Path(__file__).parents[2]
_ISTIO_KINDS = ("virtualservices.networking.istio.io", "destinationrules.networking.istio.io")
SCENE_SECONDS = 120.0
"""Longest wait for anything in a scene; the machine may be busy."""


_SETTLING_SECONDS = 15.0
_QUIET_SECONDS = 1.5


class TooLateError(AssertionError):
    """What was waited for did not come."""


@dataclass
class Scene:
    """A namespace with stable in it, and an operator that watches only it."""

    kube: Kube
    recorder: Recorder
    world: Surroundings
    api: ApiProxy
    metrics: MetricsProxy
    operator: Operator
    namespace: str
    was_applied: bool = False

    # --- what people do

    async def apply(self, image: str = manifests.NEW_IMAGE, **spec: Any) -> None:
        """Create the ModelRelease, or edit it."""
        wanted = manifests.release(self.namespace, image, **spec)
        if await self.kube.get(Kind.MODEL_RELEASE, self.namespace, NAME) is None:
            await self.kube.create(Kind.MODEL_RELEASE, wanted)
            await self.until(lambda scene: scene.manifest(Kind.MODEL_RELEASE))
            self.was_applied = True
        elif await self.kube.merge(Kind.MODEL_RELEASE, self.namespace, NAME, {"spec": wanted["spec"]}) is None:
            await self.apply(image, **spec)  # gone meanwhile

    async def annotate(self, name: str, value: str) -> None:
        patch = {"metadata": {"annotations": {f"{GROUP}/{name}": value}}}
        await self.kube.merge(Kind.MODEL_RELEASE, self.namespace, NAME, patch)

    async def delete(self, kind: Kind = Kind.MODEL_RELEASE, name: str = NAME) -> None:
        await self.kube.delete(kind, self.namespace, name)

    async def serve_route(self) -> None:
        """The VirtualService as it was before any release."""
        await self.kube.create(Kind.VIRTUAL_SERVICE, manifests.virtual_service(self.namespace))

    async def set_weights(self, stable: int, canary: int) -> None:
        """As a GitOps tool or a person would."""

        def change(body: Json) -> None:
            for entry in body["spec"]["http"][0]["route"]:
                entry["weight"] = canary if entry["destination"]["host"] == CANARY else stable

        await self.kube.edit(Kind.VIRTUAL_SERVICE, self.namespace, NAME, change)

    # --- what is seen

    def manifest(self, kind: Kind, name: str = NAME) -> Json | None:
        return self.recorder.latest(self.namespace, kind, name)

    @property
    def status(self) -> ReleaseStatus:
        return parse_status((self.manifest(Kind.MODEL_RELEASE) or {}).get("status"))

    @property
    def weight(self) -> int:
        return self.world.weight()

    @property
    def revisions(self) -> list[Revision]:
        return self.recorder.revisions(self.namespace)

    @property
    def is_over(self) -> bool:
        """The release has ended, or is gone with all that belonged to it."""
        if self.manifest(Kind.MODEL_RELEASE) is None:
            return self.was_applied and self.manifest(Kind.DEPLOYMENT, CANARY) is None
        status, release = self.status, self.manifest(Kind.MODEL_RELEASE) or {}
        return bool(status.history) and status.phase.is_at_rest and not release["metadata"].get("finalizers")

    @property
    def stable_image(self) -> str:
        manifest = self.manifest(Kind.DEPLOYMENT)
        return "" if manifest is None else str(manifest["spec"]["template"]["spec"]["containers"][0]["image"])

    def condition(self, name: str) -> str:
        """`status/reason` of a condition; empty where it is not there."""
        found = next((one for one in self.status.conditions if one.type == name), None)
        return "" if found is None else f"{found.status}/{found.reason}"

    def left_over(self) -> list[str]:
        """What a release that has ended must not leave behind."""
        kinds = (Kind.DEPLOYMENT, Kind.SERVICE, Kind.DESTINATION_RULE)
        left = [f"{kind.name} {CANARY}" for kind in kinds if self.manifest(kind, CANARY) is not None]
        route = self.manifest(Kind.VIRTUAL_SERVICE)
        if route is not None and route["spec"] != manifests.virtual_service(self.namespace)["spec"]:
            left.append(f"the route is {route['spec']['http'][0]['route']}")
        return left

    def violations(self) -> list[str]:
        """Of I1 to I4 and I7, so far, and what the operator's log must not contain."""
        facts = Facts(NAME, blind=self.metrics.lies)
        return [*violations(self.revisions, facts), *self.operator.crashes()]

    # --- time

    async def until(self, holds: Callable[[Scene], object], seconds: float = SCENE_SECONDS) -> float:
        """Wait; how long it took."""
        began = monotonic()
        while not holds(self):
            if monotonic() - began > seconds:
                status = self.status
                raise TooLateError(
                    f"not within {seconds:g} s: {status.phase}, step {status.step}, weight {self.weight}: "
                    f"{status.message}; violations: {self.violations()}; the operator said: {self.operator.said()[-4:]}"
                )
            await asyncio.sleep(0.05)
        return monotonic() - began

    async def rest(self, seconds: float = 2.0) -> int:
        """Let the last writes come, then count those of so many seconds (I6)."""
        began = monotonic()
        while monotonic() - began < _SETTLING_SECONDS:
            await asyncio.sleep(0.1)
            if not self.api.writes or monotonic() - self.api.writes[-1][0] > _QUIET_SECONDS:
                break
        before = len(self.api.writes)
        await asyncio.sleep(seconds)
        return len(self.api.writes) - before

    async def holds(self, condition: Callable[[Scene], object], seconds: float) -> None:
        """Nothing changes about it for so long."""
        began = monotonic()
        while monotonic() - began < seconds:
            assert condition(self), f"after {monotonic() - began:.1f} s: {self.status.phase} {self.status.message}"
            await asyncio.sleep(0.05)


@dataclass
class Stage:
    """What scenes share."""

    kube: Kube
    recorder: Recorder
    exporter: Exporter
    prometheus_url: str
    folder: Path
    control_plane: ControlPlane
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    @asynccontextmanager
    async def scene(self, *, replicas: int = 1, lease_seconds: float = 6.0, rps: float = 300.0) -> AsyncIterator[Scene]:
        """A namespace of its own with stable serving in it; the operator is not started yet."""
        namespace = f"scene-{next(self._numbers)}"
        await self._serve_stable(namespace, replicas)
        folder = self.folder / namespace
        folder.mkdir()
        api, metrics = ApiProxy(self.kube), MetricsProxy(self.prometheus_url, self.kube.session)
        await api.start()
        await metrics.start()
        world = Surroundings(self.kube, self.recorder, self.exporter, namespace, NAME, rps)
        operator = self.operator(folder, api, metrics, namespace, lease_seconds=lease_seconds)
        scene = Scene(self.kube, self.recorder, world, api, metrics, operator, namespace)
        living = asyncio.create_task(world.live())
        try:
            await scene.until(lambda one: one.world.available(NAME) == replicas)
            yield scene
        finally:
            await asyncio.to_thread(operator.kill)
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            await api.stop()
            await metrics.stop()
            self.recorder.forget(namespace)
            self.exporter.forget(namespace)

    @asynccontextmanager
    async def replica(
        self, scene: Scene, number: int, lease_seconds: float
    ) -> AsyncIterator[tuple[ApiProxy, Operator]]:
        """One more operator for a scene, with a proxy of its own; started."""
        api = ApiProxy(self.kube)
        await api.start()
        folder = self.folder / scene.namespace
        pod = f"operator-{number}"
        made = self.operator(folder, api, scene.metrics, scene.namespace, pod=pod, lease_seconds=lease_seconds)
        made.start()
        try:
            yield api, made
        finally:
            await asyncio.to_thread(made.kill)
            await api.stop()

    def operator(
        self,
        folder: Path,
        api: ApiProxy,
        metrics: MetricsProxy,
        namespace: str,
        *,
        pod: str = "operator-0",
        lease_seconds: float = 6.0,
    ) -> Operator:
        """A replica behind these proxies."""
        config = folder / f"{pod}.yaml"
        content = manifests.settings(metrics.url, namespace, lease_seconds, namespace)
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
        kubeconfig = api.kubeconfig(folder / f"{pod}.kubeconfig")
        return Operator(config, kubeconfig, folder / f"{pod}.log", pod=pod, namespace=namespace)

    async def _serve_stable(self, namespace: str, replicas: int) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await self.kube.send("POST", "/api/v1/namespaces", body)
        await self.kube.create(Kind.DEPLOYMENT, manifests.deployment(namespace, replicas))
        await self.kube.create(Kind.SERVICE, manifests.service(namespace))
        await self.kube.create(Kind.VIRTUAL_SERVICE, manifests.virtual_service(namespace))


def istio_definitions() -> str:
    """Istio's own definitions of the kinds that are written."""
    path = custom_resources(Cache.from_environment())
    documents = path.read_text(encoding="utf-8").split("\n---\n")
    return "\n---\n".join(one for one in documents if any(f"name: {kind}" in one for kind in _ISTIO_KINDS))


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """All of it, on free ports, gone afterwards."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        control_plane = ControlPlane(manifests=[_ROOT / "crds" / "modelreleases.modelrelease.dev.yaml"])
        await asyncio.to_thread(control_plane.start)
        stack.callback(control_plane.stop)
        await asyncio.to_thread(control_plane.apply, istio_definitions())
        exporter = Exporter("gateway-0")
        stack.callback(exporter.close)
        url = stack.enter_context(prometheus(folder, [exporter], "500ms"))
        kube = await stack.enter_async_context(connected(control_plane.kubeconfig))
        await _until_served(kube)
        recorder = await stack.enter_async_context(recording(kube))
        yield Stage(kube, recorder, exporter, url, folder, control_plane)


async def _until_served(kube: Kube) -> None:
    """Definitions are served a moment after they are accepted."""
    async with asyncio.timeout(30):
        for kind in (Kind.VIRTUAL_SERVICE, Kind.DESTINATION_RULE, Kind.MODEL_RELEASE):
            while not await _is_served(kube, path_of(kind)):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.2)


async def _is_served(kube: Kube, path: str) -> bool:
    try:
        await kube.send("GET", path)
    except aiohttp.ClientResponseError:
        return False
    return True
