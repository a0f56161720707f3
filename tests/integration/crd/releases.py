"""ModelReleases on a real API server, written and read with kubectl as people do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localcluster.controlplane import ControlPlane
from localcluster.errors import CommandFailed

ROOT = Path(__file__).parents[3]


def eventually(attempt: Callable[[], object], seconds: float = 30.0) -> None:
    """Until it neither raises nor returns False; what a new API server serves shows up a moment later."""
    end = time.monotonic() + seconds
    while True:
        try:
            if attempt() is not False:
                return
        except CommandFailed:
            if time.monotonic() > end:
                raise
        if time.monotonic() > end:
            pytest.fail(f"not so within {seconds} s")
        time.sleep(0.2)


class Releases:
    """ModelReleases in one namespace, written as a user writes them."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane

    def create(self, name: str, spec: dict[str, Any], *, dry_run: bool = False) -> None:
        self._write("create", name, spec, dry_run=dry_run)

    def replace(self, name: str, spec: dict[str, Any], *, dry_run: bool = False) -> None:
        self._write("replace", name, spec, dry_run=dry_run)

    def read(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self._control_plane.kubectl("get", "mr", name, "--namespace=vision", "--output=json")
        )
        return found

    def write_status(self, name: str, status: dict[str, Any]) -> None:
        body = json.dumps(self.read(name) | {"status": status})
        self._control_plane.kubectl("replace", "--subresource=status", "--validate=strict", "--filename=-", stdin=body)

    def _write(self, verb: str, name: str, spec: dict[str, Any], *, dry_run: bool) -> None:
        body = {
            "apiVersion": "modelrelease.dev/v1alpha1",
            "kind": "ModelRelease",
            "metadata": {"name": name, "namespace": "vision"},
            "spec": spec,
        }
        words = [verb, "--validate=strict", *(["--dry-run=server"] if dry_run else []), "--filename=-"]
        self._control_plane.kubectl(*words, stdin=json.dumps(body))
