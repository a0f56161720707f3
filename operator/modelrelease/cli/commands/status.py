"""`status`: what a release is doing and why, at a glance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Annotated, Any, cast

import typer
from pydantic import Field
from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from modelrelease.api.images import image_tag
from modelrelease.api.model import Model
from modelrelease.api.status import ArmStatus, ConditionStatus, ConditionType, MetricStatus, Phase, ReleaseStatus, Time
from modelrelease.cli.connection import Target, run_connected
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.options import command
from modelrelease.cli.printing import (
    Output,
    ago,
    bar,
    emit,
    milliseconds,
    phase_text,
    ratio,
    table,
)
from modelrelease.cli.problems import Missing, Problem, sentence_of
from modelrelease.cli.releases import Release, list_releases, read_release
from modelrelease.controller.workload import deployment_seen
from modelrelease.errors import ReleaseError
from modelrelease.ports import Cluster, Kind, Manifest
from modelrelease.rollout.canary import route_reference

GOOD_WHEN_FALSE = (ConditionType.STALLED, ConditionType.PAUSED, ConditionType.ROLLED_BACK)


class PodView(Model):
    """One pod."""

    name: str = Field(description="Name of the pod.")
    ready: bool = Field(description="Whether it is ready.")
    restarts: int = Field(default=0, description="How often its containers were restarted.")
    trouble: str = Field(default="", description="Why it is not ready, in the words of the kubelet or the scheduler.")


class ArmView(Model):
    """One of the two versions."""

    tag: str = Field(description="Tag, or shortened digest, of its image.")
    image: str = Field(description="Its image in full.")
    deployment: str = Field(description="Name of its Deployment; empty where there is none.")
    replicas: int = Field(description="Pods that are asked for.")
    ready_replicas: int = Field(description="Pods that are ready.")
    pods: list[PodView] = Field(default_factory=list, description="Its pods.")


class StatusView(Model):
    """One release, as `status` shows it."""

    namespace: str = Field(description="Namespace of the ModelRelease.")
    name: str = Field(description="Name of the ModelRelease.")
    tag: str = Field(description="Tag, or shortened digest, of the image to release.")
    phase: Phase = Field(description="Where the release is.")
    revision: str = Field(description="Identity of the release.")
    message: str = Field(description="What it does or waits for, in a sentence with figures.")
    step: int = Field(description="Number of the current step, from 1; 0 outside of steps.")
    steps: int = Field(description="Number of steps.")
    weight: int = Field(description="Share of the traffic, in per cent, meant for the canary.")
    started_at: Time | None = Field(description="When the release began.")
    step_started_at: Time | None = Field(description="When the step began.")
    next_step_estimate: str = Field(description="Estimated time to the next step.")
    virtual_service: str = Field(description="VirtualService and, where it is named, the route that is split.")
    stable: ArmView = Field(description="The version that serves.")
    canary: ArmView | None = Field(description="The version that is being released; null outside of a release.")
    metrics: list[MetricStatus] = Field(description="What is compared, with the evidence for either decision.")
    warnings: list[str] = Field(description="What a person should know: conditions that are not as they should be.")


class UnreadableView(Model):
    """A release that cannot be shown."""

    name: str = Field(description="Name of the ModelRelease.")
    why: str = Field(description="What it is that cannot be read, and the remedy.")


class StatusList(Model):
    """All releases of a namespace, or of all."""

    items: list[StatusView] = Field(description="One entry per ModelRelease, by name.")
    unreadable: list[UnreadableView] = Field(
        default_factory=list, description="ModelReleases that this version of the plugin cannot read, by name."
    )


@command
def status(
    target: Target,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the ModelRelease. Default: all.")] = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Releases of all namespaces.")] = False,
    output: Output = Output.TABLE,
) -> None:
    """Show what a release is doing, why, and what it waits for.

    Pods, route, and the evidence for going on and for going back.
    """
    now = time.time()
    if all_namespaces and (name or target.namespace):
        raise Problem("Give --all-namespaces, or a name and -n; not both.", ExitCode.USAGE)
    if name is None:
        every = run_connected(
            target, lambda opened: look_at_all(opened.cluster, None if all_namespaces else opened.namespace)
        )
        emit(every, output, lambda view: render_all(view, now, is_wide=all_namespaces))
    else:
        one = run_connected(target, lambda opened: look(opened.cluster, opened.namespace, name))
        emit(one, output, lambda view: render(view, now))


async def look_at_all(cluster: Cluster, namespace: str | None) -> StatusList:
    """namespace: None is all of them."""
    found = await list_releases(cluster, namespace)
    if not (found.releases or found.unreadable):
        where = "any namespace" if namespace is None else f"namespace {namespace!r}"
        remedy = "apply" if namespace is None else "look into all with --all-namespaces, or apply"
        raise Missing(f"There is no ModelRelease in {where}; {remedy} one of examples/.")
    return StatusList(
        items=[view_of(release, [], []) for release in found.releases],
        unreadable=[UnreadableView(name=name, why=why) for name, why in found.unreadable],
    )


async def look(cluster: Cluster, namespace: str, name: str) -> StatusView:
    release = await read_release(cluster, namespace, name)
    try:
        stable, canary = await asyncio.gather(
            _pods(cluster, release, release.status.stable.deployment or release.spec.workload.deployment),
            _pods(cluster, release, release.status.canary.deployment),
        )
    except ReleaseError as error:  # the rest of the answer is of use all the same
        view = view_of(release, [], [])
        unseen = f"Pods are not shown. {sentence_of(error)}"
        return view.model_copy(update={"warnings": [*view.warnings, unseen]})
    return view_of(release, stable, canary)


def view_of(release: Release, stable: list[PodView], canary: list[PodView]) -> StatusView:
    """All that is shown, from what was read."""
    seen = release.status
    reference = route_reference(release.spec)
    under_way = not seen.phase.is_at_rest
    return StatusView(
        namespace=release.namespace,
        name=release.name,
        tag=image_tag(release.spec.image),
        phase=seen.phase,
        revision=seen.revision,
        message=seen.message or "The operator has not looked at it yet.",
        step=seen.step,
        steps=seen.steps,
        weight=seen.weight,
        started_at=seen.started_at,
        step_started_at=seen.step_started_at if under_way else None,
        next_step_estimate=seen.analysis.next_step_estimate if under_way else "",
        virtual_service="/".join(part for part in (reference.virtual_service, reference.route) if part),
        stable=_arm(seen.stable, _stable_tag(seen), stable),
        canary=_arm(seen.canary, image_tag(seen.canary.image), canary) if under_way else None,
        metrics=seen.analysis.metrics if seen.step else [],
        warnings=_warnings(release),
    )


def _stable_tag(seen: ReleaseStatus) -> str:
    promoted = seen.stable.image == seen.promoted_image and seen.released_image
    return image_tag(seen.released_image if promoted else seen.stable.image)


def _arm(arm: ArmStatus, tag: str, pods: list[PodView]) -> ArmView:
    return ArmView(
        tag=tag,
        image=arm.image,
        deployment=arm.deployment,
        replicas=arm.replicas,
        ready_replicas=arm.ready_replicas,
        pods=pods,
    )


def _warnings(release: Release) -> list[str]:
    """What is not as it should be, unless the message says it already."""
    found = []
    if not release.is_observed:
        found.append("The operator has not answered the last change of the specification yet.")
    for condition in release.status.conditions:
        wanted = ConditionStatus.FALSE if condition.type in GOOD_WHEN_FALSE else ConditionStatus.TRUE
        silent = condition.type not in (*GOOD_WHEN_FALSE, ConditionType.ANALYSIS_HEALTHY)
        if silent or condition.status in (wanted, ConditionStatus.UNKNOWN):
            skipped = condition.reason == "LatencyUnresolvable"
            if not skipped:
                continue
        if condition.message and condition.message not in release.status.message:
            found.append(f"{condition.type}: {condition.message}")
    return found


async def _pods(cluster: Cluster, release: Release, deployment: str) -> list[PodView]:
    """Pods of one arm."""
    manifest = await cluster.get(Kind.DEPLOYMENT, release.namespace, deployment) if deployment else None
    if manifest is None:
        return []
    selector = cast(dict[str, Any], manifest)["spec"]["selector"].get("matchLabels") or {}
    pods = await cluster.list(Kind.POD, release.namespace, selector) if selector else []
    return [_pod(manifest, pod, release) for pod in pods]


def _pod(deployment: Manifest, pod: Manifest, release: Release) -> PodView:
    seen = deployment_seen(deployment, [pod], release.spec.workload.container)
    trouble = f"{seen.trouble.reason}: {seen.trouble.message}".rstrip(": ") if seen.trouble is not None else ""
    is_ready = seen.serving_since_seconds is not None
    name = str(cast(dict[str, Any], pod)["metadata"]["name"])
    return PodView(name=name, ready=is_ready, restarts=seen.restarts, trouble="" if is_ready else trouble)


def render_all(view: StatusList, now: float, *, is_wide: bool) -> Iterable[RenderableType]:
    """is_wide: of all namespaces, so that each name comes with its own, also where all are in one."""
    shown = table("NAME", "IMAGE", "PHASE", "STEP", "WEIGHT", "BEGAN", right=("WEIGHT",))
    for one in view.items:
        name = f"{one.namespace}/{one.name}" if is_wide else one.name
        step = f"{one.step}/{one.steps}" if one.step else ""
        began = "" if one.started_at is None else f"{ago(one.started_at, now)} ago"
        shown.add_row(name, one.tag, phase_text(one.phase), step, f"{one.weight} %", began)
    yield shown
    for other in view.unreadable:
        yield Text(f"! {other.name}: {other.why}", style="yellow")


def render(view: StatusView, now: float) -> Iterable[RenderableType]:
    """Tree, evidence, and the sentence that says what it waits for."""
    yield _tree(view, now)
    if view.metrics:
        yield Text()
        yield _evidence(view.metrics)
    yield Text()
    yield Text(view.message)
    for warning in view.warnings:
        yield Text(f"! {warning}", style="yellow")


def _tree(view: StatusView, now: float) -> Tree:
    head = Text.assemble((f"{view.namespace}/{view.name}", "bold"), "  ", phase_text(view.phase))
    if view.step:
        head.append(f"  step {view.step}/{view.steps}")
    shown = Tree(head, guide_style="dim")
    if view.canary is not None:
        started = f"began {ago(view.started_at, now)} ago, revision {view.revision}"
        shown.add(Text(f"release  {view.tag}, {started}"))
    _add_arm(shown, "stable ", view.stable)
    if view.canary is not None:
        _add_arm(shown, "canary ", view.canary)
    shown.add(Text(f"route    {view.virtual_service}: stable {100 - view.weight} %, canary {view.weight} %"))
    return shown


def _add_arm(shown: Tree, label: str, arm: ArmView) -> None:
    if not arm.image:
        shown.add(Text(f"{label}  -"))
        return
    branch = shown.add(Text(f"{label}  {arm.tag}, {arm.ready_replicas} of {arm.replicas} pods ready"))
    for pod in arm.pods:
        text = Text.assemble((("✓" if pod.ready else "✗"), "green" if pod.ready else "red"), f" {pod.name}")
        if pod.restarts:
            text.append(f", {pod.restarts} restarts")
        if pod.trouble:
            text.append(f": {pod.trouble}", style="red")
        branch.add(text)


def _evidence(metrics: list[MetricStatus]) -> RenderableType:
    right = ("STABLE", "CANARY", "REQUESTS")
    shown = table("METRIC", *right, "FOR PROMOTION", "FOR ROLLBACK", right=right)
    for metric in metrics:
        is_latency = metric.name.startswith("latency")
        written = milliseconds if is_latency else ratio
        shown.add_row(
            "P99" if is_latency else "errors",
            written(metric.stable),
            written(metric.canary),
            f"{metric.canary_requests:,}",
            bar(metric.promotion_evidence, 10, "green"),
            bar(metric.rollback_evidence, 10, "red"),
        )
    return shown
