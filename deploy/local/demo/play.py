"""The whole play: set the stage, perform every scene in its order, and say how it went."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from rich.console import Console

from demo import audit, plot, report
from demo.kube import Kube
from demo.manifests import MODEL_RELEASE, VIRTUAL_SERVICE, Model, model_release
from demo.performance import Ground, Performance, perform, served_model
from demo.result import Result, complaints, complaints_about_traffic, summarise
from demo.scenes import ANALYSIS, KNOWN_REQUESTS, RATE_PER_SECOND, SCALED, SCENES, STABLE, STRATEGY, VERSIONS, Scene
from demo.screen import look, screen
from demo.stage import BUILD, OPERATOR_USER, Stage, set_up
from demo.traffic import Account, Traffic
from demo.waiting import wait_for
from demo.watch import Watch
from localcluster.progress import reporting
from modelrelease.api.status import Phase

OUTPUT = BUILD / "demo"
MODEL = Model("vision", "vision.example.com", replicas=2)
_SETTLE_SECONDS = 8.0
_STABLE_SECONDS = 120.0


def play(console: Console, scenes: Sequence[Scene] = SCENES) -> list[str]:
    """Perform; returns a sentence for everything that was not as expected."""
    console.rule("1. The stage: cluster, models, images, operator")
    with reporting(console) as progress:
        stage = set_up(VERSIONS, progress)
    console.print(f"ready after {stage.setup_seconds:.0f} s\n", highlight=False)
    console.rule(f"2. {MODEL.name} {STABLE} serves, {RATE_PER_SECOND:g} requests/s of pictures come in")
    console.print(SCALED + "\n", highlight=False)
    with grounded(stage) as ground:
        console.rule("3. Releases")
        seen, results = [], []
        for scene in scenes:
            performance, result = _perform(console, stage, ground, scene)
            seen.append(performance)
            results.append(result)
        account = ground.traffic.stop()
    seen = [performance.completed(ground.traffic.records) for performance in seen]
    results = [
        summarise(performance, ground.original, result.writes)
        for performance, result in zip(seen, results, strict=True)
    ]
    _close(console, stage, seen, results, account)
    complained = [sentence for result in results for sentence in complaints(result)]
    return complained + complaints_about_traffic(seen, ground.traffic.records, account.sent)


@contextmanager
def grounded(stage: Stage) -> Iterator[Ground]:
    """Stable serves, traffic flows, a ModelRelease is at rest on stable's version, and all of it is watched."""
    kube = stage.kube(MODEL.namespace)
    start_over(kube, MODEL)
    original = served_model(kube, MODEL, stage.images[STABLE], _STABLE_SECONDS)
    with ExitStack() as stack:
        routes = stack.enter_context(Watch(kube, VIRTUAL_SERVICE, MODEL.name))
        releases = stack.enter_context(Watch(kube, MODEL_RELEASE, MODEL.name))
        traffic = stack.enter_context(Traffic(stage.target(MODEL.host), RATE_PER_SECOND, OUTPUT / "traffic.tsv"))
        kube.apply(model_release(MODEL, stage.images[STABLE], strategy=STRATEGY, analysis=ANALYSIS))
        ground = Ground(MODEL, kube, traffic, releases, routes, original, stage.cluster.containers)
        _wait_until_calm(ground)
        yield ground


def start_over(kube: Kube, model: Model) -> None:
    """Remove what an earlier play left, the ModelRelease first, so that the operator puts the route back itself."""
    if kube.get("namespace", model.namespace) is None:
        return
    kube.delete(MODEL_RELEASE, model.name)
    kube.delete(VIRTUAL_SERVICE, model.name)
    kube.delete("deployment", model.name)


def _wait_until_calm(ground: Ground) -> None:
    """The operator knows the model, stable's latency is known, and the last seconds of traffic had no error."""

    def is_calm() -> bool:
        ground.traffic.check_alive()
        recent = ground.traffic.since(time.time() - _SETTLE_SECONDS)
        enough = len(recent) >= 0.8 * RATE_PER_SECOND * (_SETTLE_SECONDS - 1)
        enough &= len(ground.traffic.records) >= KNOWN_REQUESTS
        return enough and not any(record.is_error for record in recent) and ground.status().phase is Phase.STABLE

    def seen() -> str:
        recent = ground.traffic.since(time.time() - _SETTLE_SECONDS)
        errors = [record for record in recent if record.is_error]
        last = f", the last one {errors[-1].status} {errors[-1].problem!r}" if errors else ""
        return f"phase {ground.status().phase}, {len(recent)} requests, {len(errors)} errors{last}"

    wait_for("stable to serve without errors and the release to be at rest", is_calm, _STABLE_SECONDS, seen=seen)


def _perform(console: Console, stage: Stage, ground: Ground, scene: Scene) -> tuple[Performance, Result]:
    image = stage.images[scene.version]
    console.print(f"\n[bold]{scene.name}[/bold] · {scene.title}", highlight=False)
    edit = json.dumps({"spec": {"image": image}})
    console.print(f"$ kubectl patch mr {MODEL.name} --type=merge -p '{edit}'", style="dim", highlight=False)
    with screen(console) as shown:
        performance = perform(
            ground, scene, image,
            lambda scene, release, began_at: shown.show(
                look(scene, ground.status(), ground.traffic, release, began_at)
            ),
            lambda sentence: console.print(f"  {sentence}", style="bold yellow", highlight=False, soft_wrap=True),
        )  # fmt: skip
    result = summarise(performance, ground.original, count_writes(stage, performance, MODEL.namespace))
    console.print(f"{result.outcome} after {result.seconds:.0f} s: {performance.status.message}", highlight=False)
    for one in performance.takeovers:
        console.print(f"{one.successor} took over {one.seconds:.1f} s after the kill", highlight=False)
    for sentence in complaints(result):
        console.print(f"not as expected: {sentence}", style="red", highlight=False)
    return performance, result


def count_writes(stage: Stage, performance: Performance, namespace: str) -> audit.Writes:
    """The operator's writes for one release, to the last: what it writes in the quiet after that counts, too."""
    question = audit.Question(OPERATOR_USER, namespace, performance.began_at, performance.watched_until)
    return audit.writes(stage.cluster.audit_log, question, performance.told)


def _close(console: Console, stage: Stage, seen: list[Performance], results: list[Result], account: Account) -> None:
    began = [performance.began_at for performance in seen]
    report.write_json(OUTPUT / "report.json", report.report(results, began, stage.setup_seconds, stage.versions()))
    report.write_json(OUTPUT / "details.json", report.details(results, account))
    plot.draw(seen, OUTPUT / "release.png", f"{RATE_PER_SECOND:g} requests/s of pictures. {SCALED}")
    console.print()
    console.rule("4. How it went")
    console.print(report.table(results))
    for result in results:
        if result.scene.is_full_course:
            console.print(report.shares_table(result))
            console.print(f"{result.scene.name}: {result.api_writes} writes to the API server", highlight=False)
    console.print(
        f"load generator: {account.sent} requests, {account.cpu_microseconds_per_request:.0f} µs of CPU each, "
        f"never later than {account.worst_late_milliseconds:.0f} ms",
        highlight=False,
    )
    console.print(f"written: {OUTPUT / 'report.json'}, {OUTPUT / 'release.png'}", highlight=False, soft_wrap=True)
    console.print("The cluster stays up. Take it down with: make down", highlight=False)


def only(names: Sequence[str]) -> list[Scene]:
    """The scenes with these names, in the order of the play. Without `healthy`, v1.1.0 is not promoted before."""
    return [scene for scene in SCENES if scene.name in names]
