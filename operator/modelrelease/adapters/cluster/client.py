"""The port `Cluster` over plain JSON: one code path for every kind."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from pydantic import JsonValue

from modelrelease.adapters.cluster.server import ApiServer, Call, NotFoundError
from modelrelease.errors import Conflict, Retryable, Terminal
from modelrelease.ports import Kind, Manifest
from modelrelease.rollout.labels import OPERATOR

_PAGE_SIZE = 500
_MERGE_PATCH = "application/merge-patch+json"
_NAME = re.compile(r"[a-zA-Z0-9]([-._:a-zA-Z0-9]{0,251}[a-zA-Z0-9])?")
"""Every name that the API server knows, and nothing that would change the path (`..`, `/`, `%`)."""


class KubernetesCluster:
    """Implements `ports.Cluster`.

    server: the connection; may be shared.
    watch_namespace: where `list` looks when asked for no namespace; None: everywhere.
    write_seconds: asked before each write how long it may take, 0 for not at all; that of the Lease. The Lease itself
        writes through an instance without it.
    field_manager: what managedFields say of who wrote.
    """

    def __init__(
        self,
        server: ApiServer,
        *,
        watch_namespace: str | None = None,
        write_seconds: Callable[[], float] = lambda: math.inf,
        field_manager: str = OPERATOR,
    ) -> None:
        self._server = server
        self._field_manager = field_manager
        self._watch_namespace = watch_namespace
        self._write_seconds = write_seconds

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Without resourceVersion, so that etcd answers by quorum: a lagging cache would bring old weights back."""
        call = Call("GET", _path(kind, namespace, name), _doing("read", kind, namespace, name))
        try:
            return await self._server.send(call)
        except NotFoundError:
            return None

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None) -> list[Manifest]:
        where = namespace if namespace is not None else self._watch_namespace
        query = {"limit": str(_PAGE_SIZE)}
        if labels:
            query["labelSelector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        found: list[Manifest] = []
        while True:
            try:
                page = await self._server.send(Call("GET", _path(kind, where), _doing("list", kind, where), query))
            except NotFoundError:
                return []
            found += _items(page, kind)
            token = _continue_token(page)
            if not token:
                return found
            query = {**query, "continue": token}

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        namespace, name = _identity(manifest)
        doing = _doing("create", kind, namespace, name)
        try:
            return await self._write("POST", _path(kind, namespace), doing, manifest)
        except NotFoundError as error:
            if "page not found" in str(error):
                raise Terminal("NotServed", f"Could not {doing}: the cluster does not serve this kind.") from error
            raise Retryable(f"Could not {doing}: {error}") from error

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        namespace, name = _identity(manifest)
        doing = _doing("replace", kind, namespace, name)
        return await self._change("PUT", _path(kind, namespace, name), doing, manifest)

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        return await self._change("PATCH", _path(kind, namespace, name), _doing("patch", kind, namespace, name), patch)

    async def replace_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        namespace, name = _identity(manifest)
        doing = _doing("replace the status of", kind, namespace, name)
        return await self._change("PUT", f"{_path(kind, namespace, name)}/status", doing, manifest)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._write("DELETE", _path(kind, namespace, name), _doing("delete", kind, namespace, name), options)
        except NotFoundError:
            return

    async def _change(self, method: str, path: str, doing: str, body: Manifest) -> Manifest:
        """Write to an object that exists; one that is gone is a Conflict, because a decision was made about it."""
        try:
            return await self._write(method, path, doing, body)
        except NotFoundError as error:
            raise Conflict(f"Could not {doing}: it does not exist any more.") from error

    async def _write(self, method: str, path: str, doing: str, body: Mapping[str, JsonValue]) -> Manifest:
        seconds = self._write_seconds()
        if seconds <= 0:
            raise Retryable(f"Did not {doing}: this operator does not hold the lease (any more).")
        query = {} if method == "DELETE" else {"fieldManager": self._field_manager}
        content_type = _MERGE_PATCH if method == "PATCH" else "application/json"
        return await self._server.send(Call(method, path, doing, query, body, content_type, seconds))


def _path(kind: Kind, namespace: str | None, name: str | None = None) -> str:
    resource = kind.value
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    within = "" if namespace is None else f"/namespaces/{_checked(namespace)}"
    return f"{root}{within}/{resource.plural}" + ("" if name is None else f"/{_checked(name)}")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Terminal("Invalid", f"{name!r} is not the name of a Kubernetes object.")
    return name


def _doing(verb: str, kind: Kind, namespace: str | None, name: str | None = None) -> str:
    where = "/".join(part for part in (namespace, name) if part)
    return f"{verb} {kind.value.plural} {where}".rstrip()


def _identity(manifest: Manifest) -> tuple[str, str]:
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        _no_identity()
    namespace, name = metadata.get("namespace"), metadata.get("name")
    if not isinstance(namespace, str) or not isinstance(name, str):
        _no_identity()
    return namespace, name


def _no_identity() -> NoReturn:
    raise Terminal("Invalid", "An object without metadata.namespace and metadata.name cannot be written.")


def _items(page: Manifest, kind: Kind) -> list[Manifest]:
    """Lists leave apiVersion and kind out of built-in kinds; `get` has them, so give them back."""
    items = page.get("items")
    identity: Manifest = {"apiVersion": kind.value.api_version, "kind": kind.value.kind}
    return [{**identity, **item} for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _continue_token(page: Manifest) -> str:
    metadata = page.get("metadata")
    token = metadata.get("continue") if isinstance(metadata, dict) else None
    return token if isinstance(token, str) else ""
