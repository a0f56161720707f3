"""The objects of a canary: like stable's, and selected by nothing that selects stable's."""

from __future__ import annotations

from typing import Any, cast

import pytest

from modelrelease.errors import Terminal
from modelrelease.rollout.canary import (
    canary_deployment,
    canary_service,
    container_name,
    route_reference,
    stamped_reference,
    with_release,
)
from modelrelease.rollout.labels import MANAGED_BY, OPERATOR, RELEASE, REVISION, canary_name, release_label, suffixed
from modelrelease.rollout.provision import created_stable, created_virtual_service
from modelrelease.rollout.revision import revision_of
from simulation.looks import spec_of
from simulation.world import NAME, NEW_IMAGE, deployment, service

_LONG = "a" * 63


def _made(stable: Any = None, selected: Any = None, **spec: Any) -> dict[str, Any]:
    made = canary_deployment(
        stable or deployment(4), selected or service(), spec_of(**spec), release=NAME, revision="r1", replicas=2
    )
    return cast(dict[str, Any], made)


def _stable(labels: dict[str, str], selector: dict[str, Any], pod: dict[str, Any] | None = None) -> Any:
    body: Any = deployment(4)
    body["spec"]["selector"] = selector
    body["spec"]["template"]["metadata"]["labels"] = labels
    body["spec"]["template"]["spec"].update(pod or {})
    return body


def _service(selector: dict[str, str], **spec: Any) -> Any:
    body: Any = service()
    body["spec"] = {**body["spec"], "selector": selector, **spec}
    return body


@pytest.mark.parametrize(
    ("value", "expected"),
    [("yolo", "yolo-canary"), ("a" * 56, "a" * 56 + "-canary"), ("", "-canary")],
    ids=["short", "just fits", "empty"],
)
def test_suffixes(value: str, expected: str) -> None:
    assert expected == suffixed(value)


@pytest.mark.parametrize("value", ["a" * 57, _LONG, "a" * 49 + "." + "b" * 13, "x" * 200])
def test_long_values_are_cut_and_told_apart(value: str) -> None:
    marked, other = suffixed(value), suffixed(value[:-1] + "z")
    assert len(marked) <= 63
    assert marked.endswith("-canary")
    assert marked != other
    assert marked.replace("-", "").replace(".", "").isalnum()
    assert "." not in marked[48:50] or marked[48:50] != ".-"


@pytest.mark.parametrize(("name", "length"), [("yolo", 4), (_LONG, 63), ("a" * 64, 63), ("a" * 253, 63)])
def test_release_labels_fit(name: str, length: int) -> None:
    assert length == len(release_label(name))


SELECTORS: dict[str, tuple[dict[str, str], dict[str, Any], dict[str, str], dict[str, str]]] = {
    "one label": ({"app": "y"}, {"matchLabels": {"app": "y"}}, {"app": "y"}, {"app": "y-canary"}),
    "the Service selects by another": (
        {"app": "y", "role": "serve"},
        {"matchLabels": {"app": "y"}},
        {"role": "serve"},
        {"app": "y-canary", "role": "serve-canary"},
    ),
    "labels that nobody selects by stay": (
        {"app": "y", "team": "vision"},
        {"matchLabels": {"app": "y"}},
        {"app": "y"},
        {"app": "y-canary", "team": "vision"},
    ),
    "an In expression": (
        {"app": "y"},
        {"matchExpressions": [{"key": "app", "operator": "In", "values": ["y"]}]},
        {"app": "y"},
        {"app": "y-canary"},
    ),
}


@pytest.mark.parametrize(("labels", "selector", "selected", "expected"), SELECTORS.values(), ids=SELECTORS)
def test_labels_that_stable_is_selected_by_are_suffixed(
    labels: dict[str, str], selector: dict[str, Any], selected: dict[str, str], expected: dict[str, str]
) -> None:
    body = _made(_stable(labels, selector), _service(selected))
    pod = body["spec"]["template"]["metadata"]["labels"]
    assert {**expected, RELEASE: NAME} == pod
    assert body["spec"]["selector"]["matchLabels"].items() <= pod.items()


