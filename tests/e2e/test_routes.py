"""Shapes of VirtualServices as teams have them: all that is not the managed split stays, byte by byte, throughout."""

from __future__ import annotations

from typing import Any

import pytest

from demo.manifests import GATEWAY, PORT, ROUTE, SERVED_BY, Model
from demo.scenes import Scene
from demo.stage import Stage
from e2e.arena import STRATEGY, arena_in
from modelrelease.api.status import Phase

pytestmark = pytest.mark.e2e

Manifest = dict[str, Any]
REPORT = {"response": {"set": {"x-served-by": SERVED_BY}}}


def around(model: Model, *http: Manifest, **spec: Any) -> Manifest:
    """A VirtualService for the model's host."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": model.name, "namespace": model.namespace, "labels": {"team": "vision"}},
        "spec": {"hosts": [model.host], "gateways": [GATEWAY], **spec, "http": list(http)},
    }


def with_subset(model: Model) -> tuple[Manifest, list[Manifest]]:
    """Stable's destination has a subset and a traffic policy; a header sends testers elsewhere."""
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": model.name, "namespace": model.namespace},
        "spec": {
            "host": model.name,
            "trafficPolicy": {"connectionPool": {"http": {"http1MaxPendingRequests": 200}}},
            "subsets": [{"name": "production", "labels": model.labels}],
        },
    }
    stable = {"host": model.name, "subset": "production", "port": {"number": PORT}}
    testers = {
        "match": [{"headers": {"x-tester": {"exact": "yes"}}, "queryParams": {"trace": {"prefix": "on"}}}],
        "fault": {"delay": {"percentage": {"value": 0.1}, "fixedDelay": "5s"}},
        "route": [{"destination": stable}],
    }
    managed = {"name": ROUTE, "headers": REPORT, "route": [{"destination": stable, "weight": 100}]}
    return around(model, testers, managed), [rule]


def with_mirror(model: Model) -> tuple[Manifest, list[Manifest]]:
    """The managed route is mirrored, retried and opened to other origins; a redirect stands before it."""
    full = f"{model.name}.{model.namespace}.svc.cluster.local"
    old = {"match": [{"uri": {"exact": "/v0/predict"}}], "redirect": {"uri": "/predict", "redirectCode": 308}}
    managed = {
        "name": ROUTE,
        "match": [{"uri": {"prefix": "/predict"}, "ignoreUriCase": True}],
        "headers": REPORT | {"request": {"add": {"x-route": "detect"}}},
        "retries": {"attempts": 1, "perTryTimeout": "3s", "retryOn": "connect-failure"},
        "timeout": "4500ms",
        "corsPolicy": {"allowOrigins": [{"regex": "https://.*[.]example[.]com"}], "allowCredentials": False},
        "mirror": {"host": full, "port": {"number": PORT}},
        "mirrorPercentage": {"value": 0.5},
        "route": [{"destination": {"host": full, "port": {"number": PORT}}}],
    }
    return around(model, old, managed, exportTo=["*"]), []


def with_headers_per_destination(model: Model) -> tuple[Manifest, list[Manifest]]:
    """One nameless default behind the managed route; the destination carries headers of its own."""
    own = {
        "destination": {"host": model.name},
        "headers": {"response": {"add": {"x-zone": "a"}, "remove": ["server"]}},
    }
    managed = {
        "name": ROUTE,
        "match": [{"uri": {"exact": "/predict"}}, {"uri": {"prefix": "/v2/"}, "authority": {"prefix": "e2e"}}],
        "headers": REPORT,
        "rewrite": {"uriRegexRewrite": {"match": "^/predict$", "rewrite": "/predict"}},
        "route": [own],
    }
    return around(model, managed, {"route": [{"destination": {"host": model.name, "port": {"number": PORT}}}]}), []


SHAPES = (with_subset, with_mirror, with_headers_per_destination)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_route_keeps_its_shape(stage: Stage, model: Model, shape: Any) -> None:
    route, others = shape(model)
    strategy = {**STRATEGY, "steps": [{"weight": 30, "minDuration": "4s"}, {"weight": 100, "minDuration": "3s"}]}
    with arena_in(stage, model, route=route, others=others) as arena:
        arena.install(strategy)
        scene = Scene("shape", "", "v1.1.0", Phase.SUCCEEDED, 240)

        performance, result, complaints = arena.perform(scene)

        assert complaints == []
        assert (result.is_route_untouched, result.is_route_restored) == (True, True)
        assert {30, 100} <= {weight for _, weight in performance.weights}
        arena.assert_no_errors(performance.began_at)
        assert result.writes is not None
        assert result.writes.by_kind["create destinationrules"] == len(others), (
            "and none is left, or there is a complaint"
        )
