"""Case 24: several operators, of which one leads; the leader is killed, frozen past its Lease, or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import pytest

from faults.api_proxy import ApiProxy
from faults.operator_process import Operator
from faults.report import record
from faults.stage import Scene, Stage
from faults.test_api_faults import succeeded
from modelrelease.ports import Kind

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]
LEASE_SECONDS = 15.0
TAKEOVER_SECONDS = LEASE_SECONDS + 2.0


@dataclass
class Replicas:
    """Operators of one scene by the names of their pods."""

    scene: Scene
    parts: dict[str, tuple[ApiProxy, Operator]]

    def holder(self) -> str:
        """The pod that the Lease names; empty where it names none."""
        lease = next(iter(self.scene.recorder.all(self.scene.namespace, Kind.LEASE)), None)
        identity = ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
        return str(identity).partition("_")[0]

    async def leader(self) -> tuple[str, ApiProxy, Operator]:
        await self.scene.until(lambda _: self.holder() in self.parts)
        name = self.holder()
        return name, *self.parts[name]

    async def takeover(self, old: str) -> float:
        """Wait for another leader; how long it took."""
        began = monotonic()
        await self.scene.until(lambda _: self.holder() not in ("", old), 3 * LEASE_SECONDS)
        return monotonic() - began


@asynccontextmanager
async def replicas(stage: Stage, count: int) -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(stage.scene())
        parts = {
            f"operator-{number}": await stack.enter_async_context(stage.replica(scene, number, LEASE_SECONDS))
            for number in range(1, count + 1)
        }
        yield Replicas(scene, parts)


def written_since(api: ApiProxy, moment: float) -> list[str]:
    return [asked.signature for at, asked in api.writes if at >= moment]


@pytest.mark.parametrize("count", [2, 3])
async def test_24_a_killed_leader_is_followed_in_time(stage: Stage, count: int) -> None:
    async with replicas(stage, count) as made:
        name, _, operator = await made.leader()
        await made.scene.apply()
        await made.scene.until(lambda one: one.weight == 20)
        await asyncio.to_thread(operator.kill)
        took = await made.takeover(name)
        record(f"takeover among {count} after a kill", {"seconds to take over": round(took, 2), "lease": LEASE_SECONDS})
        assert took <= TAKEOVER_SECONDS
        await succeeded(made.scene)


async def test_24_a_stopped_leader_is_followed_at_once(stage: Stage) -> None:
    async with replicas(stage, 2) as made:
        name, _, operator = await made.leader()
        await asyncio.sleep(3)
        stopping = asyncio.create_task(asyncio.to_thread(operator.stop))
        took = await made.takeover(name)
        assert 0 == await stopping
        assert took < LEASE_SECONDS, "a lease that is given up need not end"


async def test_24_a_frozen_leader_that_wakes_writes_nothing(stage: Stage) -> None:
    async with replicas(stage, 2) as made:
        name, api, operator = await made.leader()
        await made.scene.apply()
        await made.scene.until(lambda one: one.weight == 20)
        operator.freeze()
        took = await made.takeover(name)
        assert took <= TAKEOVER_SECONDS
        await made.scene.until(lambda one: one.weight == 100)
        woken = monotonic()
        operator.wake()
        await succeeded(made.scene)
        assert [] == written_since(api, woken)
        assert made.holder() != name
        record("a frozen leader", {"seconds to take over": round(took, 2), "writes after waking": 0})


async def test_24_a_leader_that_is_cut_off_gives_up_before_another_leads(stage: Stage) -> None:
    async with replicas(stage, 2) as made:
        name, api, operator = await made.leader()
        await made.scene.apply()
        await made.scene.until(lambda one: one.weight == 20)
        api.cut()
        took = await made.takeover(name)
        assert took <= TAKEOVER_SECONDS
        lost = [line for line in operator.said() if line["event"] == "leadership" and not line["held"]]
        assert lost, "it knew before the other led"
        mended = monotonic()
        api.mend()
        await succeeded(made.scene)
        assert [] == written_since(api, mended)
