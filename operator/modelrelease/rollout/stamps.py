"""What is stamped on the canary's Deployment: enough to put everything back where the ModelRelease has vanished.

Written with the Deployment itself, before any traffic and before stable is touched, so that it costs no write.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from typing import Any, cast

from pydantic import JsonValue

from modelrelease.api.status import HeldAutoscaler
from modelrelease.rollout.labels import AUTOSCALER, BEFORE, TEMPLATE
from modelrelease.rollout.running import without_nulls
from modelrelease.rollout.seen import Manifest

MOST_BYTES = 200_000
"""A larger template is not stamped: Kubernetes allows all annotations of an object 256 KiB together."""


@dataclass(frozen=True, slots=True)
class Before:
    """Stable as it was when the release began: what a promotion changes."""

    deployment: str
    container: str
    image: str
    env: JsonValue
    template: Manifest | None
    """The whole pod template in creation mode, where a promotion may change all of it."""
    mark: str
    """Hash of the template of creation mode; empty outside of it."""


def before_stamp(stable: Manifest, container: str, *, whole: bool) -> str:
    """What an interrupted promotion of `stable` is to be taken back to."""
    body = cast(dict[str, Any], stable)
    found = _container(body["spec"]["template"], container)
    before = Before(
        deployment=body["metadata"]["name"],
        container=container,
        image=found["image"],
        env=found.get("env"),
        template=body["spec"]["template"] if whole else None,
        mark=_mark(body),
    )
    text = json.dumps(asdict(before), sort_keys=True, separators=(",", ":"))
    return text if len(text.encode()) <= MOST_BYTES else ""


def stamp_on(canary: Manifest, name: str) -> str:
    """The stamp as it stands on the canary's Deployment; empty where there is none."""
    annotations = cast(dict[str, Any], canary)["metadata"].get("annotations") or {}
    return str(annotations.get(name, ""))


def stamped_before(canary: Manifest) -> Before | None:
    """None where there is no stamp, or somebody damaged it."""
    try:
        return Before(**json.loads(stamp_on(canary, BEFORE)))
    except (TypeError, ValueError):
        return None


def stamped_autoscaler(canary: Manifest) -> HeldAutoscaler | None:
    """None where no autoscaler is held, or somebody damaged the stamp."""
    try:
        return HeldAutoscaler.model_validate_json(stamp_on(canary, AUTOSCALER))
    except ValueError:
        return None


def taken_back(stable: Manifest, canary: Manifest, before: Before) -> Manifest | None:
    """Stable's Deployment as it was before its promotion to what the canary runs; None where it was not promoted.

    What somebody else has changed in it since stays.
    """
    changed = cast(dict[str, Any], copy.deepcopy(stable))
    if before.template is not None:
        if _mark(changed) == before.mark and not _has_new_image(changed, canary, before):
            return None
        changed["spec"]["template"] = before.template
        changed["metadata"].setdefault("annotations", {})[TEMPLATE] = before.mark
        return changed
    container = _container(changed["spec"]["template"], before.container)
    new = _container(cast(dict[str, Any], canary)["spec"]["template"], before.container)
    env, wanted = without_nulls(container.get("env")), without_nulls(before.env)
    has_new_env = env != wanted and env == without_nulls(new.get("env"))
    if not has_new_env and not _has_new_image(changed, canary, before):
        return None
    container["image"] = before.image
    if has_new_env:
        container["env"] = before.env or []
    return changed


def _has_new_image(stable: dict[str, Any], canary: Manifest, before: Before) -> bool:
    """Whether stable has the canary's image, by its reference or by the digest that its pods reported for it."""
    present = _container(stable["spec"]["template"], before.container).get("image", "")
    new = _container(cast(dict[str, Any], canary)["spec"]["template"], before.container).get("image", "")
    by_digest = "@sha256:" in present and _repository(present) == _repository(new)
    return bool(present != before.image and (present == new or by_digest))


def _repository(image: str) -> str:
    """The last part of the repository: registries are left out of a reference, or filled in, as one likes."""
    last: str = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[0]


def _container(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next((one for one in template["spec"]["containers"] if one["name"] == name), {})
    return found


def _mark(deployment: dict[str, Any]) -> str:
    return str((deployment["metadata"].get("annotations") or {}).get(TEMPLATE, ""))
