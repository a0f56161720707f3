"""The Kubernetes API through `kubernetes.aio`."""

from modelrelease.adapters.cluster.client import KubernetesCluster
from modelrelease.adapters.cluster.contexts import context_names, namespace_of
from modelrelease.adapters.cluster.server import ApiServer, Call, NotFoundError

__all__ = ["ApiServer", "Call", "KubernetesCluster", "NotFoundError", "context_names", "namespace_of"]
