"""Any history of users, faults and crashes keeps the invariants and, once it is calm, comes to rest in order.

MODELRELEASE_HISTORIES is the number of generated histories (default 12, about half a minute). Thousands of seeded ones
are played by `make campaign`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelrelease.errors import Conflict, Retryable, Throttled
from modelrelease.ports import Kind
from simulation.history import CANARY, IMAGES, RESHAPED, WISHES, History, Killed
from simulation.world import NAME


class Histories(RuleBasedStateMachine):
    """Chooses what happens."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History(event)

    def _exists(self, kind: Kind, name: str = NAME) -> bool:
        return self.history.world.exists(kind, name)

    @initialize(replicas=st.sampled_from([1, 3]), names_route=st.booleans())
    def begin(self, replicas: int, names_route: bool) -> None:
        self.history.spec = {"traffic": {"route": "primary"} if names_route else {}}
        self.history.begin(replicas)

    @rule(image=st.sampled_from(IMAGES), value=st.sampled_from([None, "a", "b"]))
    def ask_for(self, image: str, value: str | None) -> None:
        self.history.ask_for(image, value)

    @precondition(lambda self: self._exists(Kind.MODEL_RELEASE))
    @rule(wish=st.sampled_from(WISHES))
    def annotate(self, wish: tuple[str, str]) -> None:
        self.history.annotate(wish)

    @precondition(lambda self: self._exists(Kind.MODEL_RELEASE))
    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.history.pause(paused)

    @precondition(lambda self: self._exists(Kind.MODEL_RELEASE))
    @rule(seconds=st.sampled_from([0, 2, 30]), force=st.sampled_from([False, False, True]))
    def delete(self, seconds: int, force: bool) -> None:
        self.history.delete(seconds, force=force)

    @rule(how=st.sampled_from(["well", "well", "crashing", "not starting", "failing"]))
    def the_canary_is(self, how: str) -> None:
        self.history.the_canary_is(how)

    @rule(replicas=st.sampled_from([0, 1, 3, 4]))
    def scale_stable(self, replicas: int) -> None:
        self.history.scale_stable(replicas)

    @precondition(lambda self: self._exists(Kind.DEPLOYMENT, CANARY))
    @rule(how=st.sampled_from(["delete", "scale", "image"]))
    def meddle_with_the_canary(self, how: str) -> None:
        self.history.meddle_with_the_canary(how)

    @precondition(lambda self: self._exists(Kind.VIRTUAL_SERVICE))
    @rule(weight=st.sampled_from([None, 0, 7, 70]))
    def meddle_with_the_route(self, weight: int | None) -> None:
        self.history.meddle_with_the_route(weight)

    @precondition(lambda self: self._exists(Kind.VIRTUAL_SERVICE))
    @rule(seconds=st.sampled_from([2, 40]))
    def lose_the_route(self, seconds: int) -> None:
        self.history.lose_the_route(seconds)

    @precondition(lambda self: self._exists(Kind.VIRTUAL_SERVICE))
    @rule(how=st.sampled_from(sorted(RESHAPED)), seconds=st.sampled_from([2, 40]))
    def reshape_the_route(self, how: str, seconds: int) -> None:
        self.history.reshape_the_route(how, seconds)

    @rule(down=st.booleans())
    def prometheus(self, down: bool) -> None:
        self.history.prometheus(down)

    @rule()
    def restart(self) -> None:
        self.history.restart()

    @rule(number=st.integers(1, 5), before=st.booleans())
    def kill(self, number: int, before: bool) -> None:
        self.history.fail_a_write(number, Killed(), before=before)

    @rule(
        number=st.integers(1, 5),
        error=st.sampled_from([Conflict("somebody was first"), Retryable("503"), Throttled("429", 3.0)]),
        before=st.booleans(),
    )
    def refuse_a_write(self, number: int, error: Exception, before: bool) -> None:
        self.history.fail_a_write(number, error, before=before)

    @rule(seconds=st.sampled_from([5, 20, 60]))
    def wait(self, seconds: int) -> None:
        self.history.wait(seconds)

    @invariant()
    def nothing_is_broken(self) -> None:
        self.history.nothing_is_broken()

    def teardown(self) -> None:
        self.history.end()


Histories.TestCase.settings = settings(
    max_examples=int(os.environ.get("MODELRELEASE_HISTORIES", "12")),
    stateful_step_count=12,
    derandomize="MODELRELEASE_HISTORIES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TestHistories = Histories.TestCase
