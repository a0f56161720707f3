"""Istio's objects: VirtualServices, whose weights are changed, and DestinationRules, which are copied."""

from modelrelease.adapters.istio.gateways import Gateways
from modelrelease.adapters.istio.hosts import same_host
from modelrelease.adapters.istio.routes import read_route, restored, with_weight
from modelrelease.adapters.istio.rules import canary_destination_rule
from modelrelease.adapters.istio.traffic import IstioTraffic

__all__ = ["Gateways", "IstioTraffic", "canary_destination_rule", "read_route", "restored", "same_host", "with_weight"]
