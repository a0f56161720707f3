"""Does `kubectl modelrelease plan` say beforehand how long releases then take?

Two good versions take turns under steady traffic. Before each release the plugin is asked as a person would ask it,
with nothing but the manifest. What came is read from the status that the operator wrote at each step.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import yaml
from rich.console import Console

from demo import report
from demo.errors import DemoError
from demo.manifests import MODEL_RELEASE, VIRTUAL_SERVICE, Model, model_release
from demo.performance import Ground, has_ended, served_model
from demo.play import start_over
from demo.scenes import ANALYSIS, STABLE, STRATEGY
from demo.stage import BUILD, Stage, set_up
from demo.traffic import Traffic
from demo.waiting import wait_for
from demo.watch import Watch
from localcluster.progress import reporting
from modelrelease.api.status import Phase, ReleaseStatus, parse_status

NEXT: Final = "v1.1.0"
TOLERATED: Final = 0.25
"""Of what a release takes, by so much the plan may be wrong."""
MODEL: Final = Model("plan", "plan.example.com")
# Evidence is to say how long a step lasts, not the clock: hence the short least time. Few requests and wide tolerances,
# so that the models leave most of two cores to the rest and a release still takes minutes.
RATE: Final = 20.0
QUICK_STEPS: Final[dict[str, Any]] = {
    **STRATEGY,
    "steps": [{"weight": weight, "minDuration": "2s"} for weight in (10, 30, 60, 100)],
    "bakeTime": "10s",
}
WIDE: Final[dict[str, Any]] = {**ANALYSIS, "harmBudget": 0.05, "errorRate": {"maxRatio": 1.1, "maxIncrease": 0.05}}
OUTPUT: Final = BUILD / "bench" / "plan.json"
_HISTORY_SECONDS = 45.0
"""Traffic to a new stable before the next plan: there is no measuring without."""
_PREPARE_SECONDS = 180.0
_PATIENCE_SECONDS = 900.0
_PLAN_SECONDS = 60.0
_PLUGIN: Final = "from modelrelease.cli.app import main; main()"


@dataclass(frozen=True, slots=True)
class Course:
    """How long the parts of one release last, in seconds, as predicted or as it was.

    steps: each but the last.
    """

    preparing: float
    steps: tuple[float, ...]
    bake: float
    promoting: float

    @property
    def sums(self) -> dict[str, float]:
        """All steps together, and the whole release."""
        steps = sum(self.steps)
        return {"all_steps": steps, "total": self.preparing + steps + self.bake + self.promoting}

    @property
    def promised(self) -> dict[str, float]:
        """What is held against each other: each step by itself, since errors of two could cancel out, and the sums."""
        return {f"step_{number}": seconds for number, seconds in enumerate(self.steps, 1)} | self.sums


@dataclass(frozen=True, slots=True)
class Comparison:
    """One release: what was predicted, and what it took."""

    predicted: Course
    actual: Course
    requests_per_second: float
    """As the plan measured them."""

    def row(self) -> dict[str, Any]:
        """The release as JSON."""
        return {
            "requests_per_second": round(self.requests_per_second, 1),
            "predicted": _row(self.predicted),
            "actual": _row(self.actual),
        }


def _row(course: Course) -> dict[str, Any]:
    seconds = {name: round(value, 1) for name, value in course.sums.items()}
    steps = [round(each, 1) for each in course.steps]
    parts = {name: round(getattr(course, name), 1) for name in ("preparing", "bake", "promoting")}
    return {"steps": steps, **parts, **seconds}


def compare_plans(console: Console, releases: int) -> list[str]:
    """Run, print and write build/bench/plan.json; a sentence for each promise that does not hold."""
    with reporting(console) as progress:
        stage = set_up((STABLE, NEXT), progress)
    found: list[Comparison] = []
    with prepared(stage) as ground:
        for number in range(1, releases + 1):
            found.append(release_once(ground, stage))
            predicted, actual = found[-1].predicted.sums, found[-1].actual.sums
            said = [
                f"{name.replace('_', ' ')} {actual[name]:.0f} s (predicted {predicted[name]:.0f} s)" for name in actual
            ]
            console.print(f"release {number}: {', '.join(said)}", highlight=False)
    figures = summary(found)
    settings = {"rate": RATE, "strategy": QUICK_STEPS, "analysis": WIDE}
    content = {"settings": settings, **figures, "releases": [one.row() for one in found]}
    report.write_json(OUTPUT, content)
    console.print(figures, highlight=False)
    return judge(found)


def summary(found: Sequence[Comparison]) -> dict[str, Any]:
    """Medians over all releases, in seconds, and by what share of what it took the plan was wrong."""
    predicted, actual = medians([one.predicted for one in found]), medians([one.actual for one in found])
    shares = {name: round(share, 3) for name, share in off_by(found).items()}
    return {"median_seconds": {"predicted": _row(predicted), "actual": _row(actual)}, "off_by": shares}


def medians(courses: Sequence[Course]) -> Course:
    """Part by part."""
    return Course(
        preparing=statistics.median(one.preparing for one in courses),
        steps=tuple(statistics.median(each) for each in zip(*(one.steps for one in courses), strict=True)),
        bake=statistics.median(one.bake for one in courses),
        promoting=statistics.median(one.promoting for one in courses),
    )


def off_by(found: Sequence[Comparison]) -> dict[str, float]:
    """How far the medians are apart, as a share of the actual one; above 0 where the plan promised too long a time."""
    shares = {}
    for name in found[0].actual.promised:
        predicted = statistics.median(one.predicted.promised[name] for one in found)
        shares[name] = predicted / statistics.median(one.actual.promised[name] for one in found) - 1
    return shares


def judge(found: Sequence[Comparison]) -> list[str]:
    """A sentence for each promise that does not hold."""
    return [
        f"plan: {name.replace('_', ' ')}: the median of {len(found)} releases is {share:+.0%} off"
        for name, share in off_by(found).items()
        if abs(share) > TOLERATED
    ]


@contextmanager
def prepared(stage: Stage) -> Iterator[Ground]:
    """Stable under load, and its ModelRelease at rest."""
    kube = stage.kube(MODEL.namespace)
    start_over(kube, MODEL)
    original = served_model(kube, MODEL, stage.images[STABLE], _PREPARE_SECONDS)
    with ExitStack() as stack:
        routes = stack.enter_context(Watch(kube, VIRTUAL_SERVICE, MODEL.name))
        releases = stack.enter_context(Watch(kube, MODEL_RELEASE, MODEL.name))
        output = BUILD / "bench" / f"{MODEL.namespace}.tsv"
        traffic = stack.enter_context(Traffic(stage.target(MODEL.host), RATE, output))
        kube.apply(_manifest(stage, STABLE))
        ground = Ground(MODEL, kube, traffic, releases, routes, original, stage.cluster.containers)
        wait_for("the ModelRelease to be at rest", lambda: ground.status().phase is Phase.STABLE, _PREPARE_SECONDS)
        yield ground
    kube.run("delete", "namespace", MODEL.namespace, "--wait=false")


def _manifest(stage: Stage, version: str) -> dict[str, Any]:
    return model_release(MODEL, stage.images[version], strategy=QUICK_STEPS, analysis=WIDE)


def release_once(ground: Ground, stage: Stage) -> Comparison:
    """Let the present stable serve for a while, ask for the plan, apply it, and see what it took."""
    before = ground.status()
    _serve(ground)
    asked = ground.kube.get(MODEL_RELEASE, MODEL.name)
    if asked is None:
        raise DemoError(f"ModelRelease {MODEL.name} is gone")
    version = STABLE if asked["spec"]["image"] == stage.images[NEXT] else NEXT
    manifest = _manifest(stage, version)
    plan = ask(stage, manifest)
    began = time.time()
    ground.kube.apply(manifest)

    def is_over() -> bool:
        ground.traffic.check_alive()
        return has_ended(ground, before)

    wait_for(
        "the release to end", is_over, _PATIENCE_SECONDS,
        seen=lambda: f"{ground.status().phase}: {ground.status().message}",
    )  # fmt: skip
    told = [version.manifest for version in ground.releases.since(began) if version.manifest is not None]
    actual = course_of([parse_status(one.get("status")) for one in told])
    return Comparison(predicted_course(plan), actual, plan["traffic"]["requestsPerSecond"])


def _serve(ground: Ground) -> None:
    until = time.monotonic() + _HISTORY_SECONDS
    while time.monotonic() < until:
        ground.traffic.check_alive()
        time.sleep(1.0)


def ask(stage: Stage, manifest: dict[str, Any]) -> dict[str, Any]:
    """`kubectl modelrelease plan -f - -o json`. Raises DemoError where it has no answer."""
    words = ["plan", "-f", "-", "-o", "json", "--kubeconfig", str(stage.cluster.kubeconfig)]
    words += ["--prometheus", stage.cluster.prometheus_url]
    done = subprocess.run(  # noqa: S603 - no shell, words of this package
        [sys.executable, "-c", _PLUGIN, *words],
        input=yaml.safe_dump(manifest), capture_output=True, text=True, timeout=_PLAN_SECONDS, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    if not done.stdout:
        raise DemoError(f"the plan has no answer: {done.stderr.strip()}")
    plan: dict[str, Any] = json.loads(done.stdout)
    if plan["typicalSeconds"] is None:
        said = "; ".join(finding["message"] for finding in plan["findings"] if finding["level"] != "good")
        raise DemoError(f"the plan does not know how long the release takes: {said}")
    return plan


def predicted_course(plan: dict[str, Any]) -> Course:
    """From the plugin's JSON."""
    return Course(
        preparing=plan["preparingSeconds"],
        steps=tuple(step["typicalSeconds"] for step in plan["steps"]),
        bake=plan["bakeSeconds"],
        promoting=plan["promotingSeconds"],
    )


def course_of(told: Sequence[ReleaseStatus]) -> Course:
    """From every status that was told of one release, by the operator's clock. Raises DemoError where one did not
    succeed."""
    entered: dict[int, float] = {}
    promoting = 0.0
    for status in told:
        if status.step > 0 and status.step_started_at is not None:
            entered.setdefault(status.step, status.step_started_at)
        if status.phase is Phase.PROMOTING and not promoting:
            promoting = status.phase_started_at or 0.0
    last = told[-1]
    if last.phase is not Phase.SUCCEEDED or sorted(entered) != list(range(1, len(entered) + 1)) or not promoting:
        raise DemoError(f"the release did not go through all its steps: {last.phase}: {last.message}")
    begins = [entered[step] for step in sorted(entered)]
    return Course(
        preparing=begins[0] - last.history[0].started_at,
        steps=tuple(later - earlier for earlier, later in pairwise(begins)),
        bake=promoting - begins[-1],
        promoting=last.history[0].finished_at - promoting,
    )
