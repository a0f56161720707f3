"""Many releases of a version that is the same, and some of one that is not: does the judge tell them apart?

Stable fails 0.5 % of its requests, and so does the identical version under another tag; after each release the tags
change places. The bad version fails as rarely until a file appears in its pod, when the weight is 20 %; then it fails
20 %. Releases go by the clock (`advance: Time`), so nothing but a verdict can stop one.

Several models are released side by side, each with a namespace, a route and clients of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from rich.console import Console

from demo import measure
from demo.errors import DemoError
from demo.manifests import MODEL_RELEASE, VIRTUAL_SERVICE, Model, canary_weight, model_release
from demo.measure import Release
from demo.performance import Ground, has_ended, served_model
from demo.play import start_over
from demo.records import Record
from demo.scenes import ANALYSIS, BREACH_FILE, STRATEGY
from demo.stage import BUILD, Stage, set_up
from demo.tally import Row, Tally, judge, table
from demo.traffic import Traffic
from demo.waiting import wait_for
from demo.watch import Watch
from localcluster.progress import reporting
from modelrelease.api.status import Phase, ReleaseStatus

SAME: Final = ("v1.3.0-half-percent", "v1.3.1-half-percent")
TURNS_WORSE: Final = "v1.3.2-turns-worse"
BREACH_WEIGHT: Final = 20
BY_THE_CLOCK: Final[dict[str, Any]] = {**STRATEGY, "advance": "Time", "bakeTime": "10s"}
DEFAULT_TOLERANCES: Final[dict[str, Any]] = {
    # The operator's defaults for errors. Latency keeps the demonstration's: all pods share two cores with the rest.
    **{name: ANALYSIS[name] for name in ("interval", "lag", "warmUp", "latencyP99")},
    "minRequests": 1,
    # Each release makes a new stable, which is asked for another release at once: it has no ten minutes to tell of.
    "baseline": "30s",
}
OUTPUT: Final = BUILD / "bench" / "releases.json"
_PREPARE_SECONDS = 180.0
_PATIENCE_SECONDS = 900.0
_MODELS = 3
"""Models that share the identical releases of a rate."""
_QUIET_SECONDS = 3.0
_LOOK_SECONDS = 0.1

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lane:
    """Releases of one model, one after the other, at a rate in requests per second."""

    name: str
    rate: float
    releases: int
    is_bad: bool = False

    @property
    def model(self) -> Model:
        return Model(f"series-{self.name}", f"series-{self.name}.example.com")


def lanes(identical: int, bad: int) -> tuple[Lane, ...]:
    """As many identical releases at each of 5, 10 and 20 requests/s, and the bad ones at 50, where peers were tried."""
    same = (
        Lane(f"same-{rate}-{number + 1}", float(rate), len(range(number, identical, _MODELS)))
        for number in range(_MODELS)
        for rate in (5, 10, 20)
    )
    return (*same, Lane("bad-50", 50.0, bad, is_bad=True))


def play_series(console: Console, chosen: tuple[Lane, ...], *, side_by_side: int, fresh: bool) -> list[str]:
    """Run what is not done yet, `side_by_side` lanes at a time; a sentence for each thing that was not as expected."""
    settings = {"strategy": BY_THE_CLOCK, "analysis": DEFAULT_TOLERANCES, "images": [*SAME, TURNS_WORSE]}
    tally = Tally(OUTPUT, settings, fresh=fresh)
    open_lanes = [lane for lane in chosen if len(tally.of(lane.name)) < lane.releases]
    if open_lanes:
        with reporting(console) as progress:
            stage = set_up((*SAME, TURNS_WORSE), progress)
        tell = _teller(console)
        with ThreadPoolExecutor(side_by_side, thread_name_prefix="lane") as pool:
            waiting = [(lane, pool.submit(_run_lane, stage, lane, tally, tell)) for lane in open_lanes]
            for lane, one in waiting:
                one.add_done_callback(partial(_tell_failure, tell, lane))
        for _, one in waiting:
            one.result()
    console.print("\n".join(table(tally.rows)), highlight=False)
    return judge(tally.rows)


def _teller(console: Console) -> Tell:
    began = time.monotonic()
    return lambda line: console.print(f"{time.monotonic() - began:6.0f} s  {line}", highlight=False, markup=False)


def _tell_failure(tell: Tell, lane: Lane, done: Future[None]) -> None:
    """At once, while other lanes go on: what is missing is played by the next run."""
    failure = done.exception()
    if failure is not None:
        tell(f"{lane.name} stops: {failure}")


def _run_lane(stage: Stage, lane: Lane, tally: Tally, tell: Tell) -> None:
    with prepared(stage, lane) as ground:
        for number in range(len(tally.of(lane.name)) + 1, lane.releases + 1):
            row = release_once(ground, stage, lane)
            tally.add(row)
            late = f", off after {row.breach_to_zero_seconds:.1f} s" if row.breach_to_zero_seconds is not None else ""
            tell(
                f"{lane.name} {number}/{lane.releases}: {row.outcome} in {row.seconds:.0f} s{late}; errors stable "
                f"{row.stable_errors}/{row.stable_requests}, canary {row.canary_errors}/{row.canary_requests}"
            )
    stage.kube(lane.model.namespace).run("delete", "namespace", lane.model.namespace, "--wait=false")


@contextmanager
def prepared(stage: Stage, lane: Lane) -> Iterator[Ground]:
    """Stable under load, and its ModelRelease at rest."""
    model, kube = lane.model, stage.kube(lane.model.namespace)
    start_over(kube, model)
    original = served_model(kube, model, stage.images[SAME[0]], _PREPARE_SECONDS)
    with ExitStack() as stack:
        routes = stack.enter_context(Watch(kube, VIRTUAL_SERVICE, model.name))
        releases = stack.enter_context(Watch(kube, MODEL_RELEASE, model.name))
        output = BUILD / "bench" / f"{model.namespace}.tsv"
        traffic = stack.enter_context(Traffic(stage.target(model.host), lane.rate, output))
        kube.apply(model_release(model, stage.images[SAME[0]], strategy=BY_THE_CLOCK, analysis=DEFAULT_TOLERANCES))
        ground = Ground(model, kube, traffic, releases, routes, original, stage.cluster.containers)
        wait_for(
            "the ModelRelease to be at rest", lambda: ground.status().phase is Phase.STABLE, _PREPARE_SECONDS,
            seen=lambda: f"{ground.status().phase}: {ground.status().message}",
        )  # fmt: skip
        yield ground


def release_once(ground: Ground, stage: Stage, lane: Lane) -> Row:
    """One release from the edit to its end; a bad one is made to fail when it has got its weight."""
    before, began_at = ground.status(), time.time()
    _begin(ground, stage, lane)
    broken_at = _break_at_weight(ground, before) if lane.is_bad else None
    _wait_for_end(ground, before)
    ended_at = time.time()
    time.sleep(_QUIET_SECONDS)
    # The arms are told apart by the Service that the gateway picked: after a promotion both answer with one version.
    release = Release("", ground.model.canary)
    records = [replace(record, version="") for record in ground.traffic.since(began_at)]
    stable, canary = measure.arms(records, release)
    breach = measure.breach(_due(records, broken_at), release) if broken_at is not None else None
    zero_at = [at for at, weight in ground.weights(broken_at) if weight == 0] if broken_at is not None else []
    status = ground.status()
    return Row(
        lane=lane.name,
        is_bad=lane.is_bad,
        rate=lane.rate,
        outcome=str(status.phase),
        reason=status.outcome_reason,
        seconds=round(ended_at - began_at, 1),
        stable_requests=stable.requests,
        stable_errors=stable.errors,
        canary_requests=canary.requests,
        canary_errors=canary.errors,
        breach_to_zero_seconds=round(breach.seconds, 3) if breach is not None else None,
        weight_zero_after_seconds=round(zero_at[0] - breach.began_at, 3) if breach is not None and zero_at else None,
    )


def _due(records: Sequence[Record], since: float) -> list[Record]:
    return measure.between(records, since, math.inf)


def _begin(ground: Ground, stage: Stage, lane: Lane) -> None:
    """Edit the image, or ask for it again where it was asked for last and rolled back."""
    kube, model, status = ground.kube, ground.model, ground.status()
    version = TURNS_WORSE if lane.is_bad else next(one for one in SAME if stage.images[one] != status.released_image)
    wanted = stage.images[version]
    asked = kube.get(MODEL_RELEASE, model.name)
    if asked is not None and asked["spec"]["image"] == wanted:
        kube.annotate(MODEL_RELEASE, model.name, retry="true")
    else:
        kube.patch(MODEL_RELEASE, model.name, {"spec": {"image": wanted}})


def _break_at_weight(ground: Ground, before: ReleaseStatus) -> float:
    """Let the canary fail 20 % from the moment on at which its weight is 20 %; unix seconds."""

    def is_there() -> bool:
        ground.traffic.check_alive()
        if has_ended(ground, before):
            raise DemoError(f"the good canary did not get to {BREACH_WEIGHT} %: {ground.status().message}")
        latest = ground.routes.latest
        return latest is not None and canary_weight(latest, ground.model) == BREACH_WEIGHT

    wait_for(f"the canary to get {BREACH_WEIGHT} %", is_there, _PATIENCE_SECONDS, pause_seconds=_LOOK_SECONDS)
    at = time.time()
    for pod in ground.kube.pods(f"app={ground.model.canary}"):
        ground.kube.run("exec", pod["metadata"]["name"], "--", "touch", BREACH_FILE)
    return at


def _wait_for_end(ground: Ground, before: ReleaseStatus) -> None:
    def is_over() -> bool:
        ground.traffic.check_alive()
        return has_ended(ground, before)

    wait_for(
        "the release to end", is_over, _PATIENCE_SECONDS, pause_seconds=_LOOK_SECONDS,
        seen=lambda: f"{ground.status().phase}: {ground.status().message}",
    )  # fmt: skip
