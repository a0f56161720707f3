"""The API server as the world around the operator uses it, and as the proxies pass requests on to it."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from modelrelease.ports import Kind

Json = dict[str, Any]
_LIMIT = aiohttp.ClientTimeout(total=60)
_WATCH_SECONDS = 600


def path_of(kind: Kind, namespace: str | None = None, name: str | None = None) -> str:
    """Where the API server serves an object, or a list of them."""
    resource = kind.value
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{within}/{resource.plural}" + (f"/{name}" if name else "")


@dataclass
class Kube:
    """An administrator. `own_versions` holds the resourceVersion of each revision that was made through here, and
    `own_deletions` the uid of each object that was deleted: what is not among them is the operator's."""

    session: aiohttp.ClientSession
    server: str
    own_versions: set[int] = field(default_factory=set)
    own_deletions: set[str] = field(default_factory=set)

    async def send(self, method: str, path: str, body: Json | None = None, *, kind: str = "application/json") -> Json:
        """The answer's JSON; raises ClientResponseError."""
        query = {} if method in ("GET", "DELETE") else {"fieldManager": "world"}
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind}
        async with self.session.request(
            method, self.server + path, params=query, data=data, headers=headers, timeout=_LIMIT
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise aiohttp.ClientResponseError(
                    answer.request_info, answer.history, status=answer.status, message=f"{method} {path}: {text[:300]}"
                )
        found: Json = json.loads(text)
        metadata = found.get("metadata") or {}
        if method == "DELETE":
            self.own_deletions.add((found.get("details") or metadata)["uid"])  # a Status, or the object itself
        version = metadata.get("resourceVersion")
        if method != "GET" and version:
            self.own_versions.add(int(version))
        return found

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        try:
            return await self.send("GET", path_of(kind, namespace, name))
        except aiohttp.ClientResponseError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, kind: Kind, manifest: Json) -> Json:
        return await self.send("POST", path_of(kind, manifest["metadata"]["namespace"]), manifest)

    async def merge(self, kind: Kind, namespace: str, name: str, patch: Json, *, status: bool = False) -> Json | None:
        """A merge patch; None where the object is gone."""
        path = path_of(kind, namespace, name) + ("/status" if status else "")
        try:
            return await self.send("PATCH", path, patch, kind="application/merge-patch+json")
        except aiohttp.ClientResponseError as error:
            if error.status == 404:
                return None
            raise

    async def edit(self, kind: Kind, namespace: str, name: str, change: Callable[[Json], None]) -> None:
        """Read, change in place, write back; again where somebody was faster. Nothing where it is gone."""
        while True:
            found = await self.get(kind, namespace, name)
            if found is None:
                return
            change(found)
            try:
                await self.send("PUT", path_of(kind, namespace, name), found)
            except aiohttp.ClientResponseError as error:
                if error.status not in (404, 409):
                    raise
            else:
                return

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str | None = None) -> None:
        """Only the object with this uid, where it is given."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self.send("DELETE", path_of(kind, namespace, name), options)
        except aiohttp.ClientResponseError as error:
            if error.status not in ({404} if uid is None else {404, 409}):
                raise

    async def watch(self, kind: Kind, version: str) -> AsyncIterator[tuple[str, Json]]:
        """(type, object) of all namespaces since `version`, until the API server ends it."""
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(_WATCH_SECONDS)}
        limit = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with self.session.get(self.server + path_of(kind), params=query, timeout=limit) as answer:
            buffered = b""
            async for chunk in answer.content.iter_any():
                *lines, buffered = (buffered + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    yield event["type"], event["object"]


def credentials(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """Address and client certificate of the only user in a kubeconfig."""
    content = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    authority = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(
        cafile=cluster.get("certificate-authority"), cadata=_decoded(authority) if authority else None
    )
    context.check_hostname = False
    if "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    else:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
            pair.flush()
            context.load_cert_chain(pair.name)
    return cluster["server"], context


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Kube]:
    """A session with the rights of `kubeconfig`."""
    server, context = credentials(kubeconfig)
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=2**20) as session:
        yield Kube(session, server)
