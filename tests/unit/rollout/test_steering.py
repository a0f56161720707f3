"""Annotations: each wish is answered once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from modelrelease.api.status import (
    Handled,
    Phase,
)
from modelrelease.rollout.decide import decide
from modelrelease.rollout.decision import (
    ConsumeRequests,
)
from modelrelease.rollout.seen import Seen
from simulation.cases import (
    REVISION,
)
from simulation.looks import NOW, route_seen, seen_of


def _handled(name: str, value: str) -> Handled:
    return Handled(name=f"modelrelease.dev/{name}", value=value, revision=REVISION, step=3, at=NOW - 5)


@dataclass(frozen=True, slots=True)
class Wish:
    name: str
    seen: Seen
    event: str | None
    expected: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


WISHES = (
    Wish("promote next", seen_of(annotations={"promote": "next"}), "PromotedByHand", {"approved_step": 4}),
    Wish("promote full", seen_of(annotations={"promote": "full"}), "PromotedByHand", {"approved_step": 6}),
    Wish(
        "promote for another generation",
        seen_of(annotations={"promote": "full@7"}),
        "AnnotationIgnored",
        {"approved_step": 0},
    ),
    Wish("promote for this generation", seen_of(annotations={"promote": "full@1"}), "PromotedByHand"),
    Wish(
        "promote of an unknown kind", seen_of(annotations={"promote": "all"}), "AnnotationUnknown", {"approved_step": 0}
    ),
    Wish(
        "promote put back",
        seen_of(annotations={"promote": "next"}, status={"last_handled": [_handled("promote", "next")]}),
        None,
        {"approved_step": 0},
    ),
    Wish("promote at rest", seen_of(Phase.SUCCEEDED, annotations={"promote": "next"}), "NothingToDo"),
    Wish("pause", seen_of(annotations={"pause": "true"}), "Paused", {"paused": True}),
    Wish("pause with another value", seen_of(annotations={"pause": "yes"}), "AnnotationUnknown", {"paused": False}),
    Wish(
        "resume",
        seen_of(Phase.PAUSED, annotations={"resume": "true"}, status={"paused": True, "fights": 3}),
        "Resumed",
        {"paused": False, "fights": 0},
    ),
    Wish("resume what is not paused", seen_of(annotations={"resume": "true"}), "NothingToDo", {"last_handled": []}),
    Wish(
        "retry too early does not use the wish up",
        seen_of(annotations={"retry": "true"}),
        "NothingToDo",
        {"last_handled": [], "retries": 0},
    ),
    Wish("retry", seen_of(Phase.ROLLED_BACK, annotations={"retry": "true"}), "Retried", {"retries": 1}),
    Wish("abort at rest", seen_of(Phase.ROLLED_BACK, annotations={"abort": "x"}), "NothingToDo"),
    Wish(
        "abort for another revision",
        seen_of(annotations={"abort": "x@0123456789"}),
        "AnnotationIgnored",
        {"phase": Phase.PROGRESSING},
    ),
)


@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_wishes_are_answered_once_and_taken_off(wish: Wish) -> None:
    decision = decide(wish.seen, NOW)

    events = [one.reason for one in decision.announcements]
    found = {name: getattr(decision.status, name) for name in wish.expected}
    assert ([] if wish.event is None else [wish.event], wish.expected) == (events, found)
    assert ConsumeRequests(wish.seen.requests[:1]) == decision.effect


def test_a_name_that_means_nothing_is_said_once_whatever_the_phase() -> None:
    for seen in (seen_of(), seen_of(Phase.STABLE)):
        misspelt = replace(seen, unknown_annotations=("modelrelease.dev/promot",))
        decision = decide(misspelt, NOW)
        again = decide(replace(misspelt, status=decision.status), NOW)
        more = decide(
            replace(
                misspelt,
                status=decision.status,
                unknown_annotations=("modelrelease.dev/abrot", "modelrelease.dev/promot"),
            ),
            NOW,
        )
        gone = decide(replace(seen, status=decision.status), NOW)

        assert ["AnnotationUnknown"] == [one.reason for one in decision.announcements]
        assert "modelrelease.dev/promot means nothing" in decision.announcements[0].message
        assert "modelrelease.dev/abort" in decision.announcements[0].message
        assert "AnnotationUnknown" not in [one.reason for one in again.announcements]
        assert "modelrelease.dev/abrot means nothing" in more.announcements[0].message
        assert ((), []) == (gone.announcements, gone.status.unknown_annotations)


def test_an_abort_is_obeyed_beside_a_name_that_means_nothing() -> None:
    seen = replace(seen_of(annotations={"abort": "x"}), unknown_annotations=("modelrelease.dev/promot",))
    assert Phase.ROLLING_BACK is decide(seen, NOW).status.phase


def test_a_wish_of_a_gitops_tool_is_refused_once() -> None:
    seen = seen_of(annotations={"pause": "true"})
    seen = replace(seen, requests=(), gitops_requests=seen.requests)

    decision = decide(seen, NOW)
    again = decide(replace(seen, status=decision.status), NOW)

    assert ["AnnotationIgnored"] == [one.reason for one in decision.announcements]
    assert ((), False) == (again.announcements, again.status.paused)


def test_after_a_contested_pause_the_same_resume_counts_again() -> None:
    handled = {"last_handled": [_handled("resume", "true")], "fights": 2}
    paused = decide(seen_of(route=route_seen(70), status=handled), NOW).status

    decision = decide(replace(seen_of(annotations={"resume": "true"}), status=paused), NOW)

    assert (True, False) == (paused.paused, decision.status.paused)
