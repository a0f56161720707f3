"""The Kubernetes API through `kubernetes.aio`."""

from modelrelease.adapters.cluster.client import KubernetesCluster
from modelrelease.adapters.cluster.contexts import namespace_of
from modelrelease.adapters.cluster.server import ApiServer, Call, NotFoundError

__all__ = ["ApiServer", "Call", "KubernetesCluster", "NotFoundError", "namespace_of"]
