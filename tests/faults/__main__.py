"""The long runs, as `make faults`, `make campaign` and `make soak` call them.

Each writes its section of build/faults/report.json; the exit status is 0 where nothing was violated.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections import Counter
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported anywhere

import structlog

from faults.report import record, say


def _quiet() -> None:
    """The controller's own log is for those who replay a single seed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def schedules(options: argparse.Namespace) -> bool:
    """Random schedules on the fakes; a single seed is told in full."""
    from faults import schedules as fakes  # noqa: PLC0415 - each command imports what it needs

    if options.count > 1:
        _quiet()
    done: list[fakes.Schedule] = []
    for one in fakes.play_many(options.seed, options.count, options.processes, say):
        done.append(one)
        if options.count > 1 and len(done) % 100 == 0:
            _record_schedules(options, done)
    bad = [one for one in done if one.problem]
    for one in bad if options.count > 1 else done:
        say(f"seed {one.seed}: {'; '.join(one.actions)} -> {one.problem or one.end}")
    if options.count > 1:
        _record_schedules(options, done)
    say(f"{len(done)} schedules, {len(bad)} with violations")
    return not bad


def _record_schedules(options: argparse.Namespace, done: list[Any]) -> None:
    record(
        "schedules on fakes",
        {
            "seeds": [options.seed, options.seed + len(done) - 1],
            "schedules": len(done),
            "actions": sum(len(one.actions) for one in done),
            "reached before the calm": dict(Counter(phase for one in done for phase in one.phases)),
            "ends": dict(Counter(one.end for one in done if not one.problem)),
            "violations": {one.seed: one.problem for one in done if one.problem},
        },
    )


async def _sweep(options: argparse.Namespace) -> bool:
    from faults.stage import staged  # noqa: PLC0415
    from faults.stories import STORIES  # noqa: PLC0415
    from faults.sweep import FAULTS, Sweep, run_all  # noqa: PLC0415

    faults = (options.fault,) if options.fault else tuple(FAULTS)
    wanted = [(story, faults) for story in ((options.story,) if options.story else STORIES)]
    section = ", ".join(("a fault at every write", *filter(None, (options.story, options.fault))))

    def progress(so_far: Sweep, text: str) -> None:
        say(text)
        record(section, so_far.report())

    async with staged() as stage:
        sweep = await run_all(stage, wanted, options.processes, progress)
    record(section, sweep.report())
    say(f"{sum(sweep.tried.values())} runs, {len(sweep.violations)} violations")
    return not sweep.violations


def sweep(options: argparse.Namespace) -> bool:
    """One fault at every write, on the real API server."""
    return asyncio.run(_sweep(options))


async def _campaign(options: argparse.Namespace) -> bool:
    from faults import chaos  # noqa: PLC0415
    from faults.stage import staged  # noqa: PLC0415

    seeds = list(range(options.seed, options.seed + options.count))
    done: list[chaos.Schedule] = []

    def progress(text: str) -> None:
        say(text)
        if options.count > 1:
            _record_campaign(done)

    async with staged() as stage:
        await chaos.play_many(stage, seeds, options.processes, (done, progress))
    bad = [one for one in done if one.problems]
    for one in bad if options.count > 1 else done:
        say(f"seed {one.seed}: {'; '.join(one.actions)} -> {one.problems or one.end}")
    progress(f"{len(done)} schedules, {len(bad)} with violations")
    return not bad


def _record_campaign(done: list[Any]) -> None:
    record(
        "schedules on a real API server",
        {
            "seeds": sorted(one.seed for one in done),
            "schedules": len(done),
            "actions": sum(len(one.actions) for one in done),
            "ends": dict(Counter(one.end for one in done if not one.problems)),
            "violations": {one.seed: one.problems for one in done if one.problems},
        },
    )


def campaign(options: argparse.Namespace) -> bool:
    """Random schedules on the real API server."""
    return asyncio.run(_campaign(options))


async def _soak(options: argparse.Namespace) -> bool:
    from faults import soak as soaking  # noqa: PLC0415
    from faults.stage import staged  # noqa: PLC0415

    async with staged() as stage:
        done = await soaking.run(stage, options.minutes, options.seed, say)
    record("soak", {"minutes": options.minutes, "seed": options.seed, **done.report()})
    for violation in done.violations:
        say(f"VIOLATION {violation}")
    say(f"{done.releases.total()} releases, {len(done.violations)} violations")
    return not done.violations


def soak(options: argparse.Namespace) -> bool:
    """Releases back to back under faults, by one operator."""
    return asyncio.run(_soak(options))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="faults", description="Long runs of the fault harness.")
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("--seed", type=int, default=1, help="first seed")
    parser.add_argument("--count", type=int, default=1, help="so many seeds")
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the soak")
    parser.add_argument("--processes", type=int, default=2, help="so much side by side")
    parser.add_argument("--story", help="only this story of the sweep")
    parser.add_argument("--fault", help="only this fault of the sweep")
    options = parser.parse_args(arguments)
    return 0 if COMMANDS[options.command](options) else 1


COMMANDS: dict[str, Any] = {"schedules": schedules, "campaign": campaign, "sweep": sweep, "soak": soak}


if __name__ == "__main__":
    sys.exit(main())
