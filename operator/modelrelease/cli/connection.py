"""The way from a person's options to the cluster, and back to sentences where it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from modelrelease.adapters.cluster import ApiServer, Call, KubernetesCluster, NotFoundError, namespace_of
from modelrelease.api.model import GROUP, VERSION
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Missing, Problem, problem_of
from modelrelease.errors import ReleaseError
from modelrelease.ports import Cluster

FIELD_MANAGER = "kubectl-modelrelease"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Which cluster and namespace a person means; None is what the kubeconfig says."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """An open way into the cluster."""

    cluster: Cluster
    server: ApiServer
    namespace: str


def run_connected(target: Target, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do `work` on the cluster. Raises Problem for everything that can go wrong."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)  # libraries' warnings are no answers; errors come as sentences
    return asyncio.run(_connected(target, work))


async def _connected(target: Target, work: Callable[[Connection], Awaitable[T]]) -> T:
    address = ""
    try:
        async with connection(target) as opened:
            address = opened.server.address
            try:
                return await work(opened)
            except Missing:
                await require_served(opened.server)
                raise
    except ReleaseError as error:
        raise problem_of(error, address) from error


@asynccontextmanager
async def connection(target: Target) -> AsyncIterator[Connection]:
    """Raises ReleaseError where the kubeconfig leads nowhere."""
    namespace = target.namespace or namespace_of(target.kubeconfig, target.context)
    server = await ApiServer.connect(kubeconfig=target.kubeconfig, context=target.context, who="You")
    try:
        yield Connection(KubernetesCluster(server, field_manager=FIELD_MANAGER), server, namespace)
    finally:
        await server.close()


async def require_served(server: ApiServer) -> None:
    """Raises Problem where the cluster does not serve the resource in the version that is known here."""
    try:
        group: dict[str, Any] = await server.send(Call("GET", f"/apis/{GROUP}", f"read the versions of {GROUP}"))
    except NotFoundError as error:
        raise Problem(
            "This cluster does not know ModelReleases; install them with kubectl apply -k crds.", ExitCode.WRONG_VERSION
        ) from error
    served = [str(entry["version"]) for entry in group.get("versions") or []]
    if VERSION not in served:
        raise Problem(
            f"This cluster serves {GROUP} in {', '.join(served) or 'no version'}, but this plugin knows {VERSION}; "
            "install the plugin that belongs to the operator of this cluster.",
            ExitCode.WRONG_VERSION,
        )
