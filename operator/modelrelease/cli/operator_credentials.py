"""The operator's credentials for Prometheus, for somebody who may read the Secrets that they come from."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path, PurePath
from typing import Any

from modelrelease.adapters.cluster import ApiServer, Call, NotFoundError
from modelrelease.cli.exits import ExitCode
from modelrelease.cli.problems import Problem
from modelrelease.errors import Forbidden
from modelrelease.settings import Provider

DEPLOYMENT = "modelrelease-operator"
REMEDY = "Describe Prometheus with credentials of yours in a file for --provider."


@asynccontextmanager
async def lent(server: ApiServer, described: Provider, namespace: str) -> AsyncIterator[Provider]:
    """The provider with the files that the operator has mounted, copied to this machine while the block lasts.

    namespace: of the operator. Raises Problem where one cannot be had.
    """
    files = described.files()
    if not files:
        yield described
        return
    mounts = await _mounted_secrets(server, namespace)
    with tempfile.TemporaryDirectory(prefix="modelrelease-") as folder:  # which nobody else may enter
        copies: dict[Path, Path] = {}
        for number, file in enumerate(files):
            secret, key = _origin(file, mounts)
            copies[file] = Path(folder) / f"{number}-{file.name}"
            copies[file].write_bytes(await _content(server, namespace, secret, key))
        yield described.with_files(copies.__getitem__)


async def _mounted_secrets(server: ApiServer, namespace: str) -> Mapping[PurePath, str]:
    """Secret by the folder in which its keys are files in the operator's pod."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{DEPLOYMENT}"
    found = await _read(server, path, f"read deployment {namespace}/{DEPLOYMENT}")
    pod = found["spec"]["template"]["spec"]
    volumes = pod.get("volumes") or []
    secrets = {one["name"]: one["secret"]["secretName"] for one in volumes if "secret" in one}
    mounts = [mount for container in pod["containers"] for mount in container.get("volumeMounts") or []]
    return {PurePath(one["mountPath"]): secrets[one["name"]] for one in mounts if one["name"] in secrets}


def _origin(file: Path, mounts: Mapping[PurePath, str]) -> tuple[str, str]:
    """Secret and key of a file of the operator."""
    secret = mounts.get(file.parent)
    if secret is None:
        raise Problem(f"The operator has {file} from no Secret. {REMEDY}", ExitCode.NO_METRICS)
    return secret, file.name


async def _content(server: ApiServer, namespace: str, secret: str, key: str) -> bytes:
    path = f"/api/v1/namespaces/{namespace}/secrets/{secret}"
    data = (await _read(server, path, f"read secret {namespace}/{secret}")).get("data") or {}
    if key not in data:
        raise Problem(f"Secret {namespace}/{secret} has no key {key}. {REMEDY}", ExitCode.NO_METRICS)
    return base64.b64decode(data[key])


async def _read(server: ApiServer, path: str, doing: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await server.send(Call("GET", path, doing))
    except NotFoundError as error:
        sentence = f"Prometheus asks for the operator's credentials, which are not there ({doing}). {REMEDY}"
        raise Problem(sentence, ExitCode.NO_METRICS) from error
    except Forbidden as error:
        sentence = f"Prometheus asks for the operator's credentials, and you may not {doing}. {REMEDY}"
        raise Problem(sentence, ExitCode.FORBIDDEN) from error
    return found
