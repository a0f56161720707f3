"""`kubectl get -w`, kept: every version of an object that the API server told, with the time it was told."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

from demo.kube import Kube

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """An object as it was from `at` (unix seconds) on; None after it was deleted."""

    at: float
    manifest: Manifest | None


class Watch:
    """Follows one object while the `with` block runs. A watch that ends is taken up again."""

    def __init__(self, kube: Kube, kind: str, name: str) -> None:
        self.versions: list[Version] = []
        """Only ever appended to."""
        self._kube, self._kind, self._name = kube, kind, name
        self._closing = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, name=f"watch of {kind} {name}", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(timeout=10)

    @property
    def latest(self) -> Manifest | None:
        """The object as last told; None where there is none, or none yet."""
        return self.versions[-1].manifest if self.versions else None

    def since(self, moment: float) -> list[Version]:
        """Versions told at `moment` or later."""
        return [version for version in self.versions if version.at >= moment]

    def _follow(self) -> None:
        while not self._closing.is_set():
            words = ("get", self._kind, "-o", "json", "--watch", "--output-watch-events")
            command = self._kube.command(*words, f"--field-selector=metadata.name={self._name}")
            with subprocess.Popen(  # noqa: S603 - no shell, words of this package
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as process:
                self._process = process
                if self._closing.is_set():
                    process.terminate()
                if process.stdout is not None:
                    self._read(process.stdout)
            self._closing.wait(0.5)

    def _read(self, output: IO[str]) -> None:
        """With watch events kubectl prints one object a line."""
        for line in output:
            event = json.loads(line)
            self._keep(event["type"], event["object"])

    def _keep(self, kind: str, manifest: Manifest) -> None:
        if kind == "ERROR":
            return
        told = _resource_version(self.latest)
        if kind != "DELETED" and told is not None and told == _resource_version(manifest):
            return  # told again at the start of a new watch
        self.versions.append(Version(time.time(), None if kind == "DELETED" else manifest))


def _resource_version(manifest: Manifest | None) -> str | None:
    return manifest["metadata"]["resourceVersion"] if manifest else None
