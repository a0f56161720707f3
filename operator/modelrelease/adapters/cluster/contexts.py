"""Where a person works: contexts and namespaces of a kubeconfig."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from kubernetes.aio.config import ConfigException, list_kube_config_contexts
from multidict import CIMultiDict

from modelrelease.errors import Terminal

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
UNREADABLE = (ConfigException, OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError)
"""What reading a kubeconfig raises; the last four where the library trips over one of another shape."""


def no_cluster(error: Exception) -> Terminal:
    """What an error while a kubeconfig was read comes to."""
    is_told = isinstance(error, ConfigException | OSError)
    why = str(error) if is_told else f"it is no kubeconfig ({' '.join(str(error).split())[:100]})"
    return Terminal("NoCluster", f"Could not read how to reach the API server: {why}")


def impersonation(loader: Any) -> CIMultiDict[str]:
    """Headers for `as`, `as-groups`, `as-uid` and `as-user-extra` of the user that was loaded, which the library leaves
    out: without them a person would act with more rights than were meant."""
    user = loader._user.value if loader._user else {}
    headers: CIMultiDict[str] = CIMultiDict()
    for header, field in (("Impersonate-User", "as"), ("Impersonate-Uid", "as-uid")):
        if user.get(field):
            headers[header] = str(user[field])
    for group in user.get("as-groups") or []:
        headers.add("Impersonate-Group", str(group))
    for key, values in (user.get("as-user-extra") or {}).items():
        for value in values:
            headers.add(f"Impersonate-Extra-{quote(key, safe='')}", str(value))
    return headers


def is_in_cluster(kubeconfig: Path | None, context: str | None) -> bool:
    """Whether to log in as the pod's service account: in a pod, unless something else was asked for."""
    return kubeconfig is None and context is None and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def context_names(kubeconfig: Path | None) -> list[str]:
    """All contexts of a kubeconfig. Raises Terminal("NoCluster") where it cannot be read."""
    return sorted(_contexts(kubeconfig)[0])


def _contexts(kubeconfig: Path | None) -> tuple[dict[str, Any], Any]:
    """By name, and the current one."""
    try:
        path = None if kubeconfig is None else str(kubeconfig)
        contexts, current = list_kube_config_contexts(path)  # type: ignore[no-untyped-call]
        return {str(entry["name"]): entry for entry in contexts}, current
    except UNREADABLE as error:
        raise no_cluster(error) from error


def namespace_of(kubeconfig: Path | None, context: str | None) -> str:
    """The namespace of a context, by default of the current one.

    Raises Terminal: NoCluster where no kubeconfig can be read, NoContext naming those there are.
    """
    if is_in_cluster(kubeconfig, context):
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip() if _OWN_NAMESPACE.exists() else "default"
    known, current = _contexts(kubeconfig)
    if context is not None and context not in known:
        raise Terminal("NoContext", f"The kubeconfig has no context {context!r}; it has: {', '.join(sorted(known))}.")
    chosen = known[context] if context is not None else current
    return str((chosen.get("context") or {}).get("namespace") or "default")
