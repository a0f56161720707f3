"""What a Deployment runs, compared with what is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modelrelease.api.spec import EnvVar
from modelrelease.rollout.labels import TEMPLATE
from modelrelease.rollout.seen import DeploymentSeen


def has_env(deployment: DeploymentSeen, wanted: Iterable[EnvVar]) -> bool:
    """Whether each variable that a release brings is set as it asks for; others do not matter."""
    present = dict(deployment.env)
    return all(present.get(variable.name) == variable.value for variable in wanted)


def template_mark(deployment: DeploymentSeen) -> str:
    """Digest of the template of creation mode that the Deployment was given; empty where it was given none."""
    metadata: Any = deployment.manifest["metadata"]
    return str((metadata.get("annotations") or {}).get(TEMPLATE, ""))
