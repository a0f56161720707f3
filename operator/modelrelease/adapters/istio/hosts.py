"""The ways in which Istio's objects spell the host of a Service."""

from __future__ import annotations


def service_of(host: str, namespace: str) -> tuple[str, str] | None:
    """(name, namespace) of the Service that `host` means in an object of `namespace`; None for other hosts.

    `name`, `name.namespace`, `name.namespace.svc` and `name.namespace.svc.<cluster domain>`, whatever the domain is.
    """
    parts = host.rstrip(".").split(".")
    if len(parts) == 1:
        return parts[0], namespace
    if len(parts) == 2 or parts[2] == "svc":
        return parts[0], parts[1]
    return None


def same_host(one: str, other: str, namespace: str) -> bool:
    """Whether two spellings mean the same host."""
    service = service_of(one, namespace)
    return one == other or (service is not None and service == service_of(other, namespace))


def spelled_like(host: str, model: str) -> str:
    """`host` with the same domain parts as `model`: the neighbour of a host written in full is written in full."""
    _, dot, domain = model.partition(".")
    return f"{host.partition('.')[0]}{dot}{domain}"
