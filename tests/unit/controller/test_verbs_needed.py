"""No verb of the table of permissions is superfluous: without any one of them some release goes wrong.

The real controller runs on a cluster that refuses that verb, as the API server does where the role lacks it. That the
role grants exactly the table is asked of a real API server (`tests/integration/crd/test_roles.py`), and kopf's own
requests (watch) are made there by the operator as a process (`test_operator.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from fakes import FakeClock, FakeCluster
from fakes.cluster import Write
from modelrelease.adapters.announcer import EventAnnouncer
from modelrelease.adapters.lease import ClusterLease, LeaseIdentity, LeaseTiming
from modelrelease.api.permissions import LEADING, LEASE_NAME, WORKING
from modelrelease.api.status import ConditionType, Phase
from modelrelease.errors import Forbidden
from modelrelease.ports import Announcement, Kind, Manifest
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, World, deployment

VERBS = {"create": "create", "replace": "update", "patch": "patch", "replace_status": "update", "delete": "delete"}
ISTIO = "networking.istio.io/v1"


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb on a resource, such as `update` on `modelreleases/status`."""

    verb: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb}-{self.resource}"


def granted(exempt: set[Verb]) -> list[Verb]:
    table = [Verb(verb, each.resource) for each in WORKING for verb in each.verbs]
    assert exempt <= set(table)
    return [each for each in table if each not in exempt]


BY_KOPF = {Verb("watch", "modelreleases"), Verb("watch", "deployments")}
OF_EVENTS = {Verb("create", "events"), Verb("patch", "events")}


def refuse(cluster: FakeCluster, refused: Verb | None, used: set[Verb]) -> None:
    """Let the cluster answer 403 to this verb, and note all that is asked for."""

    def check(asked: Verb) -> None:
        used.add(asked)
        if asked == refused:
            raise Forbidden(f"may not {asked}")

    def before_read(kind: Kind, _: str | None, name: str | None) -> None:
        check(Verb("list" if name is None else "get", kind.value.plural))

    def before_write(write: Write) -> None:
        suffix = "/status" if write.verb == "replace_status" else ""
        check(Verb(VERBS[write.verb], write.kind.value.plural + suffix))

    cluster.before_read, cluster.before_write = before_read, before_write


def put(world: World, kind: Kind, name: str, spec: dict[str, Any]) -> None:
    metadata = {"namespace": NAMESPACE, "name": name}
    manifest = {"apiVersion": kind.value.api_version, "kind": kind.value.kind, "metadata": metadata, "spec": spec}
    world.cluster.put(kind, cast(Manifest, manifest))


async def existing(world: World) -> str:
    """A release beside what people made: a Deployment with an autoscaler, and a host with a traffic policy."""
    world.deploy_stable(10)
    target = {"kind": "Deployment", "name": NAME}
    put(world, Kind.AUTOSCALER, NAME, {"minReplicas": 2, "maxReplicas": 20, "scaleTargetRef": target})
    policy = {"connectionPool": {"http": {"maxRetries": 2}}}
    put(world, Kind.DESTINATION_RULE, NAME, {"host": NAME, "trafficPolicy": policy})
    put(world, Kind.GATEWAY, "front", {"selector": {"istio": "ingressgateway"}})
    world.touch(Kind.VIRTUAL_SERVICE, NAME, lambda body: body["spec"].update(gateways=["front"]))
    await world.run(60)
    world.apply()
    await world.run(20)
    health = world.status.condition(ConditionType.ANALYSIS_HEALTHY)
    world.annotate("promote", "full")
    await world.run(90)
    return f"{world.status.phase}: {world.status.message} {health.message if health is not None else ''}"


async def created(world: World) -> str:
    """A release that holds all: the operator creates what serves."""
    template = cast(dict[str, Any], deployment(1))["spec"]["template"]
    workload = {"deployment": NAME, "template": template, "replicas": 1, "port": 8000}
    world.apply(NEW_IMAGE, workload=workload, traffic={"hosts": ["detect.example.com"]})
    await world.run(30)
    return f"{world.status.phase}: {world.exists(Kind.VIRTUAL_SERVICE, NAME)}"


