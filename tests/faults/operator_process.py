"""The operator as a real process that can be killed and frozen at any moment.

Processes come from a server that has imported everything already, so that one starts in a fraction of a second; what
runs in it is the program's own `main`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from localcluster.ports import free_ports

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["faults.operator_process", "modelrelease.__main__"])
_STOP_SECONDS = 20.0


def _run(words: list[str], environment: dict[str, str], log: str) -> None:
    """In the new process."""
    from modelrelease.__main__ import main  # noqa: PLC0415 - imported by the server, not by the tests

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    sys.exit(main(words))


@dataclass
class Operator:
    """One replica. `start` after `kill` starts the next process of it."""

    config: Path
    kubeconfig: Path
    log: Path
    pod: str = "operator-0"
    namespace: str = "operator"
    starts: int = 0
    _process: ForkServerProcess | None = None
    _ports: tuple[int, int] = field(default_factory=lambda: (0, 0))

    def start(self) -> None:
        probes, metrics = self._ports = tuple(free_ports(2))  # type: ignore[assignment]
        words = ["run", "--config", str(self.config), "--kubeconfig", str(self.kubeconfig)]
        words += ["--probe-port", str(probes), "--metrics-port", str(metrics)]
        environment = {"POD_NAME": self.pod, "POD_NAMESPACE": self.namespace}
        self._process = _CONTEXT.Process(target=_run, args=(words, environment, str(self.log)), daemon=True)
        self._process.start()
        self.starts += 1

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    @property
    def metrics_port(self) -> int:
        return self._ports[1]

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        if self._process is not None:
            self._process.kill()
            self._process.join(_STOP_SECONDS)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int | None:
        """SIGTERM, and its exit status; None where it did not end in time."""
        if self._process is None:
            return None
        self._process.terminate()
        self._process.join(_STOP_SECONDS)
        status = self._process.exitcode
        if status is None:
            self.kill()
        return status

    def said(self) -> list[dict[str, Any]]:
        """Its log, all starts together."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def crashes(self) -> list[str]:
        """What no log of an operator may contain."""
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        return [line[:300] for line in text.splitlines() if "Traceback" in line or "reconcile broke" in line]

    def resources(self) -> dict[str, float]:
        """RSS in MiB, threads and open sockets."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        descriptors = [str(one.readlink()) for one in Path(f"/proc/{self.pid}/fd").iterdir() if one.is_symlink()]
        return {
            "rss_mib": int(fields["VmRSS"].split()[0]) / 1024,
            "threads": float(fields["Threads"]),
            "sockets": float(sum(target.startswith("socket:") for target in descriptors)),
        }
