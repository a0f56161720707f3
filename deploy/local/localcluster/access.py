"""Ways into an API server for people, tests and service accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster import kubeconfig
from localcluster.commands import run
from localcluster.pki import Authority, Identity, write_private


@dataclass(frozen=True, slots=True)
class Access:
    """An API server, the authority it trusts, and kubectl with an administrator's rights on it."""

    server: str
    authority: Authority
    admin: Path
    """The administrator's kubeconfig."""
    kubectl_binary: Path

    def kubectl(self, *words: str | Path, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """Run kubectl as administrator; its standard output."""
        return run(
            [self.kubectl_binary, "--kubeconfig", self.admin, *words], stdin=stdin, timeout_seconds=timeout_seconds
        )

    def apply(self, manifests: str, timeout_seconds: float = 120) -> None:
        """Server-side apply; takes over fields from whoever changed them."""
        words = ("apply", "--server-side", "--force-conflicts", "--field-manager=localcluster", "--filename=-")
        self.kubectl(*words, stdin=manifests, timeout_seconds=timeout_seconds)

    def for_user(self, path: Path, user: str, groups: Sequence[str] = ()) -> Path:
        """Write a kubeconfig for any user name and groups. What they may do is up to RBAC."""
        return kubeconfig.write_for_user(path, self.server, self.authority, Identity(user, tuple(groups)))

    def token_for_service_account(self, namespace: str, name: str, duration: str = "24h") -> str:
        """A token of an existing service account, from the API itself."""
        return self.kubectl("create", "token", name, "--namespace", namespace, f"--duration={duration}").strip()

    def for_service_account(self, path: Path, namespace: str, name: str) -> Path:
        """Write a kubeconfig with a fresh token of an existing service account."""
        token = self.token_for_service_account(namespace, name)
        write_private(path, kubeconfig.for_token(self.server, self.authority.pair.certificate, token).encode())
        return path
