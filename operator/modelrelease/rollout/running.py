"""What a Deployment runs, compared with what is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelrelease.api.spec import EnvVar, ModelReleaseSpec
from modelrelease.api.status import ReleaseStatus
from modelrelease.rollout.labels import TEMPLATE
from modelrelease.rollout.revision import template_digest
from modelrelease.rollout.seen import DeploymentSeen


def has_env(deployment: DeploymentSeen, wanted: Iterable[EnvVar]) -> bool:
    """Whether each variable that a release brings is set as it asks for; others do not matter."""
    present = dict(deployment.env)
    return all(present.get(variable.name) == variable.value for variable in wanted)


def template_mark(deployment: DeploymentSeen) -> str:
    """Digest of the template of creation mode that the Deployment was given; empty where it was given none."""
    metadata: Any = deployment.manifest["metadata"]
    return str((metadata.get("annotations") or {}).get(TEMPLATE, ""))


def runs(spec: ModelReleaseSpec, status: ReleaseStatus, stable: DeploymentSeen) -> bool:
    """Whether stable's Deployment is what the specification asks for, by tag or by the digest promoted for it."""
    by_promotion = spec.image == status.released_image and stable.image == status.promoted_image
    if stable.image != spec.image and not by_promotion:
        return False
    if not has_env(stable, spec.env):
        return False
    return spec.workload.template is None or template_mark(stable) == template_digest(spec.workload.template)
