"""Kubeconfig files: the way every client, ours and people's, finds and authenticates to the API server."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from localcluster.pki import Authority, Identity, write_private


def for_certificate(server: str, ca: Path, certificate: bytes, key: bytes) -> str:
    """A kubeconfig that authenticates with a client certificate; everything inline, so that the file can be moved."""
    return _render(server, ca, {"client-certificate-data": _inline(certificate), "client-key-data": _inline(key)})


def for_token(server: str, ca: Path, token: str) -> str:
    """A kubeconfig that authenticates with a bearer token, e.g. of a service account."""
    return _render(server, ca, {"token": token})


def write_for_user(path: Path, server: str, authority: Authority, identity: Identity) -> Path:
    """Write a kubeconfig for a user that the authority vouches for; kept as it is where one exists for this server."""
    if path.exists() and f"server: {server}\n" in path.read_text(encoding="utf-8"):
        return path
    certificate, key = authority.sign(identity)
    write_private(path, for_certificate(server, authority.pair.certificate, certificate, key).encode())
    return path


def _inline(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _render(server: str, ca: Path, user: dict[str, str]) -> str:
    name = "modelrelease-local"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": name, "cluster": {"server": server, "certificate-authority-data": _inline(ca.read_bytes())}}
            ],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        sort_keys=False,
    )
