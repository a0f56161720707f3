"""What every `Cluster` does, the fake and the real one alike."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest

from contract.world import UNSERVED, World
from modelrelease.errors import Conflict, Retryable, Terminal
from modelrelease.ports import Kind, Manifest


def release(namespace: str, name: str = "detector", **metadata: Any) -> Manifest:
    return {
        "apiVersion": "modelrelease.dev/v1alpha1",
        "kind": "ModelRelease",
        "metadata": {"namespace": namespace, "name": name, **metadata},
        "spec": {"image": "registry.example.com/detector:v1", "workload": {"deployment": "detector"}},
    }


def service(namespace: str, name: str = "detector", **labels: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "labels": cast(Any, labels)},
        "spec": {"selector": {"app": "detector"}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
    }


def lease(namespace: str, name: str) -> Manifest:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"holderIdentity": "one"},
    }


def meta(manifest: Manifest | None) -> dict[str, Any]:
    assert manifest is not None
    return cast(dict[str, Any], manifest["metadata"])


def altered(manifest: Manifest, **spec: Any) -> Manifest:
    changed = cast(dict[str, Any], copy.deepcopy(manifest))
    changed["spec"] |= spec
    return cast(Manifest, changed)


async def test_nothing_is_none(world: World) -> None:
    assert await world.cluster.get(Kind.SERVICE, world.namespace, "absent") is None


async def test_what_is_created_can_be_read(world: World) -> None:
    wanted = release(world.namespace)
    created = await world.cluster.create(Kind.MODEL_RELEASE, wanted)
    found = await world.cluster.get(Kind.MODEL_RELEASE, world.namespace, "detector")
    assert created == found
    assert wanted["spec"] == {key: cast(Any, created)["spec"][key] for key in ("image", "workload")}
    assert (created["apiVersion"], created["kind"]) == ("modelrelease.dev/v1alpha1", "ModelRelease")
    assert meta(created)["generation"] == 1
    assert all(meta(created)[key] for key in ("uid", "resourceVersion", "creationTimestamp"))


async def test_creating_twice_is_a_conflict(world: World) -> None:
    await world.cluster.create(Kind.SERVICE, service(world.namespace))
    with pytest.raises(Conflict):
        await world.cluster.create(Kind.SERVICE, service(world.namespace))


async def test_a_status_is_not_created(world: World) -> None:
    wanted = {**release(world.namespace), "status": {"phase": "Succeeded"}}
    created = await world.cluster.create(Kind.MODEL_RELEASE, cast(Manifest, wanted))
    assert "status" not in created


async def test_replacing_under_an_old_version_is_a_conflict(world: World) -> None:
    first = await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace))
    second = await world.cluster.replace(Kind.MODEL_RELEASE, altered(first, paused=True))
    assert meta(first)["resourceVersion"] != meta(second)["resourceVersion"]
    with pytest.raises(Conflict):
        await world.cluster.replace(Kind.MODEL_RELEASE, altered(first, paused=False))
    assert second == await world.cluster.get(Kind.MODEL_RELEASE, world.namespace, "detector")


async def test_replacing_without_a_version_is_invalid(world: World) -> None:
    await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace))
    with pytest.raises(Terminal, match="resourceVersion") as refused:
        await world.cluster.replace(Kind.MODEL_RELEASE, release(world.namespace))
    assert refused.value.reason == "Invalid"


async def test_replacing_with_the_same_changes_no_version(world: World) -> None:
    first = await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace))
    assert first == await world.cluster.replace(Kind.MODEL_RELEASE, first)


async def test_generation_counts_changes_of_the_spec_only(world: World) -> None:
    first = await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace))
    second = await world.cluster.patch(
        Kind.MODEL_RELEASE, world.namespace, "detector", {"metadata": {"annotations": {"a": "b"}}}
    )
    third = await world.cluster.replace(Kind.MODEL_RELEASE, altered(second, paused=True))
    assert tuple(meta(one)["generation"] for one in (first, second, third)) == (1, 1, 2)


async def test_a_merge_patch_adds_and_removes(world: World) -> None:
    await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace, annotations={"keep": "1", "drop": "2"}))
    patch: Manifest = {"metadata": {"annotations": {"drop": None, "add": "3"}}, "spec": {"paused": True}}
    patched = await world.cluster.patch(Kind.MODEL_RELEASE, world.namespace, "detector", patch)
    assert meta(patched)["annotations"] == {"keep": "1", "add": "3"}
    assert cast(Any, patched)["spec"]["paused"] is True
    assert cast(Any, patched)["spec"]["image"] == "registry.example.com/detector:v1"


async def test_a_patch_is_guarded_by_the_version_it_names(world: World) -> None:
    first = await world.cluster.create(Kind.SERVICE, service(world.namespace))
    version = meta(first)["resourceVersion"]
    guarded: Manifest = {"metadata": {"resourceVersion": version, "labels": {"a": "b"}}}
    await world.cluster.patch(Kind.SERVICE, world.namespace, "detector", guarded)
    with pytest.raises(Conflict):
        await world.cluster.patch(Kind.SERVICE, world.namespace, "detector", guarded)


@pytest.mark.parametrize("kind", [Kind.SERVICE, Kind.MODEL_RELEASE])
async def test_a_patch_is_guarded_by_the_uid_it_names(world: World, kind: Kind) -> None:
    make = service if kind is Kind.SERVICE else release
    created = await world.cluster.create(kind, make(world.namespace))
    other: Manifest = {"metadata": {"uid": "11111111-2222-3333-4444-555555555555", "labels": {"a": "b"}}}
    with pytest.raises(Conflict):
        await world.cluster.patch(kind, world.namespace, "detector", other)
    same: Manifest = {"metadata": {"uid": meta(created)["uid"], "labels": {"a": "b"}}}
    assert meta(await world.cluster.patch(kind, world.namespace, "detector", same))["labels"] == {"a": "b"}


async def test_changing_what_is_gone_is_a_conflict(world: World) -> None:
    gone = release(world.namespace, resourceVersion="1")
    with pytest.raises(Conflict):
        await world.cluster.replace(Kind.MODEL_RELEASE, gone)
    with pytest.raises(Conflict):
        await world.cluster.replace_status(Kind.MODEL_RELEASE, {**gone, "status": {"phase": "Stable"}})
    with pytest.raises(Conflict):
        await world.cluster.patch(Kind.MODEL_RELEASE, world.namespace, "detector", {"spec": {"paused": True}})
    assert await world.cluster.list(Kind.MODEL_RELEASE, world.namespace) == []


async def test_status_and_spec_are_written_apart(world: World) -> None:
    first = await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace))
    status: Manifest = {"phase": "Preparing", "weight": 5}
    second = await world.cluster.replace_status(Kind.MODEL_RELEASE, {**altered(first, paused=True), "status": status})
    assert "paused" not in cast(Any, second)["spec"] or cast(Any, second)["spec"]["paused"] is False
    assert cast(Any, second)["status"]["phase"] == "Preparing"
    assert meta(second)["generation"] == 1
    third = await world.cluster.replace(
        Kind.MODEL_RELEASE, cast(Manifest, {**altered(second, paused=True), "status": {"phase": "Failed"}})
    )
    assert cast(Any, third)["status"]["phase"] == "Preparing"
    assert cast(Any, third)["spec"]["paused"] is True


async def test_a_status_is_written_under_its_version(world: World) -> None:
    first = await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace))
    await world.cluster.replace_status(Kind.MODEL_RELEASE, {**first, "status": {"phase": "Preparing"}})
    with pytest.raises(Conflict):
        await world.cluster.replace_status(Kind.MODEL_RELEASE, {**first, "status": {"phase": "Failed"}})


async def test_a_status_that_is_the_same_changes_no_version(world: World) -> None:
    first = await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace))
    second = await world.cluster.replace_status(Kind.MODEL_RELEASE, {**first, "status": {"phase": "Preparing"}})
    assert second == await world.cluster.replace_status(Kind.MODEL_RELEASE, second)


async def test_deleting_what_is_gone_is_done(world: World) -> None:
    await world.cluster.delete(Kind.SERVICE, world.namespace, "absent")
    assert await world.cluster.list(Kind.SERVICE, world.namespace) == []


async def test_deletion_is_guarded_by_the_uid(world: World) -> None:
    created = await world.cluster.create(Kind.SERVICE, service(world.namespace))
    with pytest.raises(Conflict):
        await world.cluster.delete(
            Kind.SERVICE, world.namespace, "detector", uid="11111111-2222-3333-4444-555555555555"
        )
    assert await world.cluster.get(Kind.SERVICE, world.namespace, "detector") is not None
    await world.cluster.delete(Kind.SERVICE, world.namespace, "detector", uid=meta(created)["uid"])
    assert await world.cluster.get(Kind.SERVICE, world.namespace, "detector") is None


async def test_a_finalizer_holds_the_object_until_it_is_taken_off(world: World) -> None:
    await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace, finalizers=["modelrelease.dev/traffic"]))
    await world.cluster.delete(Kind.MODEL_RELEASE, world.namespace, "detector")
    held = await world.cluster.get(Kind.MODEL_RELEASE, world.namespace, "detector")
    assert meta(held)["deletionTimestamp"]
    assert meta(held)["generation"] == 2
    await world.cluster.patch(Kind.MODEL_RELEASE, world.namespace, "detector", {"metadata": {"finalizers": None}})
    assert await world.cluster.get(Kind.MODEL_RELEASE, world.namespace, "detector") is None


async def test_list_finds_by_namespace_and_label(world: World) -> None:
    for namespace, name, team in (
        (world.namespace, "b", "vision"),
        (world.namespace, "a", "vision"),
        (world.namespace, "c", "speech"),
        (world.other_namespace, "a", "vision"),
    ):
        await world.cluster.create(Kind.SERVICE, service(namespace, name, team=team))

    async def names(namespace: str | None, **labels: str) -> list[tuple[str, str]]:
        found = await world.cluster.list(Kind.SERVICE, namespace, labels or None)
        assert {("v1", "Service")} == {(one["apiVersion"], one["kind"]) for one in found}
        ours = (world.namespace, world.other_namespace)
        return [(meta(one)["namespace"], meta(one)["name"]) for one in found if meta(one)["namespace"] in ours]

    assert [(world.namespace, name) for name in "abc"] == await names(world.namespace)
    assert [(world.namespace, name) for name in "ab"] == await names(world.namespace, team="vision")
    assert {(world.namespace, "a"), (world.namespace, "b"), (world.other_namespace, "a")} == set(
        await names(None, team="vision")
    )


async def test_list_reads_all_pages(world: World) -> None:
    names = [f"lease-{number:04}" for number in range(501)]
    for name in names:
        await world.cluster.create(Kind.LEASE, lease(world.namespace, name))
    assert names == [meta(one)["name"] for one in await world.cluster.list(Kind.LEASE, world.namespace)]


async def test_an_unserved_kind_is_empty_to_read_and_terminal_to_write(world: World) -> None:
    assert await world.cluster.get(UNSERVED, world.namespace, "any") is None
    assert await world.cluster.list(UNSERVED, None) == []
    wanted = {
        "apiVersion": UNSERVED.value.api_version,
        "kind": UNSERVED.value.kind,
        "metadata": {"namespace": world.namespace, "name": "any"},
    }
    with pytest.raises(Terminal) as refused:
        await world.cluster.create(UNSERVED, cast(Manifest, wanted))
    assert refused.value.reason == "NotServed"


async def test_nothing_is_written_without_leave(world: World) -> None:
    present = await world.cluster.create(Kind.MODEL_RELEASE, release(world.namespace))
    standby = world.only_if(lambda: False)
    writes = (
        standby.create(Kind.SERVICE, service(world.namespace)),
        standby.replace(Kind.MODEL_RELEASE, altered(present, paused=True)),
        standby.patch(Kind.MODEL_RELEASE, world.namespace, "detector", {"spec": {"paused": True}}),
        standby.replace_status(Kind.MODEL_RELEASE, {**present, "status": {"phase": "Failed"}}),
        standby.delete(Kind.MODEL_RELEASE, world.namespace, "detector"),
    )
    for write in writes:
        with pytest.raises(Retryable, match="lease"):
            await write
    assert present == await standby.get(Kind.MODEL_RELEASE, world.namespace, "detector")
    assert await standby.list(Kind.SERVICE, world.namespace) == []