REFUSED: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "a Service without a selector": ({"matchLabels": {"app": "y"}}, {}),
    "an Exists expression alone": (
        {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
        {"app": "y"},
    ),
    "a NotIn expression alone": (
        {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["z"]}]},
        {"app": "y"},
    ),
}


@pytest.mark.parametrize(("selector", "selected"), REFUSED.values(), ids=REFUSED)
def test_a_selector_that_would_take_canary_pods_is_refused(selector: dict[str, Any], selected: dict[str, str]) -> None:
    with pytest.raises(Terminal) as refused:
        _made(_stable({"app": "y"}, selector), _service(selected))
    assert "SelectorUnsupported" == refused.value.reason


def test_affinity_and_topology_speak_of_the_canary() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "y", "team": "v"}}, "topologyKey": "zone"}
    expression = {"key": "app", "operator": "In", "values": ["y", "other"]}
    pod = {
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [term],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}],
            }
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "labelSelector": {"matchExpressions": [expression]}},
            {
                "maxSkew": 1,
                "topologyKey": "node",
                "labelSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
            },
        ],
    }
    body = _made(_stable({"app": "y", "team": "v"}, {"matchLabels": {"app": "y"}}, pod), _service({"app": "y"}))
    found = body["spec"]["template"]["spec"]
    rules = found["affinity"]["podAntiAffinity"]
    wanted = {"matchLabels": {"app": "y-canary", "team": "v"}}
    assert wanted == rules["requiredDuringSchedulingIgnoredDuringExecution"][0]["labelSelector"]
    preferred = rules["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    assert wanted == preferred["labelSelector"]
    spread = [one["labelSelector"]["matchExpressions"][0] for one in found["topologySpreadConstraints"]]
    assert [{**expression, "values": ["y-canary", "other"]}, {"key": "app", "operator": "Exists"}] == spread


def test_stable_is_not_changed_and_what_it_says_is_kept() -> None:
    stable: Any = deployment(4)
    stable["spec"].update({"minReadySeconds": 7, "paused": True})
    stable["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "x", "team": "vision"}
    before = repr(stable)
    body = _made(stable)
    assert before == repr(stable)
    assert (7, 2, None) == (body["spec"]["minReadySeconds"], body["spec"]["replicas"], body["spec"].get("paused"))
    annotations = body["metadata"]["annotations"]
    assert ("vision", NAME, "r1") == (annotations["team"], annotations[RELEASE], annotations[REVISION])
    assert "kubectl.kubernetes.io/last-applied-configuration" not in annotations
    assert OPERATOR == body["metadata"]["labels"][MANAGED_BY]
    assert "ownerReferences" not in body["metadata"]


def test_the_route_is_stamped_and_read_back() -> None:
    assert route_reference(spec_of()) == stamped_reference(_made())


@pytest.mark.parametrize("stamp", [None, "", "{", "[]", '{"virtual_service": "a"}'])
def test_a_damaged_stamp_is_none(stamp: str | None) -> None:
    body = _made()
    body["metadata"]["annotations"] = {} if stamp is None else {"modelrelease.dev/route": stamp}
    assert stamped_reference(body) is None


TWO: Any = {"spec": {"containers": [{"name": "proxy", "image": "p:1"}, {"name": "server", "image": "s:1"}]}}
ANNOTATED = {**TWO, "metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "server"}}}
WRONG = {**TWO, "metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "gone"}}}


@pytest.mark.parametrize(
    ("template", "wanted", "expected"),
    [(TWO, None, "proxy"), (ANNOTATED, None, "server"), (WRONG, None, "proxy"), (ANNOTATED, "proxy", "proxy")],
    ids=["the first", "the annotated", "a wrong annotation", "the named"],
)
def test_which_container_is_released(template: Any, wanted: str | None, expected: str) -> None:
    assert expected == container_name(template, wanted)


def test_a_container_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(Terminal, match="proxy, server"):
        container_name(TWO, "gone")


def test_only_the_released_container_changes() -> None:
    spec = spec_of(workload={"container": "server"}, env=[{"name": "A", "value": "1"}])
    proxy, server = cast(Any, with_release(TWO, spec, NEW_IMAGE))["spec"]["containers"]
    assert {"name": "proxy", "image": "p:1"} == proxy
    assert {"name": "server", "image": NEW_IMAGE, "env": [{"name": "A", "value": "1"}]} == server


def test_variables_are_replaced_in_place_and_added_at_the_end() -> None:
    secret = {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    kept = {"name": "KEPT", "value": "x"}
    template: Any = {"spec": {"containers": [{"name": "s", "env": [secret, kept, {"name": "A", "value": "0"}]}]}}
    spec = spec_of(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}])
    found = cast(Any, with_release(template, spec, NEW_IMAGE))["spec"]["containers"][0]["env"]
    expected = [{"name": "B", "value": "2"}, kept, {"name": "A", "value": "1"}, {"name": "C", "value": "3"}]
    assert expected == found


@pytest.mark.parametrize("headless", [False, True])
def test_the_canarys_service(headless: bool) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8000, "nodePort": 31000, "appProtocol": "http"}]
    stable = _service({"app": NAME}, ports=ports, clusterIP="None" if headless else "10.0.0.1", type="NodePort")
    canary: Any = _made()
    canary["metadata"]["uid"] = "uid-1"
    body = cast(dict[str, Any], canary_service(stable, canary))
    expected: dict[str, Any] = {
        "ports": [{"name": "http", "port": 80, "targetPort": 8000, "appProtocol": "http"}],
        "selector": {"app": f"{NAME}-canary"},
    }
    assert {**expected, **({"clusterIP": "None"} if headless else {})} == body["spec"]
    assert canary_name(NAME) == body["metadata"]["name"]
    assert [{"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{NAME}-canary", "uid": "uid-1"}] == body[
        "metadata"
    ]["ownerReferences"]


TEMPLATE: Any = {"spec": {"containers": [{"name": "server"}]}}


def test_what_is_created_fits_together_and_belongs_to_nobody() -> None:
    spec = spec_of(workload={"template": TEMPLATE, "replicas": 3, "port": 9000}, traffic={"hosts": ["a.example.com"]})
    made, made_service = (cast(dict[str, Any], one) for one in created_stable(spec, "vision", NAME))
    route = cast(dict[str, Any], created_virtual_service(spec, "vision"))
    pod_labels = made["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["selector"]["matchLabels"].items() <= pod_labels.items()
    assert made_service["spec"]["selector"].items() <= pod_labels.items()
    assert (3, NEW_IMAGE) == (made["spec"]["replicas"], made["spec"]["template"]["spec"]["containers"][0]["image"])
    assert [{"name": "http", "port": 9000, "targetPort": 9000}] == made_service["spec"]["ports"]
    destination = {"host": NAME, "port": {"number": 9000}}
    assert [{"name": "primary", "route": [{"destination": destination}]}] == route["spec"]["http"]
    assert "gateways" not in route["spec"]
    assert not any("ownerReferences" in one["metadata"] for one in (made, made_service, route))


def test_a_canary_of_a_created_deployment_has_the_labels_it_selects_by() -> None:
    spec = spec_of(workload={"template": TEMPLATE})
    made, made_service = created_stable(spec, "vision", NAME)
    body = cast(dict[str, Any], canary_deployment(made, made_service, spec, release=NAME, revision="r", replicas=1))
    labels = body["spec"]["template"]["metadata"]["labels"]
    assert body["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert f"{NAME}-canary" == labels["app.kubernetes.io/name"]


REVISIONS: dict[str, tuple[dict[str, Any], int, bool]] = {
    "the same": ({}, 0, True),
    "paused": ({"paused": True}, 0, True),
    "strategy": ({"strategy": {"bakeTime": "1s"}}, 0, True),
    "retry": ({}, 1, False),
    "image": ({"image": "a:b"}, 0, False),
    "env": ({"env": [{"name": "A", "value": "1"}]}, 0, False),
    "template": ({"workload": {"template": TEMPLATE}}, 0, False),
}


@pytest.mark.parametrize(("changes", "retries", "same"), REVISIONS.values(), ids=REVISIONS)
def test_what_makes_another_release(changes: dict[str, Any], retries: int, same: bool) -> None:
    assert same is (revision_of(spec_of(), 0) == revision_of(spec_of(**changes), retries))
