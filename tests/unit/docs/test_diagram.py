"""The picture of the phases shows what releases do."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any, cast

import pytest

from modelrelease.api.status import Phase
from modelrelease.cli.reference.diagram import svg, transitions
from modelrelease.ports import Kind
from simulation import World
from simulation.world import KEY, NEW_IMAGE


def phases(world: World) -> list[Phase]:
    """Of the ModelRelease, in the order in which they were written, each once in a row."""
    found = [Phase.INITIALIZING]
    for _, kind, manifest in world.cluster.history:
        status = cast(dict[str, Any], manifest).get("status") or {}
        if kind is Kind.MODEL_RELEASE and "phase" in status and Phase(status["phase"]) is not found[-1]:
            found.append(Phase(status["phase"]))
    return found


async def begun() -> World:
    world = World(rps=200)
    world.deploy_stable()
    await world.run(40)
    world.apply()
    return world


async def good(world: World) -> None:
    await world.run(60, until=lambda one: one.weight > 0)
    world.annotate("modelrelease.dev/pause", "true")
    await world.run(5)
    world.annotate("modelrelease.dev/resume", "true")
    await world.run(5)
    world.annotate("modelrelease.dev/promote", "full")
    await world.run(120, until=lambda one: one.status.phase is Phase.SUCCEEDED)
    assert Phase.SUCCEEDED is world.status.phase


async def bad(world: World) -> None:
    world.canary.error_rate = 1.0
    await world.run(120, until=lambda one: one.status.phase is Phase.ROLLED_BACK)
    assert Phase.ROLLED_BACK is world.status.phase
    world.annotate("modelrelease.dev/retry", "true")
    await world.run(10)


async def replaced(world: World) -> None:
    await world.run(60, until=lambda one: one.weight > 0)
    world.apply(image=NEW_IMAGE.replace("v1.1.0", "v1.2.0"))
    await world.run(60, until=lambda one: bool(one.status.history))
    await world.run(10)


async def never_ready(world: World) -> None:
    world.canary.starts = False
    await world.run(700, until=lambda one: one.status.phase is Phase.FAILED)
    assert Phase.FAILED is world.status.phase


@pytest.mark.parametrize("scene", [good, bad, replaced, never_ready])
async def test_a_release_goes_along_the_arrows(scene: Any) -> None:
    world = await begun()
    await scene(world)
    gone = phases(world)
    assert len(gone) > 3
    assert set() == set(pairwise(gone)) - transitions(), KEY


def test_the_picture_has_every_phase_and_is_well_formed() -> None:
    texts = {element.text for element in ET.fromstring(svg()).iter() if element.tag.endswith("text")}  # noqa: S314
    assert {str(phase) for phase in Phase} <= texts
    assert {phase for pair in transitions() for phase in pair} == set(Phase)
