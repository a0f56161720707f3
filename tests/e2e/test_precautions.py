"""What would go wrong is said before any traffic moves, and also while nothing is asked for."""

from __future__ import annotations

import pytest

from demo.manifests import MODEL_RELEASE, ROUTE
from demo.scenes import STABLE
from demo.waiting import wait_for
from e2e.arena import HOLD_FIRST, Arena
from modelrelease.api.status import ConditionType, Phase

pytestmark = pytest.mark.e2e


def test_a_policy_that_would_not_guard_the_canary_is_named_before_it_gets_traffic(arena: Arena) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "everybody", "namespace": arena.model.namespace},
        "spec": {"podSelector": {"matchLabels": arena.model.labels}, "policyTypes": ["Ingress"], "ingress": [{}]},
    }
    arena.kube.apply(policy)
    arena.install(HOLD_FIRST)
    arena.start("v1.1.0")

    sentence = arena.wait_condition(ConditionType.CANARY_AVAILABLE, "PolicyUncovered")
    arena.wait_weight(20)
    assert arena.wait_event("StepStarted")

    assert "NetworkPolicy/everybody" in sentence
    versions = {event["reason"]: int(event["metadata"]["resourceVersion"]) for event in arena.events()}
    assert versions["PolicyUncovered"] < versions["StepStarted"]
    arena.steer(abort="end of the test")
    arena.wait_phase(Phase.ROLLED_BACK, 90)
    reasons = [event["reason"] for event in arena.events()]
    assert (1, 1, 0) == tuple(reasons.count(word) for word in ("PolicyUncovered", "Aborted", "RolledBack"))


def test_trouble_is_noticed_at_rest_and_what_waits_is_not_shown_as_what_runs(arena: Arena) -> None:
    arena.install()
    name = arena.model.name

    arena.kube.patch(MODEL_RELEASE, name, {"spec": {"analysis": {"source": "nowhere"}}})
    assert "nowhere" in arena.wait_condition(ConditionType.READY, "UnknownSource")
    arena.kube.patch(MODEL_RELEASE, name, {"spec": {"analysis": {"source": None}, "traffic": {"route": "elsewhere"}}})
    assert "elsewhere" in arena.wait_condition(ConditionType.READY, "RouteMissing")

    arena.start("v1.1.0")
    wait_for("the release to wait", lambda: "The release of v1.1.0 waits." in arena.status().message, 60)
    assert (STABLE, Phase.STABLE) == (arena.status().tag, arena.status().phase)
    assert arena.canary_objects() == []

    arena.kube.patch(MODEL_RELEASE, name, {"spec": {"image": arena.image(STABLE), "traffic": {"route": ROUTE}}})
    arena.wait_condition(ConditionType.READY, "Stable")
    assert arena.weight() == 0


def test_an_edit_of_the_canarys_template_takes_its_traffic_first(arena: Arena) -> None:
    arena.install(HOLD_FIRST)
    began = arena.start("v1.1.0")
    arena.wait_weight(20)
    edit = {"spec": {"template": {"metadata": {"annotations": {"example.com/edited": "by hand"}}}}}

    arena.kube.patch("deployment", arena.model.canary, edit)

    assert "edited" in arena.wait_event("CanaryChanged")
    arena.wait_weight(0, 20)
    arena.wait_weight(20)  # of the release that started over
    arena.assert_no_errors(began, of_stable=True)
    arena.steer(abort="end of the test")
    arena.wait_weight(0, 20)
