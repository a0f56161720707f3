"""`plan`: before applying, what will change, how long each step will take and what it would notice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

import typer
from pydantic import Field
from rich.console import RenderableType
from rich.text import Text

from modelrelease.adapters.cluster import Call, NotFoundError
from modelrelease.api.model import Model
from modelrelease.api.spec import Manifest, ModelReleaseSpec
from modelrelease.cli.baseline import Stretch, measure, served_seconds
from modelrelease.cli.before_and_after import history_wait_seconds, preparing_seconds, promoting_seconds
from modelrelease.cli.changes import Change, changes_of, stable_replicas
from modelrelease.cli.connection import Connection, Target, run_connected
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.findings import Finding, good, has_problem, problem, remark, render_findings
from modelrelease.cli.forecast import StepForecast, TrafficView, forecast, judged_state, pace_of, traffic_view
from modelrelease.cli.manifests import File, read_manifest, refusal, specification_of
from modelrelease.cli.measured import Traffic, watched_of
from modelrelease.cli.options import command
from modelrelease.cli.parameters import seconds_of
from modelrelease.cli.printing import Output, emit, lasting, milliseconds, ratio, table
from modelrelease.cli.problems import Problem, sentence_of
from modelrelease.cli.prometheus import SYSTEM, OperatorNamespace, ProviderFile, Url, Wanted, reached
from modelrelease.cli.room import asked_by, fitting
from modelrelease.cli.survey import Survey, findings_of, standing, survey
from modelrelease.errors import Forbidden, MetricsUnavailable, Terminal
from modelrelease.rollout.canary import canary_deployment
from modelrelease.rollout.capacity import replicas_needed
from modelrelease.rollout.labels import RELEASE, release_label

Measured = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="DURATION",
        help="How much of stable's traffic to measure. Default: what a release begins with, analysis.baseline.",
    ),
]


class PlanView(Model):
    """A release before it begins."""

    namespace: str = Field(description="Namespace of the ModelRelease.")
    name: str = Field(description="Name of the ModelRelease.")
    findings: list[Finding] = Field(description="What was looked at.")
    changes: list[Change] = Field(description="What will be created and changed, in order.")
    traffic: TrafficView | None = Field(description="What was measured; null where there is no history.")
    steps: list[StepForecast] = Field(description="How long each step will take, and what it would notice.")
    preparing_seconds: float | None = Field(
        description="Until the first step: the canary starts, and stable's history is waited for; null without traffic."
    )
    bake_seconds: float = Field(description="Time at 100 % before stable is replaced.")
    promoting_seconds: float = Field(description="After the bake: stable is replaced, and the canary drains.")
    typical_seconds: float | None = Field(description="The whole release, typically; null where that is not known.")


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be planned."""

    namespace: str
    name: str
    manifest: Manifest
    spec: ModelReleaseSpec


@command
def plan(
    target: Target,
    filename: File,
    window: Measured = None,
    prometheus: Url = None,
    provider: ProviderFile = None,
    operator_namespace: OperatorNamespace = SYSTEM,
    output: Output = Output.TABLE,
) -> ExitCode:
    """Show what a file would change, and how long steps would take.

    Nothing is written. Times are for the traffic that stable has now.
    """
    manifest, measured = read_manifest(filename), seconds_of(window) if window is not None else None
    _require_one_namespace(manifest, target.namespace)
    wanted = Wanted(prometheus, operator_namespace, provider)
    view = run_connected(target, lambda opened: look(opened, manifest, measured, wanted))
    emit(view, output, render)
    return ExitCode.FINDINGS if has_problem(view.findings) else ExitCode.OK


def _require_one_namespace(manifest: Manifest, asked: str | None) -> None:
    named = cast(dict[str, Any], manifest)["metadata"].get("namespace")
    if asked and named and asked != named:
        raise Problem(f"The file names namespace {named!r}, but -n says {asked!r}; leave one out.", ExitCode.USAGE)


def draft_of(manifest: Manifest, namespace: str) -> Draft:
    metadata = cast(dict[str, Any], manifest)["metadata"]
    return Draft(metadata.get("namespace") or namespace, metadata["name"], manifest, specification_of(manifest))


