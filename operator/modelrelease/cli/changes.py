"""What a release would create and change, by the same pure functions that the operator uses."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml
from pydantic import Field

from modelrelease.adapters.istio import with_weight
from modelrelease.api.model import Model
from modelrelease.api.spec import EnvVar, ModelReleaseSpec
from modelrelease.ports import Manifest
from modelrelease.rollout.canary import (
    canary_deployment,
    canary_service,
    completed,
    route_reference,
    selected_keys,
    with_release,
)
from modelrelease.rollout.capacity import replicas_needed
from modelrelease.rollout.provision import created_stable, created_virtual_service
from modelrelease.rollout.revision import revision_of

_CONTEXT_LINES = 1
_NOISE = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
_BOOKKEEPING = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
_LINE_CHARACTERS = 76
"""Longer lines are cut: what is in them, notes of the operator to itself, nobody reads in a diff."""
_SEPARATOR = "  …"
"""Between pieces that do not follow each other."""
_UNKNOWN_UID = "00000000-0000-0000-0000-000000000000"


class Change(Model):
    """One object."""

    verb: str = Field(description="create or change.")
    when: str = Field(description="When in the release: at once, before the first traffic, with the first step, ….")
    kind: str = Field(description="Kind of the object.")
    name: str = Field(description="Its name.")
    like: str = Field(default="", description="The object of stable that a new one is compared with.")
    diff: list[str] = Field(description="Lines as `diff -u` shows them, with … between pieces.")


@dataclass(frozen=True, slots=True)
class Present:
    """What there is in the cluster; None where there is none."""

    release: Manifest | None = None
    deployment: Manifest | None = None
    service: Manifest | None = None
    virtual_service: Manifest | None = None
    autoscaler: Manifest | None = None
    lacks_policy: bool = False
    """Whether stable's host has a DestinationRule that the canary's host lacks."""
    dropped: Sequence[EnvVar] = ()
    """Variables that an earlier release brought, and that the specification does not name any more."""
    runs_already: bool = False
    """Whether stable runs what is asked for, so that nothing would begin."""
    is_partial: bool = False
    """Whether Deployment or Service may not be read, so that only the ModelRelease's own change can be said."""


def changes_of(present: Present, wanted: Manifest, spec: ModelReleaseSpec, namespace: str) -> list[Change]:
    """In the order in which they would be made. Raises Terminal where stable's selectors do not allow a canary."""
    found = list(_asked_for(present, wanted))
    if present.is_partial:
        return found
    if present.deployment is None or present.service is None:
        return found + list(_created(present, wanted, spec, namespace))
    if present.runs_already:
        return found
    return found + list(_canary(present, wanted, spec)) + list(_traffic(present, spec)) + list(_promoted(present, spec))


def _asked_for(present: Present, wanted: Manifest) -> Iterator[Change]:
    name = str(cast(dict[str, Any], wanted)["metadata"]["name"])
    before = {"spec": present.release["spec"]} if present.release is not None else None
    diff = _diff(before, {"spec": wanted["spec"]})
    if diff:
        verb = "create" if before is None else "change"
        yield Change(verb=verb, when="at once", kind="ModelRelease", name=name, diff=diff)


def _created(present: Present, wanted: Manifest, spec: ModelReleaseSpec, namespace: str) -> Iterator[Change]:
    """Creation mode; without it there is nothing to release from, which a finding says."""
    if spec.workload.template is None:
        return
    release = str(cast(dict[str, Any], wanted)["metadata"]["name"])
    deployment, service = created_stable(spec, namespace, release)
    made: list[tuple[Manifest | None, Manifest]] = [(present.deployment, deployment), (present.service, service)]
    if spec.traffic.hosts:
        made.append((present.virtual_service, created_virtual_service(spec, namespace)))
    for there, body in made:
        if there is None:
            yield _new("at once", body, None)


