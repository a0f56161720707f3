"""Looks at a made-up world for tables of decisions: a release in its third step with all well, and what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, cast

from modelrelease.api.annotations import read_requests
from modelrelease.api.snapshot import snapshot_of
from modelrelease.api.spec import ModelReleaseSpec, parse_spec
from modelrelease.api.status import ArmStatus, Phase, ReleaseStatus
from modelrelease.judge import Assessment, MetricAssessment, begin
from modelrelease.rollout.analysis import judge_settings
from modelrelease.rollout.canary import canary_deployment
from modelrelease.rollout.revision import revision_of
from modelrelease.rollout.seen import AnalysisSeen, DeploymentSeen, MetricsHealth, RouteSeen, Seen
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, STABLE_IMAGE, deployment, release, service

NOW = 1_800_000_000.0


def spec_of(image: str = NEW_IMAGE, **changes: Any) -> ModelReleaseSpec:
    body = cast(dict[str, Any], release(image))["spec"]
    for field, value in changes.items():
        body[field] = {**body[field], **value} if isinstance(body.get(field), dict) else value
    return parse_spec(body)


def status_of(spec: ModelReleaseSpec, phase: Phase = Phase.PROGRESSING, **changes: Any) -> ReleaseStatus:
    """Step 3 of 5 at 20 %, begun a minute ago; at rest where `phase` is."""
    under_way: dict[str, Any] = (
        {} if phase.is_at_rest else {"step": 3, "steps": 5, "weight": 20, "confirmed_weight": 20}
    )
    return ReleaseStatus(
        phase=phase,
        observed_generation=1,
        revision=revision_of(spec, changes.get("retries", 0)),
        snapshot=snapshot_of(spec, changes.get("retries", 0)),
        stable=ArmStatus(image=STABLE_IMAGE),
        canary=ArmStatus(image=spec.image),
        started_at=NOW - 100,
        phase_started_at=NOW - 60,
        step_started_at=NOW - 60,
        ever_weighted=True,
    ).model_copy(update={**under_way, **changes})


def stable_seen(**changes: Any) -> DeploymentSeen:
    """Ten pods of the old version, all well."""
    found = DeploymentSeen(
        name=NAME,
        uid="uid-stable",
        resource_version="1",
        replicas=10,
        ready=10,
        available=10,
        is_rolled_out=True,
        image=STABLE_IMAGE,
        env=(),
        digest="",
        digests=(),
        pods_changed_at_seconds=NOW - 3600,
        pod_changes_seconds=(NOW - 3600,),
        serving_since_seconds=NOW - 3600,
        asked_to_go_seconds=(),
        created_seconds=(NOW - 3600,),
        has_crashed=False,
        crash_loop=False,
        restarts=0,
        trouble=None,
        revision="",
        verdict="",
        gitops_owner="",
        manifest=deployment(10),
    )
    return replace(found, **changes)


def canary_seen(spec: ModelReleaseSpec, **changes: Any) -> DeploymentSeen:
    """Two pods of the new version: what 20 % of ten need."""
    revision = revision_of(spec, 0)
    found = replace(
        stable_seen(),
        name=f"{NAME}-canary",
        uid="uid-canary",
        replicas=2,
        ready=2,
        available=2,
        image=spec.image,
        env=tuple((variable.name, variable.value) for variable in spec.env),
        revision=revision,
        manifest=canary_deployment(deployment(10), service(), spec, release=NAME, revision=revision, replicas=2),
    )
    return replace(found, **changes)


def route_seen(weight: int, **changes: Any) -> RouteSeen:
    found = RouteSeen(
        resource_version="1",
        weight_percent=weight,
        has_canary=weight > 0,
        is_consistent=True,
        is_alike=True,
        problem=None,
        is_ours=True,
        manifest={},
    )
    return replace(found, **changes)


def metric(name: Literal["errors", "latency"] = "errors", *, resolvable: bool = True) -> MetricAssessment:
    return MetricAssessment(
        name=name,
        rollback_evidence=0.1,
        promotion_evidence=0.5,
        stable_value=0.001,
        canary_value=0.002,
        stable_p99_ms=40.0,
        canary_p99_ms=41.0,
        threshold_ms=None,
        requests_stable=9000,
        requests_canary=1000,
        resolvable=resolvable,
    )


def analysis_seen(
    spec: ModelReleaseSpec,
    *,
    health: MetricsHealth = MetricsHealth.FRESH,
    gate: bool = False,
    blame: Any = None,
    requests: int = 1000,
    resolvable: bool = True,
) -> AnalysisSeen:
    settings = judge_settings(spec.strategy, spec.analysis)
    return AnalysisSeen(
        health=health,
        message="Metrics are fresh." if health is MetricsHealth.FRESH else "No samples.",
        assessment=Assessment(
            rollback=blame is not None,
            blame=blame,
            gate_passed=gate,
            metrics=(metric(), metric("latency", resolvable=resolvable)),
        ),
        state=begin(settings, at_seconds=NOW - 10, baseline=()),
        requests_in_step=requests,
    )


def seen_of(
    phase: Phase = Phase.PROGRESSING, *, spec: ModelReleaseSpec | None = None, status: Any = None, **changes: Any
) -> Seen:
    """A look in `phase`. `status` changes single fields of it; `annotations` and `gitops` are set on the object."""
    asked = spec or spec_of()
    now = status_of(asked, phase, **(status or {}))
    annotations: dict[str, str] = changes.pop("annotations", {})
    at_rest = phase.is_at_rest
    found = Seen(
        is_glance=False,
        namespace=NAMESPACE,
        name=NAME,
        uid="uid-release",
        generation=1,
        is_deleting=False,
        has_finalizer=not at_rest,
        spec=asked,
        spec_problem="",
        status=now,
        requests=read_requests({f"modelrelease.dev/{key}": value for key, value in annotations.items()}),
        gitops_requests=(),
        unknown_annotations=(),
        stable=stable_seen(),
        canary=None if at_rest else canary_seen(asked),
        stable_service=service(),
        canary_service=None if at_rest else service(),
        policy_missing=False,
        route=route_seen(now.weight),
        route_problem=None,
        autoscaler=None,
        analysis=None if at_rest else analysis_seen(asked),
        canary_taken=False,
        conflict="",
        uncovered_policies=(),
        metrics_problem=None,
    )
    return replace(found, **changes)
