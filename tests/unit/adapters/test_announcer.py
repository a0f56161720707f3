"""Events on the fake cluster."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from fakes import FakeClock, FakeCluster, Write
from modelrelease.adapters.announcer import EventAnnouncer
from modelrelease.errors import Forbidden
from modelrelease.ports import Announcement, Kind, Manifest

RELEASE: Manifest = {
    "apiVersion": "modelrelease.dev/v1alpha1",
    "kind": "ModelRelease",
    "metadata": {"namespace": "vision", "name": "detector", "uid": "u-1", "resourceVersion": "7"},
}
STARTED = Announcement("ReleaseStarted", "Release of v2 has started.")


def events(cluster: FakeCluster) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], cluster.all(Kind.EVENT))


async def test_an_event_says_what_and_about_whom() -> None:
    cluster = FakeCluster()
    await EventAnnouncer(cluster, FakeClock(), instance="pod-0").announce(RELEASE, STARTED)
    (event,) = events(cluster)
    expected = {
        "type": "Normal",
        "reason": "ReleaseStarted",
        "message": "Release of v2 has started.",
        "involvedObject": {
            "apiVersion": "modelrelease.dev/v1alpha1",
            "kind": "ModelRelease",
            "namespace": "vision",
            "name": "detector",
            "uid": "u-1",
            "resourceVersion": "7",
        },
        "firstTimestamp": "2027-01-15T08:00:00Z",
        "count": 1,
        "reportingInstance": "pod-0",
    }
    assert expected == {key: event[key] for key in expected}
    assert event["metadata"]["name"].startswith("detector.")


async def test_a_warning_is_one() -> None:
    cluster = FakeCluster()
    await EventAnnouncer(cluster, FakeClock()).announce(RELEASE, Announcement("RolledBack", "Errors rose.", True))
    assert [event["type"] for event in events(cluster)] == ["Warning"]


async def test_the_same_sentence_again_counts_up() -> None:
    cluster, clock = FakeCluster(), FakeClock()
    announcer = EventAnnouncer(cluster, clock)
    for _ in range(3):
        await announcer.announce(RELEASE, STARTED)
        clock.advance(60)
    await announcer.announce(RELEASE, Announcement("ReleaseStarted", "Another sentence."))
    assert [("Release of v2 has started.", 3), ("Another sentence.", 1)] == [
        (event["message"], event["count"]) for event in events(cluster)
    ]
    assert events(cluster)[0]["lastTimestamp"] == "2027-01-15T08:02:00Z"


def of_release(revision: str, started_at: str = "2027-01-15T08:00:00Z") -> Manifest:
    return {**RELEASE, "status": {"revision": revision, "startedAt": started_at}}


async def test_a_sentence_is_an_event_of_its_own_after_another_one() -> None:
    """A step that is left and reached again was decided twice."""
    cluster, clock = FakeCluster(), FakeClock()
    announcer = EventAnnouncer(cluster, clock)
    lost = Announcement("CapacityLost", "Pods are gone.", warning=True)
    for announcement in (STARTED, lost, STARTED):
        await announcer.announce(RELEASE, announcement)
        clock.advance(60)
    expected = [("08:00:00Z", STARTED.reason), ("08:01:00Z", lost.reason), ("08:02:00Z", STARTED.reason)]
    assert expected == [(event["firstTimestamp"][-9:], event["reason"]) for event in events(cluster)]


async def test_what_flaps_does_not_flood_the_cluster() -> None:
    cluster = FakeCluster()
    announcer = EventAnnouncer(cluster, FakeClock())
    for _ in range(50):
        for sentence in ("It is away.", "It is back."):
            await announcer.announce(RELEASE, Announcement("CapacityLost", sentence))
    assert 40 == len(events(cluster))
    assert 100 == sum(event["count"] for event in events(cluster))


@pytest.mark.parametrize("again", [of_release("b" * 10), of_release("a" * 10, "2027-01-15T09:00:00Z")])
async def test_a_sentence_about_another_release_is_an_event_of_its_own(again: Manifest) -> None:
    cluster = FakeCluster()
    announcer = EventAnnouncer(cluster, FakeClock())
    first = of_release("a" * 10)
    for release in (first, again):
        await announcer.announce(release, STARTED)
    expected = [(cast(dict[str, Any], release)["status"]["revision"], 1) for release in (first, again)]
    said = [(event["metadata"]["labels"]["modelrelease.dev/revision"], event["count"]) for event in events(cluster)]
    assert expected == said


async def test_a_sentence_whose_event_expired_is_said_anew() -> None:
    cluster = FakeCluster()
    announcer = EventAnnouncer(cluster, FakeClock())
    await announcer.announce(RELEASE, STARTED)
    cluster.remove(Kind.EVENT, "vision", events(cluster)[0]["metadata"]["name"])
    await announcer.announce(RELEASE, STARTED)
    assert [1] == [event["count"] for event in events(cluster)]


async def test_long_names_and_messages_are_cut() -> None:
    cluster = FakeCluster()
    metadata = {"namespace": "vision", "name": "d" * 253, "uid": "u-1"}
    await EventAnnouncer(cluster, FakeClock()).announce(
        cast(Manifest, {**RELEASE, "metadata": metadata}), Announcement("Stalled", "x" * 5000)
    )
    (event,) = events(cluster)
    assert len(event["metadata"]["name"]) == 253
    assert len(event["message"]) == 1024
    assert event["message"].endswith("…")


async def test_refusals_never_get_out_and_are_logged_once() -> None:
    cluster = FakeCluster()

    def refuse(_: Write) -> None:
        raise Forbidden("no events for you")

    cluster.before_write = refuse
    announcer = EventAnnouncer(cluster, FakeClock())
    with capture_logs() as logged:
        for _ in range(3):
            await announcer.announce(RELEASE, STARTED)
    assert ["no events for you"] == [entry["error"] for entry in logged]
    cluster.before_write = None
    await announcer.announce(RELEASE, STARTED)
    assert len(events(cluster)) == 1


async def test_a_release_without_identity_is_no_error() -> None:
    with capture_logs() as logged:
        await EventAnnouncer(FakeCluster(), FakeClock()).announce({"metadata": {}}, STARTED)
    assert len(logged) == 1


class Hung(FakeCluster):
    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:  # noqa: ARG002
        await asyncio.Event().wait()
        return manifest


async def test_a_server_that_hangs_costs_two_seconds() -> None:
    started = asyncio.get_running_loop().time()
    await EventAnnouncer(Hung(), FakeClock()).announce(RELEASE, STARTED)
    assert 1.9 < asyncio.get_running_loop().time() - started < 10


async def test_cancellation_is_not_swallowed() -> None:
    task = asyncio.create_task(EventAnnouncer(Hung(), FakeClock()).announce(RELEASE, STARTED))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
