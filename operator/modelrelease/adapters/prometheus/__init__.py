"""Prometheus through `prometheus_api_client`."""

from modelrelease.adapters.prometheus.credentials import Credentials
from modelrelease.adapters.prometheus.metrics import PrometheusMetrics, Provider
from modelrelease.adapters.prometheus.sources import INFERENCE, ISTIO, SourceDefinition

__all__ = ["INFERENCE", "ISTIO", "Credentials", "PrometheusMetrics", "Provider", "SourceDefinition"]
