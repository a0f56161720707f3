"""kopf as the source of changes, on a real API server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import pytest_asyncio

from modelrelease.adapters.cluster import ApiServer, KubernetesCluster
from modelrelease.adapters.kopf_source import KopfSource, SourceEndedError, SourceSettings
from modelrelease.ports import Change, Key, Kind, Manifest

if TYPE_CHECKING:
    from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
KOPF_FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


@pytest_asyncio.fixture
async def cluster(control_plane: ControlPlane) -> AsyncIterator[KubernetesCluster]:
    server = await ApiServer.connect(kubeconfig=control_plane.kubeconfig)
    yield KubernetesCluster(server)
    await server.close()


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    name = "source-" + request.node.name.removeprefix("test_").replace("_", "-")[:40].rstrip("-")
    control_plane.kubectl("create", "namespace", name)
    return str(name)


def release(namespace: str, name: str) -> Manifest:
    return {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"image": "registry.example.com/detector:v1", "workload": {"deployment": "detector"}},
    }


def deployment(namespace: str, name: str, **metadata: Any) -> Manifest:
    labels = {"app": name}
    container = {"name": "server", "image": "registry.example.com/detector:v1"}
    return cast(
        Manifest,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": namespace, "name": name, **metadata},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        },
    )


class Listener:
    """Collects changes in the background."""

    def __init__(self, source: KopfSource) -> None:
        self.source = source
        self.seen: list[Change] = []
        self._arrived = asyncio.Event()

    async def listen(self) -> None:
        async for change in self.source.changes():
            self.seen.append(change)
            self._arrived.set()

    async def until(self, key: Key, version: str | None) -> None:
        await self._until(lambda: Change(key, version) in self.seen)

    async def until_more_than(self, count: int) -> None:
        await self._until(lambda: len(self.seen) > count)

    async def _until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not done():
                self._arrived.clear()
                await self._arrived.wait()


@asynccontextmanager
async def listening(settings: SourceSettings) -> AsyncIterator[Listener]:
    listener = Listener(KopfSource(settings))
    task = asyncio.create_task(listener.listen())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await listener.source.stopped()
        # aiohttp closes TLS connections in the background (its documentation, "Graceful shutdown"); a loop that ends
        # before leaves sockets, for which whatever test runs next is blamed.
        await asyncio.sleep(0.25)


def version(manifest: Manifest) -> str:
    return str(cast(Any, manifest)["metadata"]["resourceVersion"])


async def test_changes_of_releases_and_of_their_deployments_arrive(
    control_plane: ControlPlane, cluster: KubernetesCluster, namespace: str
) -> None:
    first = await cluster.create(Kind.MODEL_RELEASE, release(namespace, "detector"))
    key = Key(namespace, "detector")
    async with listening(SourceSettings(kubeconfig=control_plane.kubeconfig)) as listener:
        await listener.until(key, version(first))
        assert listener.source.is_ready
        patched = await cluster.patch(Kind.MODEL_RELEASE, namespace, "detector", {"spec": {"paused": True}})
        await listener.until(key, version(patched))
        by_label = {"labels": {"modelrelease.dev/release": "by-label"}}
        await cluster.create(Kind.DEPLOYMENT, deployment(namespace, "one", **by_label))
        await listener.until(Key(namespace, "by-label"), None)
        both = {**by_label, "annotations": {"modelrelease.dev/release": "by-annotation"}}
        await cluster.create(Kind.DEPLOYMENT, deployment(namespace, "two", **both))
        await listener.until(Key(namespace, "by-annotation"), None)
        await cluster.create(Kind.DEPLOYMENT, deployment(namespace, "nobodys"))
        count = len(listener.seen)
        await cluster.delete(Kind.MODEL_RELEASE, namespace, "detector")
        await listener.until_more_than(count)
        assert listener.seen[-1].key == key, "a deletion is a change, too; nobody's Deployment is none"


async def test_only_the_given_namespaces_are_watched(
    control_plane: ControlPlane, cluster: KubernetesCluster, namespace: str
) -> None:
    control_plane.kubectl("create", "namespace", f"{namespace}-2")
    settings = SourceSettings(namespaces=(namespace,), kubeconfig=control_plane.kubeconfig)
    async with listening(settings) as listener:
        await cluster.create(Kind.MODEL_RELEASE, release(f"{namespace}-2", "elsewhere"))
        here = await cluster.create(Kind.MODEL_RELEASE, release(namespace, "here"))
        await listener.until(Key(namespace, "here"), version(here))
        assert {namespace} == {change.key.namespace for change in listener.seen}


async def test_kopf_writes_nothing(control_plane: ControlPlane, cluster: KubernetesCluster, namespace: str) -> None:
    """A finalizer of another kopf operator would be taken off by kopf's defaults; it stays, and nothing is patched."""
    marked = deployment(namespace, "theirs", finalizers=[KOPF_FINALIZER], labels={"modelrelease.dev/release": "theirs"})
    created = [await cluster.create(Kind.DEPLOYMENT, marked)]
    user = control_plane.kubeconfig_for_user("watcher", ["system:masters"])
    async with listening(SourceSettings(kubeconfig=user)) as listener:
        created.append(await cluster.create(Kind.MODEL_RELEASE, release(namespace, "detector")))
        await listener.until(Key(namespace, "detector"), version(created[1]))
        await listener.until(Key(namespace, "theirs"), None)  # of the same release both could arrive as one change
        await asyncio.sleep(2)
    assert created[0] == await cluster.get(Kind.DEPLOYMENT, namespace, "theirs")
    assert created[1] == await cluster.get(Kind.MODEL_RELEASE, namespace, "detector")
    assert [] == [one for one in writes(control_plane.audit_log) if one["user"]["username"] == "watcher"]
    await cluster.patch(Kind.DEPLOYMENT, namespace, "theirs", {"metadata": {"finalizers": None}})


