"""kubectl, as a person would use it; each call is bounded in time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo.errors import KubectlError

Manifest = dict[str, Any]

_READ_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Kube:
    """kubectl with a kubeconfig, for one namespace."""

    kubectl: Path
    kubeconfig: Path
    namespace: str

    def within(self, namespace: str) -> Kube:
        """The same cluster, another namespace."""
        return Kube(self.kubectl, self.kubeconfig, namespace)

    def command(self, *words: str) -> list[str]:
        """The whole command line."""
        return [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *words]

    def run(self, *words: str, stdin: str | None = None, timeout_seconds: float = _READ_SECONDS) -> str:
        """Standard output of `kubectl WORDS`; raises KubectlError with what it said."""
        shown = f"kubectl {' '.join(words)[:160]}"
        try:
            done = subprocess.run(  # noqa: S603 - no shell, words of this package
                self.command(*words), input=stdin, capture_output=True, text=True, timeout=timeout_seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise KubectlError(f"`{shown}` did not end within {timeout_seconds:.0f} s") from None
        if done.returncode != 0:
            raise KubectlError(f"`{shown}` failed: {(done.stderr or done.stdout).strip()[-800:]}")
        return done.stdout

    def get(self, kind: str, name: str) -> Manifest | None:
        """The object, or None where there is none."""
        text = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, *selector: str) -> list[Manifest]:
        """All objects of the kind in the namespace."""
        found: list[Manifest] = json.loads(self.run("get", kind, "-o", "json", *selector))["items"]
        return found

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """`kubectl apply` of all of them in one call."""
        self.run("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests, sort_keys=False), timeout_seconds=60)

    def patch(self, kind: str, name: str, patch: Mapping[str, Any]) -> None:
        """A JSON merge patch."""
        self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(patch)}")

    def annotate(self, kind: str, name: str, **annotations: str) -> None:
        """Set `modelrelease.dev/<key>` annotations, as people steer a release."""
        words = [f"modelrelease.dev/{key}={value}" for key, value in annotations.items()]
        self.run("annotate", kind, name, "--overwrite", *words)

    def delete(self, kind: str, name: str, *, wait: bool = True, timeout_seconds: float = 60) -> None:
        """Delete; an object that is gone is no error."""
        words = ["--ignore-not-found", f"--wait={str(wait).lower()}", f"--timeout={timeout_seconds:.0f}s"]
        self.run("delete", kind, name, *words, timeout_seconds=timeout_seconds + 10)

    def wait_rolled_out(self, deployment: str, timeout_seconds: float) -> None:
        """Until every pod of the Deployment is of its newest template and available."""
        words = ("rollout", "status", f"deployment/{deployment}", f"--timeout={timeout_seconds:.0f}s")
        self.run(*words, timeout_seconds=timeout_seconds + 10)

    def pods(self, labels: str) -> Sequence[Manifest]:
        """Pods with these labels that are not going away."""
        return [pod for pod in self.list("pods", "-l", labels) if not pod["metadata"].get("deletionTimestamp")]
