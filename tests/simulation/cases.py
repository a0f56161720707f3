"""What the tables of decisions share: a case, its check, and worlds that several of them begin with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from modelrelease.api.status import (
    HistoryEntry,
    Outcome,
    Phase,
)
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import (
    Decision,
)
from modelrelease.rollout.revision import revision_of
from modelrelease.rollout.seen import Seen
from simulation.looks import NOW, canary_seen, route_seen, seen_of, spec_of, stable_seen
from simulation.world import NEW_IMAGE, deployment

SPEC = spec_of()
REVISION = revision_of(SPEC, 0)
STABLE_TEMPLATE = deployment(10)["spec"]["template"]  # type: ignore[index,call-overload]
TEN = canary_seen(SPEC, replicas=10, available=10)
NEWER = spec_of(NEW_IMAGE.replace("v1.1.0", "v1.2.0"))


def gone(spec: Any = SPEC) -> Any:
    return canary_seen(spec, available=0, ready=0)


@dataclass(frozen=True, slots=True)
class Case:
    """`expected` are attributes of the status decided on, and `effect` what is done."""

    name: str
    seen: Seen
    effect: Any = None
    expected: dict[str, Any] = field(default_factory=dict)
    said: str = ""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def check(case: Case) -> Decision:
    decision = decide(case.seen, NOW)
    found = {name: getattr(decision.status, name) for name in case.expected}
    assert (case.effect, case.expected) == (decision.effect, found), decision.status.message
    if case.said:
        assert case.said in decision.status.message
    return decision


BACK = {"phase": Phase.ROLLING_BACK, "weight": 0}


def odd_route(weight: int) -> dict[str, Any]:
    """Somebody edited the route under way: it names the canary, and cannot be split any more."""
    problem = ("RouteMissing", "It was renamed.")
    route = route_seen(weight, has_canary=True, is_consistent=False, problem=problem)
    return {"route": route, "route_problem": problem}


THIRD = route_seen(0, has_canary=True, is_consistent=False)
ROLLING: dict[str, Any] = {
    "weight": 0,
    "outcome": Outcome.ROLLED_BACK,
    "outcome_reason": "Aborted",
    "phase_started_at": NOW - 60,
}
STAMPED = canary_seen(SPEC, verdict=f"{REVISION}:Aborted")


def rolling(**changes: Any) -> Seen:
    status = {**ROLLING, **changes.pop("status", {})}
    return seen_of(
        Phase.ROLLING_BACK, status=status, **{"canary": STAMPED, "route": route_seen(0, has_canary=True), **changes}
    )


def strategy(**changes: Any) -> Any:
    return spec_of(strategy=changes)


LATE: dict[str, Any] = {"step_started_at": NOW - 7201}


def resting(phase: Phase = Phase.SUCCEEDED, **changes: Any) -> Seen:
    """Stable runs what was released."""
    status = {
        "released_revision": REVISION,
        "released_image": NEW_IMAGE,
        "promoted_image": NEW_IMAGE,
        **changes.pop("status", {}),
    }
    return seen_of(phase, **{"status": status, "stable": stable_seen(image=NEW_IMAGE), **changes})


ENTRY = HistoryEntry(
    revision=REVISION,
    image=NEW_IMAGE,
    outcome=Outcome.ROLLED_BACK,
    reason="Aborted",
    message="A person aborted it.",
    started_at=NOW - 90,
    finished_at=NOW - 30,
    duration="1m",
)
