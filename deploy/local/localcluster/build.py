"""Everything that must exist before a cluster can start, made where it is missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from localcluster.folders import Cache
from localcluster.progress import Report
from localcluster.provision import debian, envoy, go, rootfs

__all__ = ["debian", "envoy", "everything", "go", "rootfs"]


def everything(cache: Cache, report: Report) -> None:
    """Compile on one side and fetch on the other; what exists already is left as it is."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        compiling = pool.submit(_compile, cache, report)
        fetching = pool.submit(_fetch, cache, report)
    compiling.result()
    fetching.result()


def _compile(cache: Cache, report: Report) -> None:
    for module in go.ALL:
        go.build(cache, module, report)


def _fetch(cache: Cache, report: Report) -> None:
    debian.install(cache, debian.CLUSTER, report)
    envoy.fetch(cache, report)
    rootfs.build_base(cache, report)
