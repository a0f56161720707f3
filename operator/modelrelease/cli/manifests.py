"""A ModelRelease in a file, before it is applied."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml

from modelrelease.adapters.cluster import ApiServer, Call, NotFoundError
from modelrelease.api.model import GROUP, KIND, PLURAL, VERSION
from modelrelease.api.spec import ModelReleaseSpec, parse_spec
from modelrelease.cli.connection import FIELD_MANAGER
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Problem
from modelrelease.errors import Forbidden, InvalidResource, ReleaseError
from modelrelease.ports import Manifest

File = Annotated[
    Path, typer.Option("--filename", "-f", metavar="FILE", help="Manifest of the ModelRelease; - is standard input.")
]
API_VERSION = f"{GROUP}/{VERSION}"


def read_manifest(path: Path) -> Manifest:
    """The only ModelRelease in a file of YAML or JSON. Raises Problem."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        documents = [one for one in yaml.safe_load_all(text) if one]
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}.", ExitCode.USAGE) from error
    except UnicodeDecodeError as error:
        raise Problem(f"{path} is not text in UTF-8.", ExitCode.USAGE) from error
    except yaml.YAMLError as error:
        raise Problem(f"{path} is not YAML: {' '.join(str(error).split())}", ExitCode.USAGE) from error
    found = [one for one in documents if isinstance(one, dict) and one.get("kind") == KIND]
    if len(found) != 1:
        raise Problem(f"{path} has {len(found)} ModelReleases; give a file with one.", ExitCode.USAGE)
    if found[0].get("apiVersion") != API_VERSION:
        said = found[0].get("apiVersion")
        raise Problem(f"{path} has apiVersion {said}, but this plugin knows {API_VERSION}.", ExitCode.WRONG_VERSION)
    if not (found[0].get("metadata") or {}).get("name"):
        raise Problem(f"{path} has no metadata.name; give the ModelRelease a name.", ExitCode.USAGE)
    return cast(Manifest, found[0])


def specification_of(manifest: Manifest) -> ModelReleaseSpec:
    """Raises Problem naming each wrong field."""
    try:
        return parse_spec(manifest.get("spec"))
    except InvalidResource as error:
        raise Problem(str(error), ExitCode.FINDINGS) from error


async def refusal(server: ApiServer, manifest: Manifest, namespace: str) -> str:
    """Why the API server would not take the manifest, in its words; empty where it would. Nothing is stored.

    Where the person may not apply it, that is what it says.
    """
    body = json.loads(json.dumps(manifest))
    metadata: dict[str, Any] = body["metadata"]
    metadata["namespace"] = namespace
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}/{metadata['name']}"
    query = {"dryRun": "All", "fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
    call = Call("PATCH", path, f"apply {metadata['name']}", query, body, "application/apply-patch+yaml")
    try:
        await server.send(call)
    except Forbidden:
        return f"You may not apply ModelReleases in namespace {namespace}; ask for the ClusterRole modelrelease-edit."
    except ReleaseError as error:  # unknown fields come as HTTP 500 from server-side apply
        return str(error).partition(": ")[2] or str(error)
    except NotFoundError:
        return f"Namespace {namespace!r} does not exist, or the cluster does not know ModelReleases."
    return ""
