"""A ModelRelease in a file, before it is applied."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer
import yaml

from modelrelease.adapters.cluster import ApiServer, Call, NotFoundError
from modelrelease.api.model import GROUP, KIND, PLURAL, VERSION
from modelrelease.api.schema import structural
from modelrelease.api.spec import ModelReleaseSpec, parse_spec
from modelrelease.cli.connection import FIELD_MANAGER, require_served
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Problem, refusal_of
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
        documents = [plain for one in yaml.load_all(text, _Loader) for plain in _unwrapped(_as_json(one))]
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}.", ExitCode.USAGE) from error
    except UnicodeDecodeError as error:
        raise Problem(f"{path} is not text in UTF-8.", ExitCode.USAGE) from error
    except RecursionError as error:
        raise Problem(f"{path} is nested too deeply to be read.", ExitCode.USAGE) from error
    except yaml.YAMLError as error:
        raise Problem(f"{path} is not YAML: {' '.join(str(error).split())}", ExitCode.USAGE) from error
    except (ValueError, TypeError) as error:
        raise Problem(f"{path} holds what JSON cannot: {error}.", ExitCode.USAGE) from error
    found = [one for one in documents if isinstance(one, dict) and one.get("kind") == KIND]
    if len(found) != 1:
        raise Problem(f"{path} has {len(found)} ModelReleases; give a file with one.", ExitCode.USAGE)
    if found[0].get("apiVersion") != API_VERSION:
        said = found[0].get("apiVersion")
        raise Problem(f"{path} has apiVersion {said}, but this plugin knows {API_VERSION}.", ExitCode.WRONG_VERSION)
    metadata = found[0].get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        raise Problem(f"{path} has no metadata.name; give the ModelRelease a name.", ExitCode.USAGE)
    for field in ("name", "namespace"):
        if not isinstance(metadata.get(field) or "", str):
            raise Problem(f"{path}: metadata.{field} is no text; put {metadata[field]} in quotes.", ExitCode.USAGE)
    return cast(Manifest, found[0])


class _Loader(yaml.SafeLoader):
    """Reads as kubectl does: YAML into JSON, which has no dates; 2024-01-01 is text."""


_Loader.yaml_implicit_resolvers = {
    first: [one for one in found if one[0] != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _as_json(document: object) -> object:
    return json.loads(json.dumps(document, allow_nan=False))


def _unwrapped(document: object) -> list[object]:
    """The objects of a List; kubectl applies each."""
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        return list(document["items"])
    return [document]


def specification_of(manifest: Manifest) -> ModelReleaseSpec:
    """Raises Problem naming each wrong field."""
    unknown = "; ".join(_unknown(manifest.get("spec"), structural(ModelReleaseSpec, strict=True), "spec"))
    try:
        spec = parse_spec(manifest.get("spec"))
    except InvalidResource as error:
        raise Problem("; ".join(filter(None, (unknown, str(error)))), ExitCode.FINDINGS) from error
    if unknown:
        raise Problem(unknown, ExitCode.FINDINGS)
    return spec


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Each field that the CRD does not have, with the one that was probably meant. The API server only names some."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from _unknown(one, schema.get("items") or {}, f"{path}[{number}]")
    fields: Mapping[str, Any] = schema.get("properties") or {}
    if not isinstance(value, dict) or not fields or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    for name, one in value.items():
        if name in fields:
            yield from _unknown(one, fields[name], f"{path}.{name}")
        else:
            close = difflib.get_close_matches(str(name), fields, n=1)
            known = f"did you mean {close[0]}?" if close else f"there are {', '.join(fields)}."
            yield f"{path}.{name}: there is no such field; {known}"


async def refusal(server: ApiServer, manifest: Manifest, namespace: str) -> str:
    """Why the API server would not take the manifest, in its words; empty where it would. Nothing is stored.

    Where the person may not apply it, or a policy refuses it, that is what it says. Raises Problem where the cluster
    does not serve ModelReleases.
    """
    body = cast(dict[str, Any], manifest)
    metadata = {**body["metadata"], "namespace": namespace}
    body = {**body, "metadata": metadata}
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}/{metadata['name']}"
    query = {"dryRun": "All", "fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
    call = Call("PATCH", path, f"apply {metadata['name']}", query, body, "application/apply-patch+yaml")
    try:
        await server.send(call)
    except Forbidden as error:
        return refusal_of(error)
    except ReleaseError as error:  # unknown fields come as HTTP 500 from server-side apply
        return str(error).partition(": ")[2] or str(error)
    except NotFoundError:
        await require_served(server)
        return f"Namespace {namespace!r} does not exist; create it first."
    return ""
