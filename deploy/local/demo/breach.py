"""How long clients suffer: from the first failed answer of a canary at 20 % to the last answer that it gives.

The image `turns-bad` serves well until a file appears in its pod; from then on every answer is a 500.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from demo import measure, report
from demo.errors import DemoError
from demo.manifests import MODEL_RELEASE, VIRTUAL_SERVICE, Model, canary_weight, model_release
from demo.measure import Breach, Release
from demo.performance import Ground, served_model
from demo.play import start_over
from demo.scenes import ANALYSIS, BREACH_FILE, STABLE, STRATEGY, TURNS_BAD
from demo.stage import BUILD, Stage, set_up
from demo.traffic import Traffic
from demo.waiting import wait_for
from demo.watch import Watch
from localcluster.progress import reporting
from modelrelease.api.status import Phase

_MEDIAN_LIMIT_SECONDS = 3.0
_LIMIT_SECONDS = 5.0
_PREPARE_SECONDS = 120.0
_QUIET_SECONDS = 3.0
_UNNOTICED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class BreachPlan:
    """How often, at which weight (per cent) and rate (requests/s), and how long the canary is good before."""

    runs: int = 5
    weight: int = 20
    rate: float = 50.0
    good_seconds: float = 15.0
    model: Model = Model("breach", "breach.example.com")  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class BreachRun:
    """One measured breach."""

    breach: Breach
    weight_zero_after_seconds: float
    """From the first failed answer to the moment at which the VirtualService said 0."""
    stable_errors: int

    def row(self) -> dict[str, Any]:
        """The run as JSON."""
        return {
            "breach_to_zero_seconds": round(self.breach.seconds, 3),
            "weight_zero_after_seconds": round(self.weight_zero_after_seconds, 3),
            "canary_errors": self.breach.canary_errors,
            "stable_errors": self.stable_errors,
        }


def measure_breaches(console: Console, plan: BreachPlan) -> list[str]:
    """Run, print and write build/bench/breach.json; a sentence for each limit that does not hold."""
    with reporting(console) as progress:
        stage = set_up((STABLE, TURNS_BAD), progress)
    runs = []
    with prepared(stage, plan) as ground:
        for number in range(plan.runs):
            run = breach_once(ground, stage.images[TURNS_BAD], plan)
            runs.append(run)
            console.print(
                f"run {number + 1}: last canary answer {run.breach.seconds:.2f} s after the first failed one, weight 0 "
                f"after {run.weight_zero_after_seconds:.2f} s, {run.breach.canary_errors} failed answers",
                highlight=False,
            )
    seconds = sorted(run.breach.seconds for run in runs)
    median = statistics.median(seconds)
    console.print(f"min {seconds[0]:.2f} s, median {median:.2f} s, max {seconds[-1]:.2f} s", highlight=False)
    content = {"min": seconds[0], "median": median, "max": seconds[-1], "runs": [run.row() for run in runs]}
    report.write_json(BUILD / "bench" / "breach.json", content)
    return judge(runs)


def judge(runs: list[BreachRun]) -> list[str]:
    """A sentence for each limit that does not hold."""
    seconds = [run.breach.seconds for run in runs]
    found = []
    if statistics.median(seconds) > _MEDIAN_LIMIT_SECONDS:
        found.append(f"breach to zero: median {statistics.median(seconds):.2f} s, above {_MEDIAN_LIMIT_SECONDS:g} s")
    if max(seconds) > _LIMIT_SECONDS:
        found.append(f"breach to zero: longest {max(seconds):.2f} s, above {_LIMIT_SECONDS:g} s")
    if errors := sum(run.stable_errors for run in runs):
        found.append(f"breach to zero: stable's clients saw {errors} errors")
    return found


@contextmanager
def prepared(stage: Stage, plan: BreachPlan) -> Iterator[Ground]:
    """Stable under load, and a ModelRelease that holds at the plan's weight until somebody approves."""
    model, kube = plan.model, stage.kube(plan.model.namespace)
    start_over(kube, model)
    original = served_model(kube, model, stage.images[STABLE], _PREPARE_SECONDS)
    strategy = {**STRATEGY, "steps": [{"weight": plan.weight, "minDuration": "5s", "approval": True}, {"weight": 100}]}
    with ExitStack() as stack:
        routes = stack.enter_context(Watch(kube, VIRTUAL_SERVICE, model.name))
        releases = stack.enter_context(Watch(kube, MODEL_RELEASE, model.name))
        output = BUILD / "bench" / f"{model.namespace}.tsv"
        traffic = stack.enter_context(Traffic(stage.target(model.host), plan.rate, output))
        kube.apply(model_release(model, stage.images[STABLE], strategy=strategy, analysis=ANALYSIS))
        yield Ground(model, kube, traffic, releases, routes, original, stage.cluster.containers)


def breach_once(ground: Ground, image: str, plan: BreachPlan) -> BreachRun:
    """Release, wait at the weight, let the canary turn bad, and measure at the client until it is off the air."""
    kube, model, release = ground.kube, ground.model, Release(TURNS_BAD, ground.model.canary)
    if ground.status().phase is Phase.ROLLED_BACK:
        kube.annotate(MODEL_RELEASE, model.name, retry="true")
    else:
        kube.patch(MODEL_RELEASE, model.name, {"spec": {"image": image}})
    wait_for(
        f"the canary to get {plan.weight} %", lambda: _weight(ground) == plan.weight, _PREPARE_SECONDS,
        seen=lambda: f"{ground.status().phase}, weight {_weight(ground)}: {ground.status().message}",
    )  # fmt: skip
    time.sleep(plan.good_seconds)
    if _weight(ground) != plan.weight:
        raise DemoError(f"the good canary lost its weight: {ground.status().message}")
    broken_at = time.time()
    for pod in kube.pods(f"app={model.canary}"):
        kube.run("exec", pod["metadata"]["name"], "--", "touch", BREACH_FILE)
    wait_for("the weight to become 0", lambda: _weight(ground) == 0, _UNNOTICED_SECONDS)
    _wait_for_rest(ground)
    time.sleep(_QUIET_SECONDS)
    records = ground.traffic.since(broken_at)  # a gateway that has not heard of it shows up in the drain
    found = measure.breach(records, release)
    if found is None:
        raise DemoError("the canary lost its weight, but no client saw it fail")
    zero_at = next(at for at, weight in ground.weights(broken_at) if weight == 0)
    stable, _ = measure.arms(records, release)
    return BreachRun(found, zero_at - found.began_at, stable.errors)


def _weight(ground: Ground) -> int:
    latest = ground.routes.latest
    return canary_weight(latest, ground.model) if latest else 0


def _wait_for_rest(ground: Ground) -> None:
    wait_for(
        "the rollback to end", lambda: ground.status().phase is Phase.ROLLED_BACK, _PREPARE_SECONDS,
        seen=lambda: f"{ground.status().phase}: {ground.status().message}",
    )  # fmt: skip