async def look(connection: Connection, manifest: Manifest, asked_seconds: float | None, wanted: Wanted) -> PlanView:
    draft = draft_of(manifest, connection.namespace)
    findings = []
    refused = await refusal(connection.server, draft.manifest, draft.namespace)
    findings.append(problem("resource", refused) if refused else good("resource", "The API server would take it."))
    found = await survey(connection.cluster, draft.namespace, draft.name, draft.spec)
    findings += [*standing(found, draft.spec), *findings_of(found, draft.spec)]
    findings.append(await _room(connection, found, draft))
    traffic: Traffic | None = None
    scrape = 15.0
    now = time.time()
    try:
        async with reached(connection, draft.spec.analysis.provider, wanted) as metrics:
            scrape = metrics.scrape_interval_seconds
            watched = await watched_of(connection.cluster, draft.namespace, draft.spec)
            served = served_seconds(found.stable, draft.spec, now)
            traffic = await measure(metrics, watched, draft.spec, Stretch(now, served, asked_seconds))
    except (Problem, Forbidden, MetricsUnavailable) as error:
        findings.append(remark("traffic", f"It cannot be said how long the steps take. {sentence_of(error)}"))
    return view_of(draft, found, traffic, findings, (now, scrape))


def view_of(
    draft: Draft, found: Survey, traffic: Traffic | None, findings: list[Finding], timing: tuple[float, float]
) -> PlanView:
    """The whole plan from what was read. timing: (now in unix seconds, seconds between scrapes)."""
    (now, scrape_seconds), startup = timing, found.startup_seconds
    changes: list[Change] = []
    try:
        changes = changes_of(found.present, draft.manifest, draft.spec, draft.namespace)
    except Terminal as error:
        findings = [*findings, problem("canary", str(error))]
    steps: list[StepForecast] = []
    shown = preparing = None
    deployment = found.present.deployment
    if traffic is not None:
        replicas = stable_replicas(deployment) if deployment is not None else draft.spec.workload.replicas or 1
        pace = pace_of(draft.spec, replicas, startup, scrape_seconds)
        steps = forecast(draft.spec, traffic, pace, replicas)
        shown = traffic_view(draft.spec, traffic)
        state = judged_state(draft.spec, traffic)
        waited = history_wait_seconds(draft.spec, traffic, state, served_seconds(found.stable, draft.spec, now))
        preparing = preparing_seconds(startup, waited)
        findings = [*findings, _resolution(shown, waited)]
    bake = max(draft.spec.strategy.bake_time, draft.spec.strategy.steps[-1].min_duration)
    promoting = promoting_seconds(draft.spec, deployment, startup)
    known = [step.typical_seconds for step in steps if step.typical_seconds is not None]
    is_known = traffic is not None and len(known) == len(steps)
    total = (preparing or 0.0) + sum(known) + bake + promoting if is_known else None
    return PlanView(
        namespace=draft.namespace,
        name=draft.name,
        findings=findings,
        changes=changes,
        traffic=shown,
        steps=steps,
        preparing_seconds=preparing,
        bake_seconds=bake,
        promoting_seconds=promoting,
        typical_seconds=total,
    )


def _resolution(traffic: TrafficView, waited_seconds: float) -> Finding:
    bound, share = traffic.threshold_milliseconds, traffic.threshold_share
    if waited_seconds > 0:
        return remark(
            "latency",
            "Stable has served for too short a time to know its P99, and steps are forecast by errors alone; a release "
            f"waits up to {lasting(waited_seconds)} before its first step.",
        )
    if bound is None or share is None:
        return remark(
            "latency",
            "No bucket bound separates between 0.2 and 5 % of stable's requests (or there were too few), so that P99 "
            "cannot be compared; add buckets near stable's P99, or errors alone decide.",
        )
    return good("latency", f"P99 is compared by the bucket bound {bound:g} ms, which {share:.2%} exceed.")


