"""Which specification counts: the one that stands, or the one that a release began with."""

from __future__ import annotations

from typing import Any, cast

from modelrelease.api.spec import ModelReleaseSpec, parse_spec
from modelrelease.api.status import ReleaseStatus
from modelrelease.errors import InvalidResource
from modelrelease.ports import Manifest


def specification(release: Manifest, status: ReleaseStatus) -> tuple[ModelReleaseSpec, str]:
    """The specification to go by and, where the one that stands cannot be read, why.

    A release under way is judged, aborted and deleted by what it began with: bad traffic does not wait for a typing
    error to be mended. Raises InvalidResource between releases, where there is nothing to take back.
    """
    body = cast(dict[str, Any], release)
    try:
        return parse_spec(body.get("spec")), ""
    except InvalidResource as problem:
        began = status.snapshot.spec if status.snapshot is not None else None
        if began is None or (status.phase.is_at_rest and "deletionTimestamp" not in body["metadata"]):
            raise
        return began, str(problem)
