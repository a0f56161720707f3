"""Two ModelReleases for one Deployment or one route: exactly one of them wins."""

from __future__ import annotations

from typing import Any

import pytest

from fakes import FakeCluster
from modelrelease.api.spec import parse_spec
from modelrelease.api.status import Phase
from modelrelease.controller.contention import Contention
from modelrelease.ports import Key, Kind
from simulation.world import NAMESPACE, NEW_IMAGE, release


def _release(name: str, deployment: str, phase: str = "", traffic: Any = None) -> dict[str, Any]:
    body: Any = release(NEW_IMAGE, workload={"deployment": deployment}, traffic=traffic or {})
    body["metadata"]["name"] = name
    if phase:
        body["status"] = {"phase": phase}
    return dict(body)


async def _rivals(*bodies: dict[str, Any], phase: Phase = Phase.INITIALIZING) -> dict[str, str]:
    """Who wins over whom; the releases are as old as they are earlier in `bodies`."""
    times = iter(f"2027-01-15T08:00:{second:02}Z" for second in range(60))
    cluster = FakeCluster(now=lambda: next(times))
    contention = Contention(cluster)
    keys = {Key(NAMESPACE, body["metadata"]["name"]): body for body in bodies}
    for key, body in keys.items():
        cluster.put(Kind.MODEL_RELEASE, body)
        contention.remember(key, parse_spec(body["spec"]))
    return {key.name: await contention.rival(key, parse_spec(body["spec"]), phase) for key, body in keys.items()}


CASES: dict[str, tuple[list[dict[str, Any]], dict[str, str]]] = {
    "alone": ([_release("a", "x")], {"a": ""}),
    "different Deployments": ([_release("a", "x"), _release("b", "y")], {"a": "", "b": ""}),
    "the older wins": ([_release("b", "x"), _release("a", "x")], {"b": "", "a": "b"}),
    "under way wins over older": ([_release("a", "x"), _release("b", "x", "Progressing")], {"a": "b", "b": ""}),
    "one route of two Deployments": (
        [_release("a", "x"), _release("b", "y", traffic={"virtualService": "x"})],
        {"a": "", "b": "a"},
    ),
    "two routes of one VirtualService": (
        [
            _release("a", "x", traffic={"virtualService": "v", "route": "one"}),
            _release("b", "y", traffic={"virtualService": "v", "route": "two"}),
        ],
        {"a": "", "b": ""},
    ),
}


@pytest.mark.parametrize(("bodies", "expected"), CASES.values(), ids=[name.replace(" ", "-") for name in CASES])
@pytest.mark.parametrize("phase", [Phase.INITIALIZING, Phase.SUCCEEDED])
async def test_who_wins(bodies: list[dict[str, Any]], expected: dict[str, str], phase: Phase) -> None:
    assert expected == await _rivals(*bodies, phase=phase)


async def test_a_release_that_cannot_be_read_claims_nothing() -> None:
    cluster = FakeCluster()
    contention = Contention(cluster)
    for name, damage in (("a", {"status": {"phase": "Nonsense"}}), ("b", {"spec": {"image": ""}})):
        cluster.put(Kind.MODEL_RELEASE, {**_release(name, "x"), **damage})
    mine = _release("c", "x")
    cluster.put(Kind.MODEL_RELEASE, mine)
    assert "" == await contention.rival(Key(NAMESPACE, "c"), parse_spec(mine["spec"]), Phase.INITIALIZING)


async def test_nothing_is_listed_where_nobody_else_is_known() -> None:
    cluster = FakeCluster()
    reads: list[Kind] = []
    cluster.before_read = lambda kind, *_: reads.append(kind)
    contention, key, spec = Contention(cluster), Key(NAMESPACE, "a"), parse_spec(_release("a", "x")["spec"])
    contention.remember(key, spec)
    assert "" == await contention.rival(key, spec, Phase.SUCCEEDED)
    assert [] == reads


async def test_what_is_forgotten_is_no_rival() -> None:
    cluster = FakeCluster()
    contention, spec = Contention(cluster), parse_spec(_release("a", "x")["spec"])
    for name in ("a", "b"):
        contention.remember(Key(NAMESPACE, name), spec)
    contention.forget(Key(NAMESPACE, "a"))
    contention.forget(Key(NAMESPACE, "b"))
    assert {} == contention._claims
