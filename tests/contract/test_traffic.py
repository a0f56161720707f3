"""What `IstioTraffic` does on the fake cluster and on an API server that knows Istio's definitions."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from contract.world import World
from modelrelease.adapters.istio import IstioTraffic, canary_destination_rule
from modelrelease.errors import Conflict, Retryable, Terminal
from modelrelease.ports import Kind, Manifest, Senders, Workload
from modelrelease.rollout.seen import RouteReference

REFERENCE = RouteReference("detector", "primary", "detector", "detector-canary")


def virtual_service(namespace: str) -> Manifest:
    spec = {
        "hosts": ["detector.example.com"],
        "gateways": ["istio-system/public"],
        "http": [
            {
                "name": "testers",
                "match": [{"headers": {"end-user": {"exact": "jason"}}, "ignoreUriCase": True}],
                "route": [{"destination": {"host": "detector-preview"}, "weight": 100}],
            },
            {
                "name": "primary",
                "match": [{"uri": {"prefix": "/v1/detect"}}],
                "rewrite": {"uri": "/detect"},
                "route": [
                    {
                        "destination": {"host": "detector", "subset": "gpu", "port": {"number": 80}},
                        "headers": {"request": {"add": {"x-arm": "any"}}},
                    }
                ],
                "mirror": {"host": "detector-shadow"},
                "mirrorPercentage": {"value": 12.5},
                "fault": {"delay": {"percentage": {"value": 0.1}, "fixedDelay": "5s"}},
                "corsPolicy": {"allowOrigins": [{"exact": "https://example.com"}], "maxAge": "24h"},
                "timeout": "3s",
                "retries": {"attempts": 2, "perTryTimeout": "1s", "retryOn": "gateway-error"},
            },
        ],
        "tcp": [{"route": [{"destination": {"host": "detector", "port": {"number": 9000}}}]}],
    }
    metadata = {"name": "detector", "namespace": namespace, "annotations": {"team": "vision"}}
    manifest = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec}
    return cast(Manifest, manifest)


async def stored_spec(world: World) -> str:
    found = await world.cluster.get(Kind.VIRTUAL_SERVICE, world.namespace, "detector")
    assert found is not None
    return json.dumps(found["spec"])


async def test_a_release_leaves_the_route_as_it_was(world: World) -> None:
    traffic = IstioTraffic(world.cluster)
    await world.cluster.create(Kind.VIRTUAL_SERVICE, virtual_service(world.namespace))
    before = await stored_spec(world)
    seen = await traffic.read(world.namespace, REFERENCE)
    assert (0, False) == (seen.weight_percent, seen.has_canary)
    for weight in (1, 5, 100, 0):
        seen = await traffic.set_weight(world.namespace, REFERENCE, seen, weight)
        assert (weight, True, True) == (seen.weight_percent, seen.has_canary, seen.is_consistent)
        assert seen.is_ours
        assert seen == await traffic.read(world.namespace, REFERENCE)
    await traffic.restore(world.namespace, REFERENCE, seen)
    seen = await traffic.read(world.namespace, REFERENCE)
    assert (0, False) == (seen.weight_percent, seen.has_canary)
    assert before == await stored_spec(world)


async def test_a_weight_that_is_there_is_not_written(world: World) -> None:
    """Not even tried: a writer without leave to write would hear of it."""
    may_write = True
    traffic = IstioTraffic(world.only_if(lambda: may_write))
    await world.cluster.create(Kind.VIRTUAL_SERVICE, virtual_service(world.namespace))
    seen = await traffic.read(world.namespace, REFERENCE)
    may_write = False
    assert seen == await traffic.set_weight(world.namespace, REFERENCE, seen, 0)
    await traffic.restore(world.namespace, REFERENCE, seen)
    with pytest.raises(Retryable):
        await traffic.set_weight(world.namespace, REFERENCE, seen, 20)
    may_write = True
    seen = await traffic.set_weight(world.namespace, REFERENCE, seen, 20)
    may_write = False
    assert seen == await traffic.set_weight(world.namespace, REFERENCE, seen, 20)


async def test_a_route_is_confirmed_without_a_change_and_one_that_was_read_late_is_not(world: World) -> None:
    await world.cluster.create(Kind.VIRTUAL_SERVICE, virtual_service(world.namespace))
    late = await IstioTraffic(world.cluster).read(world.namespace, REFERENCE)
    await IstioTraffic(world.cluster).confirm(late)
    assert late == await IstioTraffic(world.cluster).read(world.namespace, REFERENCE)
    may_write = True
    traffic = IstioTraffic(world.only_if(lambda: may_write))
    stored = await traffic.set_weight(world.namespace, REFERENCE, late, 20)
    with pytest.raises(Conflict):
        await traffic.confirm(late)
    may_write = False
    await traffic.confirm(stored)  # what was stored from here is not asked for again


def gateway(namespace: str) -> Manifest:
    servers = [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    made = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "public", "namespace": namespace},
        "spec": {"selector": {"istio": f"ingress-{namespace}"}, "servers": servers},
    }
    return cast(Manifest, made)


def gateway_pod(namespace: str, gateway_namespace: str) -> Manifest:
    """A pod of the gateway's Deployment, anywhere in the cluster: a Gateway's selector knows no namespaces."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "ingress-5d4f", "uid": "1", "controller": True}
    labels = {"istio": f"ingress-{gateway_namespace}", "pod-template-hash": "5d4f"}
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "ingress-5d4f-a", "namespace": namespace, "labels": labels, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "proxy", "image": "proxy"}], "automountServiceAccountToken": False},
    }
    return cast(Manifest, made)