async def _room(connection: Connection, found: Survey, draft: Draft) -> Finding:
    """Whether the pods of the largest step fit beside stable's."""
    if found.present.deployment is None:
        return remark("room", "Not looked at: stable does not exist yet.")
    spec, replicas = draft.spec, stable_replicas(found.present.deployment)
    needed = max(replicas_needed(spec.strategy, replicas, step.weight) for step in spec.strategy.steps)
    pod_spec = canary_pod_spec(found.present.deployment, found.present.service, spec)
    gpus = sum(amount for name, amount in asked_by(pod_spec).items() if name.endswith("/gpu"))
    what = f"{needed} more pod{'' if needed == 1 else 's'}" + (f" with {needed * gpus:g} GPUs" if gpus else "")
    try:
        nodes, pods = await asyncio.gather(_all(connection, "nodes"), _all(connection, "pods"))
    except Forbidden:
        return remark("room", f"At 100 % {what} must fit; you may not list nodes, so it is not known whether they fit.")
    room = fitting(pod_spec, nodes, [pod for pod in pods if not is_canary_pod(pod, draft.namespace, draft.name)])
    if room < needed:
        return problem(
            "room",
            f"At 100 % {what} must fit, but nodes have room for {room}; add nodes, or set strategy.canaryReplicas.",
        )
    return good(
        "room",
        f"Nodes have room for the {what} that 100 % needs, and for {room - needed} besides; quotas, affinity, and the "
        "surge when stable is replaced were not looked at.",
    )


def canary_pod_spec(deployment: Manifest, service: Manifest | None, spec: ModelReleaseSpec) -> Mapping[str, Any]:
    """What the canary's pods will be made from; stable's where no canary can be made, which is said elsewhere."""
    present = cast(dict[str, Any], deployment)
    try:
        canary = canary_deployment(deployment, service or {}, spec, release="x", revision="x", replicas=1)
    except Terminal:
        canary = present
    pod_spec: Mapping[str, Any] = cast(dict[str, Any], canary)["spec"]["template"]["spec"]
    return pod_spec


def is_canary_pod(pod: Manifest, namespace: str, name: str) -> bool:
    """Whether it serves this very release already: its room is not taken by somebody else."""
    metadata = cast(dict[str, Any], pod)["metadata"]
    return metadata.get("namespace") == namespace and (metadata.get("labels") or {}).get(RELEASE) == release_label(name)


async def _all(connection: Connection, plural: str) -> list[Manifest]:
    try:
        found: dict[str, Any] = await connection.server.send(Call("GET", f"/api/v1/{plural}", f"list {plural}"))
    except NotFoundError:
        return []
    return list(found.get("items") or [])


def render(view: PlanView) -> Iterable[RenderableType]:
    yield Text(f"{view.namespace}/{view.name}", style="bold")
    yield from render_findings(view.findings)
    if view.changes:
        yield Text()
        yield Text("Changes", style="bold")
        for change in view.changes:
            like = f", as {change.kind}/{change.like} but for" if change.like else ""
            yield Text(f"{change.verb} {change.kind}/{change.name}, {change.when}{like}")
            for line in change.diff:
                style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
                yield Text(f"  {line}", style=style)
    if view.traffic is not None:
        yield Text()
        yield from _render_steps(view, view.traffic)


def _render_steps(view: PlanView, traffic: TrafficView) -> Iterable[RenderableType]:
    yield Text(
        f"Measured for {traffic.minutes:g} min: {traffic.requests_per_second:,.1f} requests/s, errors "
        f"{ratio(traffic.error_rate)}, P99 {milliseconds(traffic.p99_milliseconds)}."
    )
    shown = table("STEP", "WEIGHT", "PODS", "TAKES", "9 OF 10 IN", "ERRORS IN", "P99 IN")
    for step in view.steps:
        shown.add_row(
            str(step.step),
            f"{step.weight} %",
            str(step.replicas),
            _time(step.typical_seconds, "> 8h"),
            _time(step.most_seconds, "> 8h"),
            _time(step.errors_seconds, "never"),
            _time(step.latency_seconds, "never"),
        )
    yield shown
    yield Text(
        "ERRORS IN, P99 IN: by then it is noticed, half of the time, that errors are one percentage point above what "
        "is tolerated, or P99 1.5 times what is tolerated."
    )
    total = _time(view.typical_seconds, "more than a working day")
    yield Text(
        f"In all {total}: {_time(view.preparing_seconds, '-')} until the first step, then the steps, "
        f"{lasting(view.bake_seconds)} at 100 %, and {lasting(view.promoting_seconds)} in which stable is replaced and "
        "the canary drains. Faster: analysis.harmBudget, errorRate.maxIncrease, latencyP99.maxRatio, or "
        "strategy.advance: Time."
    )


def _time(seconds: float | None, otherwise: str) -> str:
    return otherwise if seconds is None else lasting(seconds)
