"""Wiring only: settings in, parts connected, supervised until the end."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import signal
import socket
import sys
import uuid
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import REGISTRY

from modelrelease.adapters.announcer import EventAnnouncer
from modelrelease.adapters.clock import SystemClock
from modelrelease.adapters.cluster import ApiServer, KubernetesCluster
from modelrelease.adapters.istio import Gateways, IstioTraffic
from modelrelease.adapters.kopf_source import KopfSource, SourceSettings
from modelrelease.adapters.lease import ClusterLease, LeaseIdentity, LeaseTiming
from modelrelease.adapters.prometheus import (
    INFERENCE,
    ISTIO,
    Credentials,
    PrometheusMetrics,
    Provider,
    SourceDefinition,
)
from modelrelease.census import Census
from modelrelease.controller.analyst import Analyst
from modelrelease.controller.contention import Contention
from modelrelease.controller.execute import Executor
from modelrelease.controller.gather import Gatherer
from modelrelease.controller.orphan import Orphans
from modelrelease.controller.queue import Queue
from modelrelease.controller.reconcile import Reconciler, Tools
from modelrelease.controller.supervisor import Parts, Supervisor
from modelrelease.controller.work import Workers
from modelrelease.errors import InvalidResource, ReleaseError
from modelrelease.health import Listen, serving
from modelrelease.ports import Lease, Workload
from modelrelease.settings import Settings, load_settings
from modelrelease.telemetry import configure_logging, show_queue

_log = structlog.get_logger("modelrelease")


class SoleLease:
    """Leadership without a Lease: a single process outside of the cluster."""

    def is_held(self) -> bool:
        return True

    def write_seconds(self) -> float:
        return math.inf

    async def run(self, on_change: Any) -> None:
        on_change(True)
        await asyncio.Event().wait()


def _sources(settings: Settings) -> dict[str, SourceDefinition]:
    own = {name: SourceDefinition(**one.model_dump()) for name, one in settings.sources.items()}
    return {"Istio": ISTIO, "Inference": INFERENCE, **own}


def _providers(settings: Settings, sources: dict[str, SourceDefinition]) -> dict[str, PrometheusMetrics]:
    return {
        name: PrometheusMetrics(
            Provider(
                name=name,
                url=one.url,
                scrape_interval_seconds=one.scrape_interval,
                credentials=Credentials.of(one),
                sources=sources,
                cluster_domain=settings.cluster_domain,
                timeout_seconds=one.timeout,
            )
        )
        for name, one in settings.providers.items()
    }


def _gateways(settings: Settings) -> dict[str, list[Workload]]:
    return {
        gateway: [Workload(*name.split("/", 1)) for name in workloads]
        for gateway, workloads in settings.gateways.items()
    }


async def operate(settings: Settings, kubeconfig: Path | None, listen: Listen) -> None:
    """Run the operator until it is told to stop or a part of it ends."""
    clock = SystemClock()
    server = await ApiServer.connect(kubeconfig=kubeconfig)
    lease = _lease(settings, KubernetesCluster(server), clock)
    cluster = KubernetesCluster(server, watch_namespace=settings.watch_namespace, write_seconds=lease.write_seconds)
    sources = _sources(settings)
    providers = _providers(settings, sources)
    queue = Queue(clock.monotonic)
    census = Census(clock.now, is_leading=lease.is_held, most_releases=settings.metrics.most_releases)
    traffic = IstioTraffic(cluster, Gateways(cluster, _gateways(settings)))
    analyst = Analyst(providers, frozenset(sources), clock, queue.add)
    contention = Contention(cluster)
    reconciler = Reconciler(
        Tools(
            cluster=cluster,
            gatherer=Gatherer(cluster, traffic, analyst, contention),
            executor=Executor(cluster, traffic),
            analyst=analyst,
            contention=contention,
            orphans=Orphans(cluster, traffic),
            announcer=EventAnnouncer(cluster, clock, instance=os.environ.get("POD_NAME", socket.gethostname())),
            clock=clock,
            census=census,
        )
    )
    namespaces = (settings.watch_namespace,) if settings.watch_namespace else ()
    source = KopfSource(SourceSettings(namespaces=namespaces, kubeconfig=kubeconfig))
    supervisor = Supervisor(
        Parts(
            cluster=cluster,
            source=source,
            lease=lease,
            clock=clock,
            queue=queue,
            analyst=analyst,
            workers=Workers(queue, reconciler.reconcile, lease),
            providers=tuple(providers),
            resync_seconds=settings.resync_interval,
        )
    )
    REGISTRY.register(census)
    show_queue(lambda: len(queue), queue.overdue_seconds)
    try:
        async with serving(lambda: "", lambda: "" if source.is_ready else "not watching yet", listen):
            await supervisor.run()
    finally:
        REGISTRY.unregister(census)
        await source.stopped()
        await server.close()


def _lease(settings: Settings, cluster: KubernetesCluster, clock: SystemClock) -> Lease:
    if not settings.lease.enabled:
        return SoleLease()
    holder = f"{os.environ.get('POD_NAME', socket.gethostname())}_{uuid.uuid4().hex[:8]}"
    timing = LeaseTiming.of(settings.lease.duration)
    identity = LeaseIdentity(settings.lease.namespace or "default", settings.lease.name, holder)
    return ClusterLease(cluster, clock, identity, timing)


async def _until_stopped(settings: Settings, kubeconfig: Path | None, listen: Listen) -> None:
    task = asyncio.create_task(operate(settings, kubeconfig, listen))
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the container; returns the exit status."""
    parser = argparse.ArgumentParser(prog="modelrelease-operator", description="Operator of ModelReleases.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the operator")
    run.add_argument("--config", type=Path, required=True, help="configuration file")
    run.add_argument("--kubeconfig", type=Path, help="outside of a cluster: how to reach it")
    run.add_argument("--probe-port", type=int, default=Listen().probes, help="port of /livez and /readyz")
    run.add_argument("--metrics-port", type=int, default=Listen().metrics, help="port of /metrics")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(options.config, os.environ)
    except InvalidResource as problem:
        print(f"modelrelease-operator: {problem}", file=sys.stderr)  # noqa: T201 - before logging is configured
        return 2
    configure_logging(str(settings.log_level))
    listen = Listen(options.probe_port, options.metrics_port)
    try:
        asyncio.run(_until_stopped(settings, options.kubeconfig, listen))
    except* (ReleaseError, OSError) as group:
        for error in group.exceptions:
            _log.error("ended", error=str(error))
        status = 1
    else:
        status = 0
    return status


if __name__ == "__main__":
    sys.exit(main())
