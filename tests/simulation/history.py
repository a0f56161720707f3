"""A history of one ModelRelease: what people, machines and faults may do to it, and what must hold all the while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from fakes import Write
from modelrelease.api.status import Phase
from modelrelease.errors import Retryable
from modelrelease.ports import Kind, Manifest
from modelrelease.rollout.labels import FINALIZER
from simulation.invariants import violations
from simulation.world import NAME, NAMESPACE, NEW_IMAGE, STABLE_IMAGE, VIRTUAL_SERVICE, World, virtual_service

CANARY = f"{NAME}-canary"
IMAGES = (NEW_IMAGE, NEW_IMAGE.replace("v1.1.0", "v1.2.0"), STABLE_IMAGE)
WISHES = (
    ("promote", "next"),
    ("promote", "full"),
    ("promote", "all"),
    ("promote", "full@999"),
    ("abort", "it smells"),
    ("retry", "true"),
    ("pause", "true"),
    ("resume", "true"),
)
REACTION_SECONDS = 5
"""How long a canary without a pod may keep traffic: a look, and a crash of the operator in it."""
BEGINNING_SECONDS = 100
"""A phase that is not reached by then is done without."""


class Killed(BaseException):
    """The operator's process is gone."""


class History:
    """One ModelRelease among people and machines that do as they like; each method is something that happens.

    note: told what occurred, for statistics. spec: what every edit asks for beside the image.
    """

    def __init__(
        self,
        note: Callable[[str], None] = lambda _: None,
        seed: int = 5,
        *,
        rps: float = 20,
        spec: dict[str, Any] | None = None,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.world = World(seed=seed, rps=rps)
        self.spec = spec or {}
        self._note = note
        self.deleted_by_hand: set[str] = set()
        self.exposed_seconds = 0
        self.is_promoted_by_hand = False
        self.blind_seconds = 0

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    def _seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            before = self.world.status
            try:
                self._run(self.world.second())
            except Killed:
                self.world.restart()
            self._watch(before.step, before.revision)

    def _watch(self, step_before: int, revision_before: str) -> None:
        status, world = self.world.status, self.world
        self._note(f"phase {status.phase}")
        stable, canary = world._available(NAME), world._available(CANARY)
        exposed = world.weight > 0 and canary == 0 and stable > 0 and world.exists(Kind.MODEL_RELEASE, NAME)
        exposed = exposed and world.cluster.before_read is None
        self.exposed_seconds = self.exposed_seconds + 1 if exposed else 0
        assert self.exposed_seconds <= REACTION_SECONDS, f"weight {world.weight} on no pod: {status.message}"
        self.blind_seconds = self.blind_seconds + 1 if world.metrics.problem else 0
        forward = status.revision == revision_before and status.step > step_before
        blind = self.blind_seconds > 2 and not self.is_promoted_by_hand
        assert not (forward and blind), f"I4: step {step_before} -> {status.step} without metrics"

    def _fail_at(self, number: int, error: BaseException, *, before: bool) -> None:
        cluster = self.world.cluster
        first = cluster.attempts

        def strike(write: Write) -> None:
            if write.number >= first + number:
                cluster.before_write = cluster.after_write = None
                raise error

        if before:
            cluster.before_write = strike
        else:
            cluster.after_write = strike

    def _exists(self, name: str) -> bool:
        return self.world.exists(Kind.DEPLOYMENT, name)

    # --- the beginning

    def begin(self, replicas: int, phase: Phase = Phase.PREPARING) -> None:
        """Until the first release is in `phase`, or does not come to it soon."""
        self.world.deploy_stable(replicas)
        self.world.cluster.put(Kind.AUTOSCALER, _autoscaler())
        self._seconds(20)
        self.world.apply(**self.spec)
        self._seconds(8)
        if phase is Phase.ROLLING_BACK:
            self._until(lambda: self.world.weight > 0)
            self.world.annotate("abort", "it smells")
        if phase is not Phase.PREPARING:
            self._until(lambda: self.world.status.phase is phase)

    def _until(self, holds: Callable[[], bool]) -> None:
        for _ in range(BEGINNING_SECONDS):
            if holds():
                return
            self._seconds(1)

    # --- people

    def ask_for(self, image: str, value: str | None) -> None:
        env = [] if value is None else [{"name": "MODEL_URI", "value": value}]
        self.world.apply(image, **self.spec, env=env)
        self._seconds(3)

    def annotate(self, wish: tuple[str, str]) -> None:
        self.is_promoted_by_hand = self.is_promoted_by_hand or wish[0] == "promote"
        self.world.annotate(*wish)
        self._seconds(3)

    def pause(self, paused: bool) -> None:
        self.world.touch(Kind.MODEL_RELEASE, NAME, lambda body: body["spec"].update(paused=paused))
        self._seconds(2)

    def delete(self, seconds: int, *, force: bool = False) -> None:
        """By force: somebody takes the finalizer off, too."""
        self.world.cluster.remove(Kind.MODEL_RELEASE, NAMESPACE, NAME, force=force)
        self.world.wake()
        self._seconds(seconds)

    # --- the world

    def the_canary_is(self, how: str) -> None:
        self.world.canary.crashes, self.world.canary.starts = how == "crashing", how != "not starting"
        self.world.canary.error_rate = 1.0 if how == "failing" else 0.0
        self.world.wake()
        self._seconds(5)

    def scale_stable(self, replicas: int) -> None:
        self.world.touch(Kind.DEPLOYMENT, NAME, lambda body: body["spec"].update(replicas=replicas))
        self._seconds(3)

    def meddle_with_the_canary(self, how: str) -> None:
        if how == "delete":
            manifest = cast(dict[str, Any], self.world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, CANARY))
            self.deleted_by_hand.add(manifest["metadata"]["uid"])
            self.world.cluster.remove(Kind.DEPLOYMENT, NAMESPACE, CANARY)
            self.world.wake()
        elif how == "scale":
            self.world.touch(Kind.DEPLOYMENT, CANARY, lambda body: body["spec"].update(replicas=0))
        else:
            self.world.touch(Kind.DEPLOYMENT, CANARY, _with_another_image)
        self._seconds(3)

    def meddle_with_the_route(self, weight: int | None) -> None:
        """None: the whole object as it was before any release, as a GitOps tool does. A canary that has no destination
        yet is given one."""
        if weight is None:
            self.world.cluster.put(Kind.VIRTUAL_SERVICE, virtual_service())
            self.world.wake()
        else:
            adds = self.world.status.phase is Phase.PREPARING and self._exists(CANARY)
            self.world.touch(Kind.VIRTUAL_SERVICE, NAME, _with_weight(weight, adds=adds))
        self._seconds(3)

    def lose_the_route(self, seconds: int) -> None:
        self.world.cluster.remove(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME)
        self.world.wake()
        self._seconds(seconds)
        self.world.cluster.put(Kind.VIRTUAL_SERVICE, virtual_service())
        self.world.wake()
        self._seconds(2)

    def reshape_the_route(self, how: str, seconds: int) -> None:
        """Somebody edits the route itself, and takes that back after a while; see RESHAPED."""
        reshape, undo = RESHAPED[how]
        self.world.touch(Kind.VIRTUAL_SERVICE, NAME, lambda body: reshape(body["spec"]["http"]))
        self._seconds(seconds)
        self.world.touch(Kind.VIRTUAL_SERVICE, NAME, lambda body: undo(body["spec"]["http"]))
        self._seconds(2)

    def prometheus(self, down: bool) -> None:
        self.world.metrics.problem = "connection refused" if down else ""
        self._seconds(3)

    def hide(self, kind: Kind, seconds: int) -> None:
        """What is of this kind cannot be read for a while; nobody can tell then what becomes of the canary's pods."""

        def refuse(read: Kind, *_: str | None) -> None:
            if read is kind:
                raise Retryable("503")

        self.world.cluster.before_read = refuse
        self._seconds(seconds)
        self.world.cluster.before_read = None
        self._seconds(2)

    # --- the operator

    def restart(self) -> None:
        self.world.restart()
        self._seconds(1)

    def fail_a_write(self, number: int, error: BaseException, *, before: bool) -> None:
        """The operator is killed at the `number`-th write from now on, or gets to see `error`; before it is applied or
        after that."""
        self._fail_at(number, error, before=before)
        self._seconds(2)

    def wait(self, seconds: int) -> None:
        self._seconds(seconds)

    # --- what holds

    def nothing_is_broken(self) -> None:
        found = violations(self.world.cluster.history, frozenset(self.deleted_by_hand))
        assert [] == found, found

    def end(self) -> None:
        try:
            self._calm()
        finally:
            self.loop.close()

    def _calm(self) -> None:
        """All faults end and nobody does anything more: all comes to rest, and stays there without a write."""
        world = self.world
        world.canary.crashes, world.canary.starts, world.canary.error_rate = False, True, 0.0
        world.metrics.problem = ""
        world.cluster.before_write = world.cluster.after_write = None
        if not self._exists(NAME):
            return  # nothing was begun
        world.touch(Kind.DEPLOYMENT, NAME, lambda body: body["spec"].update(replicas=2))
        world.touch(Kind.MODEL_RELEASE, NAME, lambda body: body["spec"].update(paused=False))
        for wish in (("resume", "true"), ("promote", "full")):
            if world.exists(Kind.MODEL_RELEASE, NAME):
                self.is_promoted_by_hand = True
                world.annotate(*wish)
                self._seconds(40)
        for _ in range(400):
            if self._is_over():
                break
            self._seconds(2)
        assert self._is_over(), f"{world.status.phase}: {world.status.message}"
        self._note(f"end {world.status.phase} {world.status.outcome_reason}")
        self._seconds(40)
        writes = len(world.cluster.writes)
        self._seconds(20)
        world.wake()
        self._seconds(20)
        assert writes == len(world.cluster.writes), world.cluster.writes[writes:]
        self._check_order()

    def _is_over(self) -> bool:
        if not self.world.exists(Kind.MODEL_RELEASE, NAME):
            return not self._exists(CANARY)
        phase = self.world.status.phase
        return phase.is_at_rest and phase is not Phase.INITIALIZING

    def _check_order(self) -> None:
        world, status = self.world, self.world.status
        route = world.cluster.peek(Kind.VIRTUAL_SERVICE, NAMESPACE, NAME)
        assert route is not None
        assert VIRTUAL_SERVICE["spec"] == route["spec"]
        left = [kind.name for kind in (Kind.DEPLOYMENT, Kind.SERVICE) if world.exists(kind, CANARY)]
        assert [] == left
        autoscaler = world.cluster.peek(Kind.AUTOSCALER, NAMESPACE, NAME)
        assert autoscaler is not None
        assert _autoscaler()["spec"] == autoscaler["spec"]
        release = cast(dict[str, Any], world.cluster.peek(Kind.MODEL_RELEASE, NAMESPACE, NAME))
        if release is not None:
            assert FINALIZER not in (release["metadata"].get("finalizers") or [])
            assert not release["metadata"].get("annotations")
        if release is not None and status.phase in (Phase.SUCCEEDED, Phase.STABLE):
            stable = cast(dict[str, Any], world.cluster.peek(Kind.DEPLOYMENT, NAMESPACE, NAME))
            container = stable["spec"]["template"]["spec"]["containers"][0]
            assert release["spec"]["image"] == container["image"]
            wanted = {one["name"]: one["value"] for one in release["spec"].get("env", [])}
            assert wanted.items() <= {one["name"]: one["value"] for one in container.get("env", [])}.items()


