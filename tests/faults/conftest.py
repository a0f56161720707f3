"""The stage of the tests here: one API server and one Prometheus per module, a scene per test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from faults.stage import Stage, staged


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with staged() as made:
        yield made
