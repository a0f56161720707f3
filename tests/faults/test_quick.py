"""A few of the faults of `make faults`, side by side, in every run of the tests."""

from __future__ import annotations

import asyncio

import pytest

from faults.stage import Stage
from faults.stories import STORIES
from faults.sweep import Sweep, Trial, attempt, learn

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


async def test_faults_at_decisive_writes_change_nothing_but_time(stage: Stage) -> None:
    sweep = Sweep()
    release, rollback = STORIES["release"], STORIES["rollback"]
    await asyncio.gather(learn(stage, sweep, release), learn(stage, sweep, rollback))
    trials = (
        Trial(release, "killed after", "PUT virtualservices 80,20 #1"),
        Trial(release, "reply lost", "POST deployments detector-canary #1"),
        Trial(rollback, "killed before", "PUT virtualservices 100,0 #1"),
    )
    await asyncio.gather(*(attempt(stage, sweep, trial) for trial in trials))

    assert [] == sweep.violations
    assert [] == sweep.not_reached
    assert ("Succeeded", "RolledBack") == (sweep.calm["release"].phase, sweep.calm["rollback"].phase)
