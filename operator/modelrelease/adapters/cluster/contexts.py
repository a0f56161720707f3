"""Where a person works: contexts and namespaces of a kubeconfig."""

from __future__ import annotations

import os
from pathlib import Path

from kubernetes.aio.config import ConfigException, list_kube_config_contexts

from modelrelease.errors import Terminal

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def is_in_cluster(kubeconfig: Path | None, context: str | None) -> bool:
    """Whether to log in as the pod's service account: in a pod, unless something else was asked for."""
    return kubeconfig is None and context is None and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def namespace_of(kubeconfig: Path | None, context: str | None) -> str:
    """The namespace of a context, by default of the current one.

    Raises Terminal: NoCluster where no kubeconfig can be read, NoContext naming those there are.
    """
    if is_in_cluster(kubeconfig, context):
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip() if _OWN_NAMESPACE.exists() else "default"
    try:
        path = None if kubeconfig is None else str(kubeconfig)
        contexts, current = list_kube_config_contexts(path)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise Terminal("NoCluster", f"Could not read how to reach the API server: {error}") from error
    known = {entry["name"]: entry for entry in contexts}
    if context is not None and context not in known:
        raise Terminal("NoContext", f"The kubeconfig has no context {context!r}; it has: {', '.join(sorted(known))}.")
    chosen = known[context] if context is not None else current
    return str((chosen.get("context") or {}).get("namespace") or "default")
