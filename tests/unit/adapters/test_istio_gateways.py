"""Whose requests a route splits."""

from __future__ import annotations

from typing import Any, cast

import pytest

from fakes import FakeCluster
from modelrelease.adapters.istio import Gateways, IstioTraffic
from modelrelease.adapters.istio.gateways import REMEMBERED_SECONDS, gateway_names, workload_of
from modelrelease.errors import Forbidden, Retryable
from modelrelease.ports import Kind, Manifest, Senders, Workload
from modelrelease.rollout.seen import RouteReference

REFERENCE = RouteReference("detector", None, "detector", "detector-canary")
INGRESS = Workload("istio-system", "ingress")


def virtual_service(gateways: list[str] | None, match: list[dict[str, Any]] | None = None) -> Manifest:
    route = {"route": [{"destination": {"host": "detector"}}]} | ({"match": match} if match else {})
    spec = {"hosts": ["detect.example.com"], "http": [route]} | ({"gateways": gateways} if gateways else {})
    return cast(Manifest, {"metadata": {"name": "detector", "namespace": "vision"}, "spec": spec})


def gateway(namespace: str, name: str, selector: dict[str, str]) -> Manifest:
    return cast(Manifest, {"metadata": {"name": name, "namespace": namespace}, "spec": {"selector": selector}})


def pod(namespace: str, name: str, labels: dict[str, str], owner: tuple[str, str] | None = None) -> Manifest:
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    metadata = {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": owners}
    return cast(Manifest, {"metadata": metadata})


def cluster_with_gateway() -> FakeCluster:
    cluster = FakeCluster()
    cluster.put(Kind.GATEWAY, gateway("istio-system", "public", {"istio": "ingress"}))
    for number in range(2):
        labels = {"istio": "ingress", "pod-template-hash": "5d4f"}
        owner = ("ReplicaSet", "ingress-5d4f")
        cluster.put(Kind.POD, pod("istio-system", f"ingress-5d4f-{number}", labels, owner))
    cluster.put(Kind.POD, pod("vision", "other", {"istio": "egress"}))
    return cluster


async def senders_of(gateways: Gateways, manifest: Manifest) -> Senders:
    route = cast(dict[str, Any], manifest)["spec"]["http"][0]
    return await gateways.senders(manifest, [route])


@pytest.mark.parametrize(
    ("common", "match", "expected"),
    [
        (None, None, {"mesh"}),
        (["mesh", "public"], None, {"mesh", "vision/public"}),
        (["istio-system/public"], [{"uri": {"prefix": "/"}}], {"istio-system/public"}),
        (["./public", "public.istio-system", "old.edge.svc.cluster.local"], None,
         {"vision/public", "istio-system/public", "edge/old"}),
        (["mesh"], [{"gateways": ["edge/a"]}, {"gateways": ["edge/b"]}], {"edge/a", "edge/b"}),
        (["edge/a"], [{"gateways": ["mesh"]}, {"uri": {"exact": "/"}}], {"edge/a", "mesh"}),
    ],
)  # fmt: skip
def test_gateways_of_a_route(common: list[str] | None, match: list[dict[str, Any]] | None, expected: set[str]) -> None:
    manifest = virtual_service(common, match)
    assert expected == gateway_names(manifest, cast(dict[str, Any], manifest)["spec"]["http"][0])


@pytest.mark.parametrize(
    ("labels", "owner", "expected"),
    [
        ({"pod-template-hash": "5d4f"}, ("ReplicaSet", "ingress-5d4f"), "ingress"),
        ({}, ("DaemonSet", "ingress"), "ingress"),
        ({}, ("ReplicaSet", "ingress-5d4f"), "ingress-5d4f"),
        ({}, None, "ingress-5d4f-0"),
    ],
)
def test_a_pod_counts_under_the_name_of_its_workload(
    labels: dict[str, str], owner: tuple[str, str] | None, expected: str
) -> None:
    assert Workload("edge", expected) == workload_of(pod("edge", "ingress-5d4f-0", labels, owner))


async def test_only_the_workloads_of_the_routes_gateways_count() -> None:
    cluster = cluster_with_gateway()
    cluster.put(Kind.VIRTUAL_SERVICE, virtual_service(["istio-system/public"]))
    traffic = IstioTraffic(cluster)
    seen = await traffic.read("vision", REFERENCE)
    assert Senders((INGRESS,)) == await traffic.senders("vision", REFERENCE, seen)


async def test_the_mesh_is_everybody() -> None:
    assert Senders() == await senders_of(Gateways(FakeCluster()), virtual_service(["mesh", "istio-system/public"]))


@pytest.mark.parametrize("missing", ["gateway", "pods", "permission"])
async def test_what_cannot_be_seen_is_said_with_the_remedy_and_everybody_counts(missing: str) -> None:
    cluster = cluster_with_gateway()
    if missing == "permission":
        cluster.before_read = refuse
    named = "istio-system/public"
    if missing == "pods":
        cluster.put(Kind.GATEWAY, gateway("edge", "empty", {"istio": "nobody"}))
        named = "edge/empty"
    if missing == "gateway":
        named = "edge/none"
    found = await senders_of(Gateways(cluster), virtual_service([named]))
    assert found.workloads is None
    assert named in found.problem
    assert "`gateways`" in found.problem
    told = await senders_of(Gateways(cluster, {named: [INGRESS]}), virtual_service([named]))
    assert Senders((INGRESS,)) == told, "the configuration knows"


def refuse(kind: Kind, namespace: str | None, name: str | None) -> None:
    raise Forbidden(f"may not read {kind.value.plural} {namespace}/{name}.")


async def test_gateways_are_remembered_for_a_while_and_through_outages() -> None:
    cluster, now = cluster_with_gateway(), [0.0]
    gateways, manifest = Gateways(cluster, monotonic=lambda: now[0]), virtual_service(["istio-system/public"])
    reads: list[Kind] = []
    cluster.before_read = lambda kind, _, __: reads.append(kind)
    for now[0] in (0.0, REMEMBERED_SECONDS - 1):
        assert Senders((INGRESS,)) == await senders_of(gateways, manifest)
    assert [Kind.GATEWAY, Kind.POD] == reads
    now[0] = REMEMBERED_SECONDS + 1
    cluster.before_read = unreachable
    assert Senders((INGRESS,)) == await senders_of(gateways, manifest)
    with pytest.raises(Retryable):
        await senders_of(Gateways(cluster), manifest)


def unreachable(*_: object) -> None:
    raise Retryable("no answer")
