"""An API server in memory: as much of its behaviour as the operator can notice.

What it does like the real one (held to that by `tests/contract`): resource versions and conflicts, merge patches, the
status subresource, generations, uids, finalizers with deletion timestamps, writes that change nothing, and who wrote
the routes of a VirtualService last.
What it leaves out: schemas and defaults, admission, watches, controllers (garbage collection is a call of its own).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from modelrelease.errors import Conflict, Retryable, Terminal
from modelrelease.ports import Kind, Manifest
from modelrelease.rollout.labels import OPERATOR

_Json = dict[str, Any]
_Place = tuple[Kind, str, str]
Manifests = list[Manifest]

_WITH_STATUS = frozenset(
    {Kind.MODEL_RELEASE, Kind.DEPLOYMENT, Kind.VIRTUAL_SERVICE, Kind.DESTINATION_RULE, Kind.AUTOSCALER}
)
_WITHOUT_GENERATION = frozenset({Kind.SERVICE, Kind.POD, Kind.EVENT, Kind.LEASE})
_CUSTOM_GROUPS = ("modelrelease.dev", "istio.io")
_SERVER_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "generation")


@dataclass(frozen=True)
class Write:
    """A write that was applied, or is about to be."""

    number: int
    """1 for the operator's first attempt to write, counted over all attempts."""
    verb: str
    kind: Kind
    namespace: str
    name: str
    manifest: Manifest | None
    """The object as stored; None for a deletion."""


