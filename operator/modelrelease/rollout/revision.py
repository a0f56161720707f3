"""The identity of a release."""

from __future__ import annotations

import hashlib
import json

from modelrelease.api.spec import ModelReleaseSpec
from modelrelease.rollout.seen import Manifest


def digest_of(value: object, length: int = 10) -> str:
    """A short stable hash of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def template_digest(template: Manifest | None) -> str:
    """Hash of a pod template in creation mode; empty where the Deployment is the user's own."""
    return "" if template is None else digest_of(template)


def revision_of(spec: ModelReleaseSpec, retries: int) -> str:
    """Hash of what is released and of how often it was retried.

    Verdicts, conditions and history key on it: editing `paused` changes nothing, `retry` begins anew.
    """
    return digest_of(
        {
            "image": spec.image,
            "env": [[variable.name, variable.value] for variable in spec.env],
            "template": spec.workload.template,
            "retries": retries,
        }
    )
