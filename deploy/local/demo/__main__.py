"""Command line: `python -m demo` plays; `breach` measures how fast a bad canary is off the air, `releases` whether the
judge tells identical versions from bad ones, `plan` whether releases take as long as the plugin predicts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from demo.breach import BreachPlan, measure_breaches
from demo.errors import DemoError
from demo.foresight import compare_plans
from demo.play import only, play
from demo.scenes import SCENES, TURNS_BAD, VERSIONS
from demo.series import lanes, play_series
from demo.stage import set_up
from localcluster.errors import LocalClusterError
from localcluster.progress import reporting


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 where all was as expected, 1 with a sentence for each thing that was not."""
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        failures = _run(options, console)
    except (DemoError, LocalClusterError) as error:
        failures = [str(error)]
    except KeyboardInterrupt:
        return 130
    for sentence in failures:
        Console(stderr=True).print(f"demo: {sentence}", style="red", markup=False, highlight=False, soft_wrap=True)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Releases on the local cluster, live.")
    commands = parser.add_subparsers(dest="command")
    whole = commands.add_parser("play", help="all scenes, or those named (the default command)")
    whole.add_argument("scenes", nargs="*", metavar="SCENE", help=", ".join(scene.name for scene in SCENES))
    breach = commands.add_parser("breach", help="from a breach to the last canary answer")
    breach.add_argument("--runs", type=int, default=5)
    series = commands.add_parser("releases", help="identical versions at 5, 10 and 20 requests/s, and bad ones")
    series.add_argument("--identical", type=int, default=15, help="releases at each rate (default: 15)")
    series.add_argument("--bad", type=int, default=10, help="releases of a version that turns worse (default: 10)")
    series.add_argument("--side-by-side", type=int, default=5, help="models at a time (default: 5)")
    series.add_argument("--fresh", action="store_true", help="forget the releases that were done already")
    plan = commands.add_parser("plan", help="how long releases take, and how long the plan said")
    plan.add_argument("--releases", type=int, default=5)
    commands.add_parser("prepare", help="bring up cluster, images and operator, and nothing else")
    return parser


def _run(options: argparse.Namespace, console: Console) -> list[str]:
    match options.command:
        case "breach":
            return measure_breaches(console, BreachPlan(runs=options.runs))
        case "plan":
            return compare_plans(console, options.releases)
        case "releases":
            chosen = lanes(options.identical, options.bad)
            return play_series(console, chosen, side_by_side=options.side_by_side, fresh=options.fresh)
        case "prepare":
            with reporting(console) as progress:
                stage = set_up((*VERSIONS, TURNS_BAD), progress)
            console.print(f"ready after {stage.setup_seconds:.0f} s", highlight=False)
            return []
        case _:
            names = getattr(options, "scenes", [])
            unknown = set(names) - {scene.name for scene in SCENES}
            if unknown:
                return [f"no scene is called {', '.join(sorted(unknown))}"]
            return play(console, only(names) if names else SCENES)


if __name__ == "__main__":
    sys.exit(main())
