"""The objects of a served model, as its team would write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Manifest = dict[str, Any]

GATEWAY: Final = "istio-system/ingressgateway"
GATEWAY_WORKLOAD: Final = "istio-system/istio-ingressgateway"
"""As the local Prometheus names the sender of the gateway's requests."""
MODEL_RELEASE: Final = "modelreleases.modelrelease.dev"
VIRTUAL_SERVICE: Final = "virtualservices.networking.istio.io"
ROUTE: Final = "detect"
PORT: Final = 80
_CONTAINER_PORT: Final = 8000
_USER: Final = 10001
FAULTS_FOLDER: Final = "/faults"
"""Where a test puts the file that makes pods of the version `turns-bad` fail."""
SERVED_BY: Final = "%UPSTREAM_CLUSTER%"
"""Envoy writes the cluster that it picked into the answer: so clients can tell the arm also where no pod answered."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is served: names of its objects, and the host that clients ask for."""

    namespace: str
    host: str
    name: str = "yolov8-detect"
    replicas: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def canary(self) -> str:
        """Name of the canary's Deployment and of its Service, as the operator makes them."""
        return f"{self.name}-canary"

    @property
    def labels(self) -> dict[str, str]:
        return {"app": self.name}


def namespace(model: Model) -> Manifest:
    """Pods may only run as Pod Security `restricted` allows."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": model.namespace, "labels": labels}}


def deployment(model: Model, image: str) -> Manifest:
    """Stable: rolls one pod at a time and never goes below its size."""
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": str(_CONTAINER_PORT)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": model.name, "namespace": model.namespace, "labels": model.labels},
        "spec": {
            "replicas": model.replicas,
            "selector": {"matchLabels": model.labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": model.labels, "annotations": annotations},
                "spec": _pod(model, image),
            },
        },
    }


def _pod(model: Model, image: str) -> Manifest:
    environment = {"INTRA_OP_THREADS": "1", "DECODE_THREADS": "1", "DRAIN_SECONDS": "5", **model.environment}
    container = {
        "name": "serving",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"name": "http", "containerPort": _CONTAINER_PORT}],
        "startupProbe": _probe("/health", period=1, failures=60),
        "readinessProbe": _probe("/ready", period=1, failures=2),
        "livenessProbe": _probe("/health", period=5, failures=6),
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 - inside the container
            {"name": "faults", "mountPath": FAULTS_FOLDER},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 30,
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}, {"name": "faults", "emptyDir": {}}],
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    get = {"path": path, "port": _CONTAINER_PORT}
    return {"httpGet": get, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 3}


def service(model: Model) -> Manifest:
    """Selects stable's pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": model.name, "namespace": model.namespace, "labels": model.labels},
        "spec": {
            "selector": model.labels,
            "ports": [{"name": "http", "port": PORT, "targetPort": _CONTAINER_PORT}],
        },
    }


def virtual_service(model: Model) -> Manifest:
    """The managed route `detect` between others that a release must leave as they are, byte by byte."""
    own = {"destination": {"host": model.name, "port": {"number": PORT}}}
    local = {"destination": {"host": f"{model.name}.{model.namespace}.svc.cluster.local", "port": {"number": PORT}}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {
            "name": model.name,
            "namespace": model.namespace,
            "annotations": {"team.example.com/contact": "vision on call"},
        },
        "spec": {
            "hosts": [model.host],
            "gateways": [GATEWAY],
            "http": [
                {
                    "name": "internal-metrics",
                    "match": [{"uri": {"prefix": "/metrics"}}, {"uri": {"regex": "/debug/.*"}}],
                    "directResponse": {"status": 403, "body": {"string": "not from outside"}},
                },
                {
                    "name": ROUTE,
                    "match": [{"uri": {"exact": "/predict"}, "method": {"exact": "POST"}}],
                    "headers": {"response": {"set": {"x-served-by": SERVED_BY}}},
                    "timeout": "8s",
                    "route": [own],
                },
                {
                    "name": "old-clients",
                    "match": [{"uri": {"prefix": "/v0/"}, "headers": {"x-client": {"regex": "camera-[0-9]+"}}}],
                    "rewrite": {"uri": "/"},
                    "retries": {"attempts": 2, "perTryTimeout": "1500ms", "retryOn": "connect-failure,refused-stream"},
                    "route": [local | {"weight": 100}],
                },
                {
                    "name": "rest",
                    "headers": {
                        "request": {"add": {"x-through": "gateway"}, "remove": ["x-debug"]},
                        "response": {"set": {"cache-control": "no-store"}},
                    },
                    "corsPolicy": {
                        "allowOrigins": [{"exact": "https://viewer.example.com"}],
                        "allowMethods": ["GET", "POST"],
                        "maxAge": "24h",
                    },
                    "route": [own],
                },
            ],
        },
    }


def model_release(
    model: Model,
    image: str,
    *,
    strategy: Mapping[str, Any],
    analysis: Mapping[str, Any],
    traffic: Mapping[str, Any] | None = None,
) -> Manifest:
    """The one ModelRelease of the model."""
    return {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "metadata": {"name": model.name, "namespace": model.namespace},
        "spec": {
            "image": image,
            "workload": {"deployment": model.name},
            "traffic": {"route": ROUTE, **(traffic or {})},
            "strategy": dict(strategy),
            "analysis": dict(analysis),
        },
    }


def served_model(model: Model, image: str) -> Sequence[Manifest]:
    """All that serves the model before there is any release."""
    return namespace(model), deployment(model, image), service(model), virtual_service(model)


def outside_the_split(virtual: Manifest, route: str = ROUTE) -> Manifest:
    """A VirtualService without what a release may change: destinations of the named route and the server's counts."""
    metadata = virtual["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "labels", "annotations") if key in metadata}
    routes = [
        {key: value for key, value in entry.items() if key != "route"} if entry.get("name") == route else entry
        for entry in virtual["spec"]["http"]
    ]
    return {"metadata": kept, "spec": {**virtual["spec"], "http": routes}}


def canary_weight(virtual: Manifest, model: Model, route: str = ROUTE) -> int:
    """Weight in per cent that the route gives the canary's Service; 0 where it is no destination."""
    for entry in virtual["spec"]["http"]:
        if entry.get("name") == route:
            for split in entry["route"]:
                if split["destination"]["host"].split(".")[0] == model.canary:
                    return int(split.get("weight", 0))
    return 0
