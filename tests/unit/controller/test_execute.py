"""Effects on a world that is not as it was seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from fakes import FakeCluster
from modelrelease.adapters.istio import IstioTraffic
from modelrelease.api.status import Phase
from modelrelease.controller.execute import Executor
from modelrelease.controller.gather import Look
from modelrelease.errors import Conflict
from modelrelease.ports import Kind
from modelrelease.rollout.canary import route_reference
from modelrelease.rollout.decision import DeleteCanary
from simulation.looks import canary_seen, seen_of, spec_of
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, deployment, release, virtual_service

CANARY = f"{NAME}-canary"


@pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.PROMOTING, Phase.SUCCEEDED])
async def test_no_canary_is_deleted_by_a_route_that_was_read_late(phase: Phase) -> None:
    """It had no canary then. The route by which the release goes has given it traffic since."""
    cluster, reference = FakeCluster(), route_reference(spec_of())
    cluster.put(Kind.VIRTUAL_SERVICE, virtual_service())
    late = await IstioTraffic(cluster).read(NAMESPACE, reference)
    await IstioTraffic(cluster).set_weight(NAMESPACE, reference, late, 20)
    made = cast(dict[str, Any], deployment(1))
    made["metadata"]["name"] = CANARY
    cluster.put(Kind.DEPLOYMENT, made)
    stored = cast(dict[str, Any], cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY))
    canary = canary_seen(spec_of(), uid=stored["metadata"]["uid"])
    seen = replace(seen_of(phase, status={"ever_weighted": True}), route=late, canary=canary)
    effect = DeleteCanary(canary.uid)

    executor = Executor(cluster, IstioTraffic(cluster))
    with pytest.raises(Conflict):
        await executor.carry_out(effect, Look(release(NEW_IMAGE), seen, reference))
    assert cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY) is not None

    traffic = IstioTraffic(cluster)
    await traffic.restore(NAMESPACE, reference, await traffic.read(NAMESPACE, reference))
    newest = await traffic.read(NAMESPACE, reference)
    await executor.carry_out(effect, Look(release(NEW_IMAGE), replace(seen, route=newest), reference))
    assert cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY) is None
