"""Everything that must exist before a cluster can start, made where it is missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from localcluster.folders import Cache
from localcluster.progress import Report
from localcluster.provision import debian, envoy, go, rootfs

__all__ = ["debian", "envoy", "everything", "go", "rootfs"]


def prerequisites(cache: Cache, report: Report) -> None:
    """Go, where there is something to compile, and Debian's packages, before the minutes that the rest takes."""
    if not all(go.output_folder(cache, module).exists() for module in go.ALL):
        go.toolchain()
    debian.install(cache, debian.CLUSTER, report)


def everything(cache: Cache, report: Report) -> None:
    """Compile on one side and fetch on the other; what exists already is left as it is. Needs the prerequisites."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        compiling = pool.submit(_compile, cache, report)
        fetching = pool.submit(_fetch, cache, report)
    compiling.result()
    fetching.result()


def _compile(cache: Cache, report: Report) -> None:
    for module in go.ALL:
        go.build(cache, module, report)


def _fetch(cache: Cache, report: Report) -> None:
    envoy.fetch(cache, report)
    rootfs.build_base(cache, report)