async def orphaned(world: World) -> str:
    """A ModelRelease that was removed by force; the operator finds the canary by its label."""
    world.deploy_stable()
    await world.run(60)
    world.apply()
    await world.run(60, until=lambda one: one.weight == 1)
    world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME, force=True)
    world.wake()
    await world.run(10)
    return f"canary: {world.exists(Kind.DEPLOYMENT, f'{NAME}-canary')}"


Scenario = Callable[[World], Any]
SCENARIOS: tuple[Scenario, ...] = (existing, created, orphaned)


async def play(scenario: Scenario, refused: Verb | None, used: set[Verb]) -> str:
    """What it comes to; also where it breaks off because it waits for something that never happens."""
    world = World(rps=20)
    refuse(world.cluster, refused, used)
    try:
        told = await scenario(world)
    except AssertionError as stuck:
        return str(stuck).partition("\n")[0]
    forbidden = sorted({str(error) for error in world.errors if isinstance(error, Forbidden)})
    return f"{told} {forbidden}"


@pytest.fixture(scope="module")
def undisturbed() -> dict[Scenario, tuple[str, set[Verb]]]:
    """What each scenario comes to with the whole table, and what it asks for."""
    found = {}
    for scenario in SCENARIOS:
        used: set[Verb] = set()
        found[scenario] = (asyncio.run(play(scenario, None, used)), used)
    return found


def test_with_the_whole_table_releases_go_well(undisturbed: dict[Scenario, tuple[str, set[Verb]]]) -> None:
    told = {scenario.__name__: told for scenario, (told, _) in undisturbed.items()}
    assert told["existing"].startswith(f"{Phase.SUCCEEDED}: v1.1.0 was released in ")
    assert ("Stable: True []", "canary: False []") == (told["created"], told["orphaned"])
    asked = set().union(*(used for _, used in undisturbed.values()))
    assert set(granted(BY_KOPF | OF_EVENTS)) == asked, "the scenarios ask for the whole table, and for nothing else"


@pytest.mark.parametrize("refused", granted(BY_KOPF | OF_EVENTS), ids=str)
async def test_without_a_verb_some_release_goes_wrong(
    undisturbed: dict[Scenario, tuple[str, set[Verb]]], refused: Verb
) -> None:
    for scenario, (told, used) in undisturbed.items():
        if refused in used and told != await play(scenario, refused, set()):
            return
    pytest.fail(f"all goes as well without {refused}: take it out of the table")


@pytest.mark.parametrize("refused", [None, *sorted(OF_EVENTS, key=str)], ids=str)
async def test_without_a_verb_the_story_is_not_told(refused: Verb | None) -> None:
    """An Event that is said again is counted, not posted anew."""
    world = World()
    world.apply()
    refuse(world.cluster, refused, set())
    release = world.cluster.peek(Kind.MODEL_RELEASE, NAMESPACE, NAME)
    assert release is not None
    announcer = EventAnnouncer(world.cluster, world.clock)
    for _ in range(2):
        await announcer.announce(release, Announcement("StepStarted", "Step 1 of 5."))
    counts = [cast(dict[str, Any], event)["count"] for event in world.cluster.all(Kind.EVENT)]
    expected: dict[Verb | None, list[int]] = {None: [2], Verb("create", "events"): [], Verb("patch", "events"): [1, 1]}
    assert expected[refused] == counts


@pytest.mark.parametrize("refused", [None, *(Verb(verb, "leases") for each in LEADING for verb in each.verbs)], ids=str)
async def test_without_a_verb_nobody_leads(refused: Verb | None) -> None:
    cluster, clock = FakeCluster(), FakeClock()
    refuse(cluster, refused, set())
    lease = ClusterLease(cluster, clock, LeaseIdentity(NAMESPACE, LEASE_NAME, "pod-0"), LeaseTiming())
    acquired, renewed = await lease.attempt(), await lease.attempt()
    assert (refused is None) == (acquired and renewed)