async def test_a_route_splits_the_requests_of_its_gateways_workloads(world: World) -> None:
    split = cast(dict[str, Any], virtual_service(world.namespace))
    split["spec"]["gateways"] = [f"{world.other_namespace}/public"]
    await world.cluster.create(Kind.VIRTUAL_SERVICE, split)
    seen = await IstioTraffic(world.cluster).read(world.namespace, REFERENCE)
    unseen = await IstioTraffic(world.cluster).senders(world.namespace, REFERENCE, seen)
    assert unseen.workloads is None
    assert f"{world.other_namespace}/public does not exist" in unseen.problem

    await world.cluster.create(Kind.GATEWAY, gateway(world.other_namespace))
    await world.cluster.create(Kind.POD, gateway_pod(world.namespace, world.other_namespace))

    expected = Senders((Workload(world.namespace, "ingress"),))
    assert expected == await IstioTraffic(world.cluster).senders(world.namespace, REFERENCE, seen)


async def test_a_write_loses_against_one_that_came_before(world: World) -> None:
    traffic = IstioTraffic(world.cluster)
    await world.cluster.create(Kind.VIRTUAL_SERVICE, virtual_service(world.namespace))
    seen = await traffic.read(world.namespace, REFERENCE)
    other: Manifest = {"metadata": {"annotations": {"edited": "meanwhile"}}}
    await world.cluster.patch(Kind.VIRTUAL_SERVICE, world.namespace, "detector", other)
    with pytest.raises(Conflict):
        await traffic.set_weight(world.namespace, REFERENCE, seen, 5)
    again = await traffic.read(world.namespace, REFERENCE)
    assert again.weight_percent == 0
    assert (await traffic.set_weight(world.namespace, REFERENCE, again, 5)).weight_percent == 5


async def test_a_virtual_service_that_is_not_there_is_named_with_the_remedy(world: World) -> None:
    with pytest.raises(Terminal, match=r"detector does not exist; create it, .* spec\.traffic\.hosts") as refused:
        await IstioTraffic(world.cluster).read(world.namespace, REFERENCE)
    assert refused.value.reason == "VirtualServiceMissing"


async def test_the_copied_rule_is_valid_to_istio(world: World) -> None:
    rule: dict[str, Any] = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "detector", "namespace": world.namespace},
        "spec": {
            "host": "detector",
            "trafficPolicy": {"loadBalancer": {"simple": "LEAST_REQUEST"}, "tls": {"mode": "ISTIO_MUTUAL"}},
            "subsets": [
                {
                    "name": "gpu",
                    "labels": {"kind": "gpu"},
                    "trafficPolicy": {"connectionPool": {"http": {"http1MaxPendingRequests": 2}}},
                }
            ],
        },
    }
    original = await world.cluster.create(Kind.DESTINATION_RULE, cast(Manifest, rule))
    copied = canary_destination_rule(
        original, name="detector-canary", canary_host="detector-canary", subset="gpu", labels={}
    )
    assert copied is not None
    created = await world.cluster.create(Kind.DESTINATION_RULE, copied)
    assert copied["spec"] == created["spec"]
