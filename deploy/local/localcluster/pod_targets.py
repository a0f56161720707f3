"""Tells Prometheus which pods there are.

Debian's Prometheus is built without Kubernetes discovery, and compiling it from source would add minutes to the first
start for this one feature. This process watches pods and writes a target file with the very labels that Kubernetes
discovery gives (`__meta_kubernetes_pod_…`), so that the scrape configuration reads as in a real cluster.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

_WATCH_SECONDS = 240
_SILENCE_SECONDS = _WATCH_SECONDS + 30
_PAUSE_SECONDS = 1.0
_DISCOVERED = "__meta_kubernetes_"

Json = dict[str, object]


def targets_of(pod: Json) -> list[Json]:
    """The targets of one pod: one per container port, or one without a port, as Kubernetes discovery has them."""
    metadata, spec, status = (_mapping(pod.get(key)) for key in ("metadata", "spec", "status"))
    address = status.get("podIP")
    if not address:
        return []
    labels = {
        f"{_DISCOVERED}namespace": str(metadata.get("namespace", "")),
        f"{_DISCOVERED}pod_name": str(metadata.get("name", "")),
        f"{_DISCOVERED}pod_uid": str(metadata.get("uid", "")),
        f"{_DISCOVERED}pod_ip": str(address),
        f"{_DISCOVERED}pod_phase": str(status.get("phase", "")),
        f"{_DISCOVERED}pod_node_name": str(spec.get("nodeName", "")),
    }
    for kind in ("label", "annotation"):
        for name, value in _mapping(metadata.get(f"{kind}s")).items():
            labels[f"{_DISCOVERED}pod_{kind}_{_label_name(name)}"] = str(value)
    return [
        {"targets": [f"{address}:{port}" if port else str(address)], "labels": {**labels, **own}}
        for port, own in _ports(spec)
    ]


def _ports(spec: Json) -> Iterator[tuple[int | None, dict[str, str]]]:
    containers = spec.get("containers")
    for container in containers if isinstance(containers, list) else []:
        name = {
            f"{_DISCOVERED}pod_container_name": str(container.get("name", "")),
            f"{_DISCOVERED}pod_container_init": "false",
        }
        ports = container.get("ports") or []
        if not ports:
            yield None, name
        for port in ports:
            number = int(port["containerPort"])
            yield number, {**name, f"{_DISCOVERED}pod_container_port_number": str(number)}


def _label_name(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


class Api:
    """Just enough of a client: one authenticated GET, whole or line by line."""

    def __init__(self, server: str, authority: Path, certificate: Path, key: Path) -> None:
        self._where = urlsplit(server)
        self._context = ssl.create_default_context(cafile=str(authority))
        self._context.load_cert_chain(certificate, key)

    def lines(self, path: str) -> Iterator[Json]:
        """The JSON objects of an answer, one per line. OSError or HTTPException where the server does not answer."""
        connection = http.client.HTTPSConnection(
            self._where.hostname or "", self._where.port, timeout=_SILENCE_SECONDS, context=self._context
        )
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise http.client.HTTPException(f"GET {path}: {answer.status} {answer.reason}")
            for line in answer:
                yield json.loads(line)
        finally:
            connection.close()


class Targets:
    """The pods as last seen, and the file that says so."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._written = ""
        self._by_pod: dict[str, list[Json]] = {}

    def replace(self, pods: Sequence[Json]) -> None:
        """Start over from a full list."""
        self._by_pod = {_key(pod): targets_of(pod) for pod in pods}
        self._write()

    def change(self, event: Json) -> None:
        """Follow one watch event."""
        pod = _mapping(event.get("object"))
        if event.get("type") == "DELETED":
            self._by_pod.pop(_key(pod), None)
        elif event.get("type") in {"ADDED", "MODIFIED"}:
            self._by_pod[_key(pod)] = targets_of(pod)
        self._write()

    def _write(self) -> None:
        text = json.dumps([target for key in sorted(self._by_pod) for target in self._by_pod[key]], indent=1)
        if text == self._written and self._output.exists():
            return
        fresh = self._output.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self._output)
        self._written = text


def _key(pod: Json) -> str:
    metadata = _mapping(pod.get("metadata"))
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def follow(api: Api, targets: Targets) -> None:
    """List once, then watch until the server ends the watch or says that we are too far behind."""
    listing = next(api.lines("/api/v1/pods"))
    items = listing.get("items")
    targets.replace(items if isinstance(items, list) else [])
    version = _mapping(listing.get("metadata")).get("resourceVersion")
    for event in api.lines(f"/api/v1/pods?watch=true&resourceVersion={version}&timeoutSeconds={_WATCH_SECONDS}"):
        if event.get("type") == "ERROR":
            return
        targets.change(event)


def main(argv: Sequence[str] | None = None) -> None:
    """Follow for ever; an API server that is away is asked again each second."""
    parser = argparse.ArgumentParser(prog="pod-targets")
    parser.add_argument("--server", required=True)
    for name in ("--authority", "--certificate", "--key", "--output"):
        parser.add_argument(name, type=Path, required=True)
    arguments = parser.parse_args(argv)
    api = Api(arguments.server, arguments.authority, arguments.certificate, arguments.key)
    targets = Targets(arguments.output)
    while True:
        try:
            follow(api, targets)
        except (OSError, http.client.HTTPException, ValueError, StopIteration) as error:
            print(f"{time.strftime('%H:%M:%S')} {error}", file=sys.stderr, flush=True)  # noqa: T201 - this is its log
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