@dataclass
class FakeCluster:
    """Implements `ports.Cluster`; the methods in the second half are the rest of the world.

    before_write: called before a write is applied; may raise what the operator shall see.
    after_write: called after it was applied; raising here is a reply that was lost.
    before_read: called before each get and list.
    """

    watch_namespace: str | None = None
    writes_allowed: Callable[[], bool] = lambda: True
    unserved: set[Kind] = field(default_factory=set)
    before_write: Callable[[Write], None] | None = None
    after_write: Callable[[Write], None] | None = None
    before_read: Callable[[Kind, str | None, str | None], None] | None = None
    writes: list[Write] = field(default_factory=list)
    """What the operator wrote, in order; attempts that were refused or changed nothing are left out."""
    attempts: int = 0
    history: list[tuple[str, Kind, Manifest]] = field(default_factory=list)
    """(verb, kind, object) of every revision that anybody made, for invariants over a whole run; not to be altered."""
    now: Callable[[], str] = lambda: "2027-01-15T08:00:00Z"
    _objects: dict[_Place, _Json] = field(default_factory=dict)
    """Replaced by each write, never altered: the history holds them, too."""
    _version: int = 0

    # --- the port

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        if self.before_read is not None:
            self.before_read(kind, namespace, name)
        return self.peek(kind, namespace, name)

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | None = None) -> list[Manifest]:
        if self.before_read is not None:
            self.before_read(kind, namespace, None)
        where = namespace if namespace is not None else self.watch_namespace
        return [
            _copied(found)
            for (one, within, _), found in sorted(self._objects.items(), key=lambda item: item[0][1:])
            if one is kind and where in (None, within) and _has_labels(found, labels or {})
        ]

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        return self._write("create", kind, manifest, lambda old: self._created(kind, old, cast(_Json, manifest)))

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        return self._write("replace", kind, manifest, lambda old: _replaced(kind, old, cast(_Json, manifest)))

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        target = cast(Manifest, {"metadata": {"namespace": namespace, "name": name}})
        return self._write("patch", kind, target, lambda old: _patched(kind, old, cast(_Json, patch)))

    async def replace_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        return self._write("replace_status", kind, manifest, lambda old: _with_status(old, cast(_Json, manifest)))

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        target = cast(Manifest, {"metadata": {"namespace": namespace, "name": name}})
        if (kind, namespace, name) not in self._objects:
            self._check_lease()
            return
        self._write("delete", kind, target, lambda old: self._deleted(old, uid))

    # --- what the world does, unseen by the hooks

    def peek(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        found = self._objects.get((kind, namespace, name))
        return None if found is None else cast(Manifest, _copied(found))

    def put(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create or overwrite as somebody else, status and all."""
        wanted = cast(_Json, _copied(manifest))
        place = _place(kind, wanted)
        old = self._objects.get(place)
        if old is None:
            status = wanted.get("status")
            new = self._created(kind, None, wanted)
            if status is not None:
                new["status"] = status
        else:
            wanted["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            new = _replaced(kind, old, wanted)
            if "status" in wanted:
                new["status"] = wanted["status"]
        return self._store("put", place, old, new)

    def edit(self, kind: Kind, namespace: str, name: str, change: Callable[[_Json], None]) -> Manifest:
        """Change one object as somebody else: `change` gets a copy to alter in place."""
        found = cast(_Json, self.peek(kind, namespace, name))
        assert found is not None, f"no {kind.value.kind} {namespace}/{name} to edit"
        change(found)
        return self.put(kind, cast(Manifest, found))

    def remove(self, kind: Kind, namespace: str, name: str, *, force: bool = False) -> None:
        """Delete as somebody else; with `force`, finalizers are taken off, too."""
        place = (kind, namespace, name)
        old = self._objects[place]
        if force:
            metadata = {key: value for key, value in old["metadata"].items() if key != "finalizers"}
            old = self._objects[place] = {**old, "metadata": metadata}
        self._store("delete", place, old, self._deleted(old, None))

    def collect_garbage(self) -> int:
        """Remove what has only owners that are gone, as the controller manager would; how many objects that were."""
        removed = 0
        while True:
            uids = {found["metadata"]["uid"] for found in self._objects.values()}
            orphans = [place for place, found in self._objects.items() if _is_orphan(found, uids)]
            if not orphans:
                return removed
            for place in orphans:
                self.remove(*place, force=True)
                removed += 1

    def all(self, kind: Kind) -> Manifests:
        return [cast(Manifest, _copied(found)) for place, found in self._objects.items() if place[0] is kind]

    # --- inside

    def _write(
        self, verb: str, kind: Kind, target: Manifest, apply: Callable[[_Json | None], _Json | None]
    ) -> Manifest:
        self._check_lease()
        self.attempts += 1
        place = _place(kind, cast(_Json, target))
        planned = Write(self.attempts, verb, kind, place[1], place[2], _copied(target))
        if self.before_write is not None:
            self.before_write(planned)
        if kind in self.unserved:
            raise Terminal("NotServed", f"Could not {verb} {kind.value.plural}: the cluster does not serve this kind.")
        old = self._objects.get(place)
        if old is None and verb not in ("create", "delete"):
            raise Conflict(f"Could not {verb} {kind.value.plural} {place[1]}/{place[2]}: it does not exist any more.")
        before = self._version
        stored = self._store(verb, place, old, apply(old))
        done = Write(self.attempts, verb, kind, place[1], place[2], None if verb == "delete" else stored)
        if self._version != before:
            self.writes.append(done)
        if self.after_write is not None:
            self.after_write(done)
        return stored

    def _check_lease(self) -> None:
        if not self.writes_allowed():
            raise Retryable("Did not write: this operator does not hold the lease (any more).")

    def _store(self, verb: str, place: _Place, old: _Json | None, new: _Json | None) -> Manifest:
        if new is not None and old is not None and _without_version(new) == _without_version(old):
            return cast(Manifest, _copied(old))
        self._version += 1
        if new is not None and place[0] is Kind.VIRTUAL_SERVICE and _routes(new) != _routes(old):
            writer = "somebody" if verb == "put" else OPERATOR
            fields = {"f:spec": {"f:http": {}}}
            new["metadata"]["managedFields"] = [{"manager": writer, "fieldsV1": fields}]
        if new is None or _is_released(new):
            gone = self._objects.pop(place)
            self.history.append(("delete", place[0], cast(Manifest, gone)))
            return cast(Manifest, _copied(new or gone))
        new["metadata"]["resourceVersion"] = str(self._version)
        self._objects[place] = new
        self.history.append((verb, place[0], cast(Manifest, new)))
        return cast(Manifest, _copied(new))

    def _created(self, kind: Kind, old: _Json | None, manifest: _Json) -> _Json:
        if old is not None:
            raise Conflict(f"{kind.value.plural} {manifest['metadata']['name']!r} already exists")
        new = _copied(manifest)
        metadata = new["metadata"]
        for key in (*_SERVER_FIELDS, "resourceVersion"):
            metadata.pop(key, None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": self.now()}
        if kind not in _WITHOUT_GENERATION:
            metadata["generation"] = 1
        if kind in _WITH_STATUS:
            new.pop("status", None)
        return {"apiVersion": kind.value.api_version, "kind": kind.value.kind, **new}

    def _deleted(self, old: _Json | None, uid: str | None) -> _Json | None:
        assert old is not None
        if uid is not None and uid != old["metadata"]["uid"]:
            raise Conflict("the object has another uid: it was deleted and created again")
        if not old["metadata"].get("finalizers"):
            return None
        new = _copied(old)
        if "deletionTimestamp" not in new["metadata"]:
            new["metadata"]["deletionTimestamp"] = self.now()
            new["metadata"]["generation"] = new["metadata"].get("generation", 0) + 1
        return new


def _replaced(kind: Kind, old: _Json | None, manifest: _Json) -> _Json:
    assert old is not None
    new = _copied(manifest)
    version = new["metadata"].get("resourceVersion")
    if not version and kind.value.group.endswith(_CUSTOM_GROUPS):
        raise Terminal("Invalid", "metadata.resourceVersion: Invalid value: must be specified for an update")
    _guard(old, version, new["metadata"].get("uid"))
    for key in _SERVER_FIELDS:
        new["metadata"].pop(key, None)
        if key in old["metadata"]:
            new["metadata"][key] = old["metadata"][key]
    if kind in _WITH_STATUS:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    if kind not in _WITHOUT_GENERATION and _spec(new) != _spec(old):
        new["metadata"]["generation"] += 1
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    return {"apiVersion": kind.value.api_version, "kind": kind.value.kind, **new}


def _patched(kind: Kind, old: _Json | None, patch: _Json) -> _Json:
    assert old is not None
    metadata = patch.get("metadata") or {}
    _guard(old, metadata.get("resourceVersion"), metadata.get("uid"))
    merged = _merge(old, patch)
    merged["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    return _replaced(kind, old, merged)


def _with_status(old: _Json | None, manifest: _Json) -> _Json:
    assert old is not None
    _guard(old, manifest["metadata"].get("resourceVersion"), manifest["metadata"].get("uid"))
    new = _copied(old)
    new.pop("status", None)
    if "status" in manifest:
        new["status"] = _copied(manifest["status"])
    return new


def _guard(old: _Json, version: str | None, uid: str | None) -> None:
    if uid and uid != old["metadata"]["uid"]:
        raise Conflict("the object has another uid: it was deleted and created again")
    if version and version != old["metadata"]["resourceVersion"]:
        raise Conflict("the object has been modified; apply your changes to the latest version and try again")


def _merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return _copied(patch)
    merged = dict(_copied(target)) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _copied(value: Any) -> Any:
    """A deep copy of JSON. Objects come and go by copies alone, and copy.deepcopy takes most of a simulation's time."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _place(kind: Kind, manifest: _Json) -> _Place:
    return kind, manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def _routes(manifest: _Json | None) -> Any:
    return ((manifest or {}).get("spec") or {}).get("http")


def _spec(manifest: _Json) -> _Json:
    return {key: value for key, value in manifest.items() if key not in ("metadata", "status")}


def _without_version(manifest: _Json) -> _Json:
    left_out = ("resourceVersion", "managedFields")
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in left_out}
    return {**manifest, "metadata": metadata}


def _is_released(manifest: _Json) -> bool:
    return "deletionTimestamp" in manifest["metadata"] and not manifest["metadata"].get("finalizers")


def _is_orphan(manifest: _Json, uids: set[str]) -> bool:
    owners = manifest["metadata"].get("ownerReferences") or []
    return bool(owners) and all(owner["uid"] not in uids for owner in owners)


def _has_labels(manifest: _Json, labels: Mapping[str, str]) -> bool:
    present = manifest["metadata"].get("labels") or {}
    return all(present.get(key) == value for key, value in labels.items())