def _autoscaler() -> Manifest:
    return cast(
        Manifest,
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {
                "minReplicas": 1,
                "maxReplicas": 9,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
            },
        },
    )


def _managed(http: list[dict[str, Any]]) -> dict[str, Any]:
    return next(route for route in http if "name" not in route or route["name"] != "docs")


def _rename(name: str) -> Callable[[list[dict[str, Any]]], None]:
    return lambda http: _managed(http).update(name=name)


def _add_another(http: list[dict[str, Any]]) -> None:
    http.append({"name": "docs", "match": [{"uri": {"prefix": "/docs"}}], "route": [{"destination": {"host": NAME}}]})


def _take_it_out(http: list[dict[str, Any]]) -> None:
    http[:] = [_managed(http)]


def _move(host: str, to: str) -> Callable[[list[dict[str, Any]]], None]:
    def change(http: list[dict[str, Any]]) -> None:
        for entry in _managed(http)["route"]:
            if entry["destination"]["host"] == host:
                entry["destination"]["host"] = to

    return change


def _split_stable(http: list[dict[str, Any]]) -> None:
    """Into two subsets, each with half of what stable has."""
    route = _managed(http)
    stable, *rest = sorted(route["route"], key=lambda entry: "canary" in entry["destination"]["host"])
    weight = stable.get("weight", 100)
    halves = (weight - weight // 2, weight // 2)
    subsets = [
        {"destination": {**stable["destination"], "subset": name}, "weight": half}
        for name, half in zip("ab", halves, strict=True)
    ]
    route["route"] = [*subsets, *rest]


def _join_stable(http: list[dict[str, Any]]) -> None:
    route = _managed(http)
    first, second, *rest = route["route"]
    del first["destination"]["subset"]
    first["weight"] += second["weight"]
    if not rest:
        del first["weight"]  # as it was
    route["route"] = [first, *rest]


RESHAPED = {
    "another route": (_add_another, _take_it_out),
    "renamed": (_rename("main"), _rename("primary")),
    "stable elsewhere": (_move(NAME, "maintenance"), _move("maintenance", NAME)),
    "stable split": (_split_stable, _join_stable),
}
"""Edits by which the managed route cannot be told any more, or not be split; and how each is undone."""


def _with_another_image(body: dict[str, Any]) -> None:
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "somebody/else:v0"


def _with_weight(weight: int, *, adds: bool) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        route = body["spec"]["http"][0]["route"]
        if adds and len(route) == 1:
            route.append({**route[0], "destination": {**route[0]["destination"], "host": CANARY}})
        if len(route) == 2:
            for entry in route:
                entry["weight"] = weight if "canary" in entry["destination"]["host"] else 100 - weight

    return change
