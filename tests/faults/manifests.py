"""What a story begins with, and the settings that make its time short."""

from __future__ import annotations

from typing import Any

from faults.kube import Json

NAME = "detector"
CANARY = f"{NAME}-canary"
OLD_IMAGE = "registry.example.com/detector:v1.0.0"
NEW_IMAGE = "registry.example.com/detector:v1.1.0"
NEWER_IMAGE = "registry.example.com/detector:v1.2.0"
STEPS = (20, 100)

STRATEGY: Json = {
    "steps": [{"weight": weight, "minDuration": "1s"} for weight in STEPS],
    "bakeTime": "1s",
    "drainDelay": "1s",
    "progressDeadline": "20s",
}
LONG_STEP: Json = {"steps": [{"weight": 20, "minDuration": "25s"}, {"weight": 100, "minDuration": "1s"}]}
"""For what takes place within one step."""

ANALYSIS: Json = {
    "interval": "1s",
    "lag": "1s",
    "warmUp": "0s",
    "baseline": "2s",
    "harmBudget": 0.05,
    "errorRate": {"maxIncrease": 0.05},
    "latencyP99": {"maxRatio": 5},
}


def release(namespace: str, image: str = NEW_IMAGE, name: str = NAME, **spec: Any) -> Json:
    """A ModelRelease with short steps; `spec` replaces fields, of strategy and analysis single ones."""
    strategy = {**STRATEGY, **spec.pop("strategy", {})}
    analysis = {**ANALYSIS, **spec.pop("analysis", {})}
    return {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "image": image,
            "workload": {"deployment": NAME},
            "traffic": {"route": "primary"},
            "strategy": strategy,
            "analysis": analysis,
            **spec,
        },
    }


def deployment(namespace: str, replicas: int = 1) -> Json:
    labels = {"app": NAME}
    container = {"name": "server", "image": OLD_IMAGE, "ports": [{"containerPort": 8000}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": namespace, "labels": labels, "annotations": {"team": "vision"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def service(namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": namespace, "labels": {"app": NAME}},
        "spec": {"selector": {"app": NAME}, "ports": [{"name": "http", "port": 8000, "targetPort": 8000}]},
    }


def virtual_service(namespace: str) -> Json:
    """With all that must not be touched beside the managed route."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": NAME, "namespace": namespace, "labels": {"team": "vision"}},
        "spec": {
            "hosts": ["detect.example.com"],
            "gateways": ["istio-system/ingressgateway"],
            "http": [
                {
                    "name": "primary",
                    "match": [{"uri": {"prefix": "/v1"}}],
                    "timeout": "3s",
                    "headers": {"request": {"set": {"x-model": "detector"}}},
                    "route": [{"destination": {"host": NAME, "port": {"number": 8000}}}],
                },
                {
                    "name": "other",
                    "match": [{"uri": {"prefix": "/legacy"}}],
                    "route": [
                        {"destination": {"host": "elsewhere"}, "weight": 70},
                        {"destination": {"host": "nowhere"}, "weight": 30},
                    ],
                },
            ],
        },
    }


def settings(prometheus: str, namespace: str, lease_seconds: float, lease_namespace: str) -> Json:
    """The operator's configuration."""
    return {
        "providers": {"default": {"url": prometheus, "scrapeInterval": "500ms", "timeout": "2s"}},
        "lease": {"namespace": lease_namespace, "duration": f"{lease_seconds:g}s"},
        "watchNamespace": namespace,
        "resyncInterval": "10s",
    }
