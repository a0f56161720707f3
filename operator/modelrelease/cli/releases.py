"""ModelReleases as the commands read them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from modelrelease.api.spec import ModelReleaseSpec, parse_spec
from modelrelease.api.status import ReleaseStatus, parse_status
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Missing, Problem
from modelrelease.errors import InvalidResource
from modelrelease.ports import Cluster, Kind, Manifest


@dataclass(frozen=True, slots=True)
class Release:
    """One ModelRelease: what is asked for and what is there."""

    namespace: str
    name: str
    uid: str
    generation: int
    annotations: dict[str, str]
    spec: ModelReleaseSpec
    status: ReleaseStatus
    manifest: Manifest

    @property
    def is_observed(self) -> bool:
        """Whether the status answers the specification as it is now."""
        return self.status.observed_generation >= self.generation


async def read_release(cluster: Cluster, namespace: str, name: str) -> Release:
    """Raises Missing naming what was probably meant."""
    manifest = await cluster.get(Kind.MODEL_RELEASE, namespace, name)
    if manifest is not None:
        return release_of(manifest)
    names = await list_names(cluster, namespace)
    close = difflib.get_close_matches(name, names, n=1)
    known = f"did you mean {close[0]}?" if close else f"there are: {', '.join(names[:10])}." if names else ""
    remedy = known or "there is none at all; look into another namespace with -n."
    raise Missing(f"There is no ModelRelease {name!r} in namespace {namespace!r}; {remedy}")


@dataclass(frozen=True, slots=True)
class Listing:
    """All of a namespace, or of all, by name. One that this plugin cannot read hides none of the others."""

    releases: tuple[Release, ...]
    unreadable: tuple[tuple[str, str], ...]
    """Name, with the namespace where all were asked for, and the sentence that says why."""


async def list_releases(cluster: Cluster, namespace: str | None) -> Listing:
    """All of a namespace, or of all namespaces."""
    releases, unreadable = [], []
    for manifest in sorted(await cluster.list(Kind.MODEL_RELEASE, namespace), key=_identity):
        try:
            releases.append(release_of(manifest))
        except (Problem, InvalidResource) as error:
            unreadable.append((_name(manifest) if namespace else "/".join(_identity(manifest)), str(error)))
    return Listing(tuple(releases), tuple(unreadable))


async def list_names(cluster: Cluster, namespace: str) -> list[str]:
    """Names of all of a namespace, also of those that cannot be read."""
    return sorted(_name(manifest) for manifest in await cluster.list(Kind.MODEL_RELEASE, namespace))


def _identity(manifest: Manifest) -> tuple[str, str]:
    return str(cast(dict[str, Any], manifest)["metadata"].get("namespace", "")), _name(manifest)


def _name(manifest: Manifest) -> str:
    return str(cast(dict[str, Any], manifest)["metadata"]["name"])


def release_of(manifest: Manifest) -> Release:
    """Raises Problem where another version of the operator wrote the status, InvalidResource for the specification."""
    body = cast(dict[str, Any], manifest)
    metadata = body["metadata"]
    status = status_of(manifest)
    return Release(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        annotations=dict(metadata.get("annotations") or {}),
        spec=parse_spec(body.get("spec")),
        status=status,
        manifest=manifest,
    )


def status_of(manifest: Manifest) -> ReleaseStatus:
    """Raises Problem where another version of the operator wrote it."""
    body = cast(dict[str, Any], manifest)
    try:
        return parse_status(body.get("status"))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, detail["loc"])) for detail in error.errors(include_url=False))
        raise Problem(
            f"The status of {body['metadata']['name']} was written by another version of the operator (this plugin "
            f"cannot read {fields}); install the plugin of that version.",
            ExitCode.WRONG_VERSION,
        ) from error