def writes(audit_log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit_log.read_text(encoding="utf-8").splitlines()]


async def test_stopping_ends_the_thread_and_says_so(
    control_plane: ControlPlane, cluster: KubernetesCluster, namespace: str
) -> None:
    created = await cluster.create(Kind.MODEL_RELEASE, release(namespace, "detector"))
    listener = Listener(KopfSource(SourceSettings(kubeconfig=control_plane.kubeconfig)))
    task = asyncio.create_task(listener.listen())
    await listener.until(Key(namespace, "detector"), version(created))
    assert await listener.source.stopped()
    with pytest.raises(SourceEndedError, match="told to stop"):
        await asyncio.wait_for(task, 30)


async def test_without_a_login_there_are_no_changes(tmp_path: Path) -> None:
    source = KopfSource(SourceSettings(kubeconfig=tmp_path / "absent"))
    with pytest.raises(SourceEndedError, match="kopf has ended with ConfigException"):
        async with asyncio.timeout(60):
            await anext(source.changes())
    assert await source.stopped()


async def test_a_login_that_gets_lost_ends_the_changes(
    control_plane: ControlPlane, cluster: KubernetesCluster, namespace: str, tmp_path: Path
) -> None:
    """kopf by itself would wait for ever, and see nothing."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(control_plane.kubeconfig.read_bytes())
    settings = SourceSettings(kubeconfig=kubeconfig, watch_seconds=1, login_lifetime=timedelta(seconds=0.5))
    listener = Listener(KopfSource(settings))
    task = asyncio.create_task(listener.listen())
    created = await cluster.create(Kind.MODEL_RELEASE, release(namespace, "detector"))
    await listener.until(Key(namespace, "detector"), version(created))
    kubeconfig.unlink()
    with pytest.raises(SourceEndedError, match="kopf has ended with ConfigException"):
        await asyncio.wait_for(task, 60)
    assert await listener.source.stopped()


async def test_a_definition_that_comes_later_is_waited_for() -> None:
    from localcluster.controlplane import ControlPlane  # noqa: PLC0415 - only integration tests need it

    with ControlPlane() as bare:
        server = await ApiServer.connect(kubeconfig=bare.kubeconfig)
        async with listening(SourceSettings(kubeconfig=bare.kubeconfig)) as listener:
            await asyncio.sleep(1)
            assert not listener.source.is_ready
            bare.apply((ROOT / "crds" / "modelreleases.modelrelease.dev.yaml").read_text(encoding="utf-8"))
            bare.kubectl("wait", "--for=condition=Established", "crd/modelreleases.modelrelease.dev", "--timeout=30s")
            created = await KubernetesCluster(server).create(Kind.MODEL_RELEASE, release("default", "detector"))
            await listener.until(Key("default", "detector"), version(created))
        await server.close()


async def test_stopping_while_waiting_for_the_definition_ends_at_once(control_plane: ControlPlane) -> None:
    source = KopfSource(SourceSettings(kubeconfig=control_plane.kubeconfig))
    source.stop()
    with pytest.raises(SourceEndedError, match="told to stop"):
        async with asyncio.timeout(10):
            await anext(source.changes())
    assert await source.stopped()


async def test_changes_arrive_across_watches_and_logins(
    control_plane: ControlPlane, cluster: KubernetesCluster, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost between one watch and the next, nor when credentials are read anew in between."""
    caplog.set_level(logging.INFO, "kopf")
    lifetime = timedelta(seconds=0.5)
    settings = SourceSettings(kubeconfig=control_plane.kubeconfig, watch_seconds=1, login_lifetime=lifetime)
    async with listening(settings) as listener:
        for number in range(30):
            created = await cluster.create(Kind.MODEL_RELEASE, release(namespace, f"release-{number}"))
            await asyncio.sleep(0.2)
            await listener.until(Key(namespace, f"release-{number}"), version(created))
    logins = [record for record in caplog.records if record.getMessage() == "Re-authentication has finished."]
    assert len(logins) >= 3


async def test_a_frozen_api_server_is_watched_again_when_it_wakes(
    control_plane: ControlPlane, cluster: KubernetesCluster, namespace: str
) -> None:
    async with listening(SourceSettings(kubeconfig=control_plane.kubeconfig)) as listener:
        first = await cluster.create(Kind.MODEL_RELEASE, release(namespace, "first"))
        await listener.until(Key(namespace, "first"), version(first))
        pid = control_plane.pids["kube-apiserver"]
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(3)
        finally:
            os.kill(pid, signal.SIGCONT)
        second = await cluster.create(Kind.MODEL_RELEASE, release(namespace, "second"))
        await listener.until(Key(namespace, "second"), version(second))
