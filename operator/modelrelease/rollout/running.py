"""What a Deployment runs, compared with what is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from pydantic import JsonValue

from modelrelease.api.spec import EnvVar, ModelReleaseSpec
from modelrelease.api.status import ReleaseStatus
from modelrelease.rollout.labels import TEMPLATE
from modelrelease.rollout.revision import digest_of, revision_of, template_digest
from modelrelease.rollout.seen import DeploymentSeen, Manifest, Seen


def has_env(deployment: DeploymentSeen, wanted: Iterable[EnvVar]) -> bool:
    """Whether each variable that a release brings is set as it asks for; others do not matter."""
    present = dict(deployment.env)
    return all(present.get(variable.name) == variable.value for variable in wanted)


def leftovers(spec: ModelReleaseSpec, deployment: DeploymentSeen, released: Iterable[EnvVar]) -> list[EnvVar]:
    """Variables that an earlier release brought, that the specification does not name any more, and that are still as
    they were brought. One that somebody has set to something else since is theirs."""
    present = dict(deployment.env)
    wanted = {variable.name for variable in spec.env} | _declared(spec)
    return [one for one in released if one.name not in wanted and present.get(one.name) == one.value]


def _declared(spec: ModelReleaseSpec) -> set[str]:
    """Names of variables that the template of creation mode has itself."""
    template: Any = spec.workload.template or {}
    containers = (template.get("spec") or {}).get("containers") or []
    return {variable["name"] for container in containers for variable in container.get("env") or []}


def template_of(deployment: DeploymentSeen) -> Manifest:
    """Its pod template."""
    spec: Any = deployment.manifest["spec"]
    return cast(Manifest, spec["template"])


def without_nulls(value: JsonValue) -> JsonValue:
    """A JSON value for comparison: API servers write absent fields as null, or not, as they like."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def mark_of(deployment: DeploymentSeen) -> str:
    """Hash of its pod template, by which an edit is noticed."""
    return digest_of(without_nulls(template_of(deployment)))


def template_mark(deployment: DeploymentSeen) -> str:
    """Digest of the template of creation mode that the Deployment was given; empty where it was given none."""
    metadata: Any = deployment.manifest["metadata"]
    return str((metadata.get("annotations") or {}).get(TEMPLATE, ""))


def image_promoted(status: ReleaseStatus) -> str:
    """What the release under way gives stable, by digest where one is known. It becomes `status.promoted_image` once it
    is through: until then a promotion may be taken back, and stable runs what was promoted before."""
    return status.canary.digest or status.canary.image


def runs(spec: ModelReleaseSpec, status: ReleaseStatus, stable: DeploymentSeen) -> bool:
    """Whether stable's Deployment is what the specification asks for, by tag or by the digest promoted for it."""
    by_promotion = spec.image == status.released_image and stable.image == status.promoted_image
    if stable.image != spec.image and not by_promotion:
        return False
    return _has_rest(spec, status, stable)


def _has_rest(spec: ModelReleaseSpec, status: ReleaseStatus, stable: DeploymentSeen) -> bool:
    """Whether stable has what a release may bring beside the image: environment, and template in creation mode."""
    if not has_env(stable, spec.env) or leftovers(spec, stable, status.released_env):
        return False
    return spec.workload.template is None or template_mark(stable) == template_digest(spec.workload.template)


def is_as_released(seen: Seen) -> bool:
    """Whether the specification still asks for the release that is under way."""
    return revision_of(seen.spec, seen.status.retries) == seen.status.revision


def was_given_release(seen: Seen) -> bool:
    """Whether stable's Deployment has all that is being released: the image, and environment and template, unless the
    specification was edited since, which begins the next release."""
    stable, status = seen.stable, seen.status
    if stable is None or stable.image != image_promoted(status):
        return False
    return not is_as_released(seen) or _has_rest(seen.spec, status, stable)


def runs_release(seen: Seen) -> bool:
    """Whether all of stable's pods are of what is being released."""
    return was_given_release(seen) and seen.stable is not None and seen.stable.is_rolled_out
