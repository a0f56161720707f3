"""Kubernetes, Istio, CoreDNS and Helm, compiled from their Go modules into the cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from localcluster.commands import run, run_into
from localcluster.errors import MissingPrerequisite
from localcluster.folders import MODULES, Cache
from localcluster.locks import exclusive
from localcluster.progress import Line, Report

_OLDEST_GO = (1, 26)
_STRIPPED = "-s -w"


@dataclass(frozen=True, slots=True)
class Module:
    """A folder with its own go.mod, the module it builds and the commands in it."""

    name: str
    path: str
    commands: tuple[str, ...]
    extra: str | None = None
    """A file inside the module's source that is needed at run time; copied beside the binaries."""

    @property
    def folder(self) -> Path:
        return MODULES / self.name

    def version(self) -> str:
        """The version that go.mod requires: the only place where it is written down."""
        found = re.search(
            rf"^(?:require)?\s+{re.escape(self.path)} (v\S+)",
            (self.folder / "go.mod").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        if not found:
            raise MissingPrerequisite(f"{self.folder / 'go.mod'} does not require {self.path}")
        return found.group(1)


KUBERNETES = Module(
    "kubernetes",
    "k8s.io/kubernetes",
    tuple(
        f"k8s.io/kubernetes/cmd/{name}"
        for name in ("kube-apiserver", "kube-controller-manager", "kubectl", "kube-scheduler", "kubelet", "kube-proxy")
    ),
)
ISTIO = Module(
    "istio",
    "istio.io/istio",
    ("istio.io/istio/pilot/cmd/pilot-discovery",),
    "manifests/charts/base/files/crd-all.gen.yaml",
)
COREDNS = Module("coredns", "github.com/coredns/coredns", ("modelrelease.dev/local/coredns",))
ALL = (KUBERNETES, ISTIO, COREDNS)
"""What the local cluster runs."""
HELM = Module("helm", "helm.sh/helm/v3", ("helm.sh/helm/v3/cmd/helm",))
"""Only tests of the chart need it; tests/run.py builds it before they run, else they do."""
SIGNING = Module(
    "signing",
    "github.com/sigstore/cosign/v3",
    ("github.com/google/go-containerregistry/cmd/crane", "github.com/sigstore/cosign/v3/cmd/cosign"),
)
"""What publishes images; only `make publish-check` needs it."""


def output_folder(cache: Cache, module: Module) -> Path:
    """Where the binaries of this version of the module lie, complete or not yet there at all.

    The name holds a hash of all that decides what comes out, so that checkouts with other versions do not clash.
    """
    content = b"".join(
        path.read_bytes() for path in sorted(module.folder.iterdir()) if path.suffix in {".mod", ".sum", ".go"}
    )
    recipe = f"{_STRIPPED} {module.commands} {module.extra}".encode()
    return cache.root / "go" / f"{module.name}-{module.version()}-{hashlib.sha256(content + recipe).hexdigest()[:10]}"


def build(cache: Cache, module: Module, report: Report) -> Path:
    """The folder with the module's binaries; compiled now if this version was not yet."""
    with report.part(module.name) as line:
        target = output_folder(cache, module)
        if not target.exists():
            with exclusive(cache.locks / f"go-{module.name}"):
                if not target.exists():
                    _compile(cache, module, target, line)
                    line.show("built")
                    return target
        line.show("cached")
        return target


def _compile(cache: Cache, module: Module, target: Path, line: Line) -> None:
    go = toolchain()
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    scratch = cache.root / "go" / f".{target.name}"  # kept after a failure: what is compiled need not be again
    scratch.mkdir(parents=True, exist_ok=True)
    for count, command in enumerate(module.commands, 1):
        name = command.rpartition("/")[2]
        line.show(f"building {count}/{len(module.commands)}")
        run_into(
            cache.root / "logs" / f"go-{name}.log",
            [go, "build", "-p", "2", "-trimpath", "-ldflags", _linker_flags(module), "-o", scratch / name, command],
            folder=module.folder,
            environment=environment,
            timeout_seconds=1800,
        )
    if module.extra:
        source = run(
            [go, "list", "-m", "-f", "{{.Dir}}", module.path], folder=module.folder, environment=environment
        ).strip()
        shutil.copyfile(Path(source) / module.extra, scratch / Path(module.extra).name)
    scratch.rename(target)


def _linker_flags(module: Module) -> str:
    if module is not KUBERNETES:
        return _STRIPPED
    version = module.version()
    major, minor, _ = version.lstrip("v").split(".")
    stamps = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": version,
    }
    return " ".join([_STRIPPED, *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items())])


def toolchain() -> str:
    """A Go toolchain that is new enough: the one on the PATH."""
    wanted = ".".join(map(str, _OLDEST_GO))
    remedy = f"Go {wanted} or newer is needed: install it, or run `make toolchain` and put its .venv/bin on the PATH"
    found = shutil.which("go")
    if found is None:
        raise MissingPrerequisite(f"no `go` on the PATH. {remedy}.")
    said = run([found, "env", "GOVERSION"]).strip()
    numbers = re.match(r"go(\d+)\.(\d+)", said)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _OLDEST_GO:
        raise MissingPrerequisite(f"{found} is {said}. {remedy}.")
    return found