def _canary(present: Present, wanted: Manifest, spec: ModelReleaseSpec) -> Iterator[Change]:
    stable, service = cast(Manifest, present.deployment), cast(Manifest, present.service)
    when = "before the first traffic"
    replicas = replicas_needed(spec.strategy, stable_replicas(stable), spec.strategy.steps[0].weight)
    release = str(cast(dict[str, Any], wanted)["metadata"]["name"])
    canary = canary_deployment(
        stable,
        service,
        spec,
        release=release,
        revision=revision_of(spec, 0),
        replicas=replicas,
        dropped=present.dropped,
    )
    yield _new(when, canary, stable)
    cast(dict[str, Any], canary)["metadata"]["uid"] = _UNKNOWN_UID
    yield _new(when, canary_service(service, canary), service)
    if present.lacks_policy:
        host = route_reference(spec).canary_host
        diff = ["+ the traffic policy that stable's host has"]
        yield Change(verb="create", when=when, kind="DestinationRule", name=host, diff=diff)
    if present.autoscaler is not None and spec.strategy.hold_autoscaler:
        after = cast(dict[str, Any], copy.deepcopy(present.autoscaler))
        least = after["spec"].get("minReplicas", 1)
        after["spec"]["minReplicas"] = max(stable_replicas(stable), least)
        if after != present.autoscaler:
            yield _changed("until the release is over", present.autoscaler, after)


def _traffic(present: Present, spec: ModelReleaseSpec) -> Iterator[Change]:
    if present.virtual_service is None:
        return
    weight = spec.strategy.steps[0].weight
    after = with_weight(present.virtual_service, route_reference(spec), weight)
    yield _changed(f"with the first step ({weight} %)", present.virtual_service, after)


def _promoted(present: Present, spec: ModelReleaseSpec) -> Iterator[Change]:
    before = cast(Manifest, present.deployment)
    after = cast(dict[str, Any], copy.deepcopy(before))
    template, wanted = after["spec"]["template"], spec.workload.template
    keys = selected_keys(before, present.service or {})
    base = template if wanted is None else completed(wanted, template, keys)
    after["spec"]["template"] = with_release(base, spec, spec.image, present.dropped)
    yield _changed("at promotion, after the bake", before, after)


def stable_replicas(deployment: Manifest) -> int:
    replicas = cast(dict[str, Any], deployment)["spec"].get("replicas", 1)
    return int(replicas)


def _new(when: str, body: Manifest, like: Manifest | None) -> Change:
    named = cast(dict[str, Any], body)
    diff = _diff(like, body)
    stable = "" if like is None else str(cast(dict[str, Any], like)["metadata"]["name"])
    return Change(verb="create", when=when, kind=named["kind"], name=named["metadata"]["name"], like=stable, diff=diff)


def _changed(when: str, before: Manifest, after: Any) -> Change:
    named = cast(dict[str, Any], before)
    diff = _diff(before, after)
    return Change(verb="change", when=when, kind=named["kind"], name=named["metadata"]["name"], diff=diff)


def _diff(before: Any, after: Any) -> list[str]:
    old, new = _lines(before), _lines(after)
    found = [
        _SEPARATOR if line.startswith("@@") else line
        for line in difflib.unified_diff(old, new, n=_CONTEXT_LINES, lineterm="")
        if not line.startswith(("---", "+++"))
    ]
    return [
        line if len(line) <= _LINE_CHARACTERS else f"{line[: _LINE_CHARACTERS - 1]}…"
        for line in found[1:]  # nothing stands before the first of the pieces
    ]


def _lines(body: Any) -> list[str]:
    """An object as YAML, without what the API server adds."""
    if body is None:
        return []
    shown = cast(dict[str, Any], copy.deepcopy(body))
    shown.pop("status", None)
    for name in _NOISE:
        (shown.get("metadata") or {}).pop(name, None)
    annotations = (shown.get("metadata") or {}).get("annotations") or {}
    for name in _BOOKKEEPING:
        annotations.pop(name, None)
    for owner in (shown.get("metadata") or {}).get("ownerReferences") or []:
        owner.pop("uid", None)
    return yaml.safe_dump(shown, sort_keys=True, allow_unicode=True, width=1000).splitlines()
