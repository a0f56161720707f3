"""The command line: `python -m localcluster <command>`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from localcluster.cluster import Cluster
from localcluster.commands import tail
from localcluster.errors import LocalClusterError
from localcluster.image_source import Build
from localcluster.progress import reporting
from localcluster.supervision import State


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 where the command did what it says, 1 with one message where it could not."""
    arguments = _parser().parse_args(argv)
    console = Console() if sys.stdout.isatty() else Console(width=200)
    try:
        return _run(arguments, Cluster(), console)
    except LocalClusterError as error:
        Console(stderr=True).print(f"localcluster: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="localcluster", description="Kubernetes, Istio and Prometheus on this machine, without Docker."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build and install what is missing, start nothing")
    commands.add_parser("up", help="build what is missing and start what does not run")
    down = commands.add_parser("down", help="stop everything and leave no process, mount, interface or rule behind")
    down.add_argument("--purge", action="store_true", help="also delete the cluster's data")
    commands.add_parser("status", help="one row per part")
    logs = commands.add_parser("logs", help="the end of a part's log")
    logs.add_argument("part")
    logs.add_argument("--lines", type=int, default=50)
    gpu = commands.add_parser("gpu", help="let the node claim a number of GPUs")
    gpu.add_argument("count", type=int)
    commands.add_parser("env", help="shell lines that set KUBECONFIG and PATH")
    _image_parser(commands.add_parser("image", help="images in the cluster"))
    return parser


def _image_parser(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="image_command", required=True)
    build = commands.add_parser("build", help="build from a Dockerfile and load")
    build.add_argument("--tag", required=True)
    build.add_argument("--context", type=Path, required=True)
    build.add_argument("--file", type=Path, help="default: Dockerfile in the context")
    build.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    load = commands.add_parser("import", help="load a docker or OCI archive")
    load.add_argument("archive", type=Path)
    commands.add_parser("list", help="images of the cluster")


def _run(arguments: argparse.Namespace, cluster: Cluster, console: Console) -> int:
    match arguments.command:
        case "build":
            with reporting(console) as report:
                cluster.build(report)
        case "up":
            began = time.monotonic()
            with reporting(console) as report:
                cluster.up(report)
            console.print(f"\nup in {time.monotonic() - began:.0f} s", highlight=False)
            _print_environment(cluster, console)
        case "down":
            with reporting(console) as report:
                cluster.down(report, purge=arguments.purge)
        case "status":
            return _print_status(cluster, console)
        case "logs":
            console.print(
                tail(cluster.log(arguments.part), arguments.lines, 1_000_000),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        case "gpu":
            cluster.set_gpus(arguments.count)
        case "env":
            _print_environment(cluster, console)
        case "image":
            _image(arguments, cluster, console)
    return 0


def _image(arguments: argparse.Namespace, cluster: Cluster, console: Console) -> None:
    match arguments.image_command:
        case "build":
            pairs = dict(pair.partition("=")[::2] for pair in arguments.build_arg)
            dockerfile = arguments.file or arguments.context / "Dockerfile"
            with reporting(console) as report:
                digest = cluster.build_image(
                    Build(arguments.tag, arguments.context.resolve(), dockerfile.resolve(), pairs), report
                )
            console.print(f"{arguments.tag} {digest}", markup=False, highlight=False, soft_wrap=True)
        case "import":
            cluster.containers.import_image(arguments.archive)
        case "list":
            for name, digest in sorted(cluster.containers.images().items()):
                console.print(f"{name} {digest}", markup=False, highlight=False, soft_wrap=True)


def _print_environment(cluster: Cluster, console: Console) -> None:
    folder = cluster.access.kubectl_binary.parent
    console.print(f"export KUBECONFIG={cluster.kubeconfig}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f'export PATH="{folder}:$PATH"   # kubectl get nodes; gateway {cluster.gateway_url}',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _print_status(cluster: Cluster, console: Console) -> int:
    """Exit status 0 only while every part is ready, so that scripts can ask."""
    rows = cluster.status()
    table = Table("part", "state", "pid", "listens on", "log", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.name, row.state.value, str(row.pid or ""), " ".join(row.addresses), str(row.log))
    console.print(table)
    return 0 if rows and all(row.state is State.READY for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
