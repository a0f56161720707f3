"""The Kubernetes API through `kubernetes.aio`."""

from modelrelease.adapters.cluster.client import FIELD_MANAGER, KubernetesCluster
from modelrelease.adapters.cluster.server import ApiServer

__all__ = ["FIELD_MANAGER", "ApiServer", "KubernetesCluster"]
