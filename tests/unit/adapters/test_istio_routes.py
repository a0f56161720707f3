"""The split of a route, on VirtualServices in the manner of Istio's documentation."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelrelease.adapters.istio import read_route, restored, with_weight
from modelrelease.errors import Terminal
from modelrelease.ports import Manifest
from modelrelease.rollout.seen import RouteReference

STABLE, CANARY = "detector", "detector-canary"

PLAIN = """
- route:
  - destination: {host: detector}
"""
EXPLICIT = """
- route:
  - destination: {host: detector}
    weight: 100
"""
FULL_NAME = """
- route:
  - destination: {host: detector.vision.svc.cluster.local, port: {number: 80}}
"""
SUBSET = """
- name: primary
  route:
  - destination: {host: detector, subset: gpu, port: {number: 8080}}
    weight: 100
    headers:
      response: {add: {x-served-by: detector}}
"""
REWRITTEN = """
- name: primary
  match:
  - uri: {prefix: /v1/detect}
    ignoreUriCase: true
  - headers: {x-tenant: {regex: "acme-.*"}}
  rewrite: {uri: /detect}
  route:
  - destination: {host: detector.vision}
  timeout: 3s
  retries: {attempts: 2, perTryTimeout: 1s, retryOn: "gateway-error,connect-failure"}
"""
MIRRORED = """
- route:
  - destination: {host: detector.vision.svc}
    weight: 100
  mirror: {host: detector-shadow, subset: v9}
  mirrorPercentage: {value: 12.5}
  fault:
    delay: {percentage: {value: 0.1}, fixedDelay: 5s}
    abort: {percentage: {value: 0.1}, httpStatus: 503}
  corsPolicy:
    allowOrigins: [{exact: "https://example.com"}]
    allowMethods: [POST, GET]
    allowHeaders: [x-request-id]
    maxAge: 24h
  headers:
    request: {set: {x-release: managed}, remove: [x-debug]}
  futureField: {nobody: [knows, {yet: null}]}
"""
BY_USER = """
- name: testers
  match:
  - headers: {end-user: {exact: jason}}
  route:
  - destination: {host: detector-preview, subset: v2}
    weight: 25
  - destination: {host: detector, subset: v1}
    weight: 75
- name: old-path
  match: [{uri: {prefix: /legacy}}]
  redirect: {uri: /v1/detect, redirectCode: 308}
- name: health
  match: [{uri: {exact: /healthz}}]
  directResponse: {status: 200, body: {string: ok}}
- name: primary
  route:
  - destination: {host: detector}
- name: teams
  match: [{uri: {prefix: /teams}}]
  delegate: {name: teams, namespace: teams}
"""
SHAPES = {
    "plain": (PLAIN, None),
    "explicit": (EXPLICIT, None),
    "full name": (FULL_NAME, None),
    "subset": (SUBSET, "primary"),
    "rewritten": (REWRITTEN, "primary"),
    "mirrored": (MIRRORED, None),
    "by user": (BY_USER, "primary"),
}


@cache
def _parsed(http: str) -> Any:
    return yaml.safe_load(http)


def virtual_service(http: str) -> Manifest:
    """As the API server hands it out, with everything around the routes that must not change."""
    return cast(
        Manifest,
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {
                "name": "detector",
                "namespace": "vision",
                "resourceVersion": "4711",
                "annotations": {"team": "vision"},
                "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {
                "hosts": ["detector.example.com"],
                "gateways": ["istio-system/public", "mesh"],
                "http": copy.deepcopy(_parsed(http)),
                "tls": [{"match": [{"port": 443, "sniHosts": ["a"]}], "route": [{"destination": {"host": "a"}}]}],
                "tcp": [{"route": [{"destination": {"host": "detector", "port": {"number": 9000}}}]}],
                "exportTo": ["."],
            },
            "status": {"observedGeneration": 3},
        },
    )


def reference(route: str | None = None, *, stable: str = STABLE, canary: str = CANARY) -> RouteReference:
    return RouteReference("detector", route, stable, canary)


def as_bytes(manifest: Manifest) -> str:
    """With the order of keys, which `==` does not see."""
    return json.dumps(manifest)


def route_of(manifest: Manifest, name: str | None = None) -> dict[str, Any]:
    http = cast(Any, manifest)["spec"]["http"]
    found = [route for route in http if name is None or route.get("name") == name]
    return cast(dict[str, Any], found[0])


def weights(manifest: Manifest, name: str | None = None) -> dict[str, int | None]:
    return {entry["destination"]["host"]: entry.get("weight") for entry in route_of(manifest, name)["route"]}


shapes = pytest.mark.parametrize(("http", "route"), SHAPES.values(), ids=SHAPES.keys())


@shapes
def test_at_rest_stable_has_everything(http: str, route: str | None) -> None:
    seen = read_route(virtual_service(http), reference(route))
    assert (0, False, True, "4711") == (seen.weight_percent, seen.has_canary, seen.is_consistent, seen.resource_version)


@shapes
@given(steps=st.lists(st.integers(0, 100), min_size=1, max_size=6))
def test_the_original_comes_back_to_the_byte(http: str, route: str | None, steps: list[int]) -> None:
    original = virtual_service(http)
    before, changed = as_bytes(original), original
    for step in steps:
        changed = with_weight(changed, reference(route), step)
    assert before == as_bytes(original), "the manifest that was passed in must stay as it is"
    assert before == as_bytes(restored(changed, reference(route)))
    assert before == as_bytes(restored(original, reference(route)))


@shapes
@given(weight=st.integers(0, 100), later=st.integers(0, 100))
def test_weights_add_up_and_are_read_back(http: str, route: str | None, weight: int, later: int) -> None:
    first = with_weight(virtual_service(http), reference(route), weight)
    changed = with_weight(first, reference(route), later)
    seen = read_route(changed, reference(route))
    assert (later, True) == (seen.weight_percent, seen.is_consistent)
    assert seen.has_canary is (weight > 0 or later > 0)
    if seen.has_canary:
        assert sum(cast(int, one) for one in weights(changed, route).values()) == 100
    assert changed == with_weight(changed, reference(route), later), "the same weight again changes nothing"


@shapes
def test_only_the_destinations_of_the_route_change(http: str, route: str | None) -> None:
    original, changed = virtual_service(http), with_weight(virtual_service(http), reference(route), 5)
    changed_route, original_route = route_of(changed, route), route_of(original, route)
    assert list(original_route) == list(changed_route), "no key moves"
    changed_route["route"] = original_route["route"]
    assert as_bytes(original) == as_bytes(changed)


def test_the_canary_gets_what_stable_gets_except_for_its_subset() -> None:
    changed = with_weight(virtual_service(SUBSET), reference("primary"), 5)
    canary, stable = route_of(changed, "primary")["route"]
    expected_canary = {
        "destination": {"host": "detector-canary", "port": {"number": 8080}},
        "weight": 5,
        "headers": {"response": {"add": {"x-served-by": "detector"}}},
    }
    assert expected_canary == canary
    assert {"host": "detector", "subset": "gpu", "port": {"number": 8080}} == stable["destination"]
    assert stable["weight"] == 95


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("detector", "detector-canary"),
        ("detector.vision", "detector-canary.vision"),
        ("detector.vision.svc", "detector-canary.vision.svc"),
        ("detector.vision.svc.cluster.local", "detector-canary.vision.svc.cluster.local"),
        ("detector.vision.svc.corp.example", "detector-canary.vision.svc.corp.example"),
    ],
)
@pytest.mark.parametrize("spelling", ["{0}", "{0}.vision", "{0}.vision.svc.cluster.local"])
def test_hosts_are_known_in_every_spelling_and_kept_in_theirs(host: str, expected: str, spelling: str) -> None:
    if host.endswith("corp.example") and spelling.endswith("cluster.local"):
        spelling = "{0}.vision.svc.corp.example"
    asked = reference(stable=spelling.format(STABLE), canary=spelling.format(CANARY))
    changed = with_weight(virtual_service(PLAIN.replace("host: detector", f"host: {host}")), asked, 20)
    assert {host: 80, expected: 20} == weights(changed)
    assert read_route(changed, asked).weight_percent == 20


def test_a_host_of_another_namespace_is_another_host() -> None:
    manifest = virtual_service(PLAIN.replace("host: detector", "host: detector.speech"))
    with pytest.raises(Terminal, match=r"does not lead to detector but to detector\.speech") as refused:
        read_route(manifest, reference())
    assert refused.value.reason == "RouteUnsupported"


def test_a_weight_of_zero_adds_no_destination() -> None:
    original = virtual_service(PLAIN)
    assert as_bytes(original) == as_bytes(with_weight(original, reference(), 0))


def test_a_weight_of_zero_keeps_the_destination_that_is_there() -> None:
    changed = with_weight(with_weight(virtual_service(PLAIN), reference(), 50), reference(), 0)
    assert {"detector": 100, "detector-canary": 0} == weights(changed)


@pytest.mark.parametrize("weight", [-1, 101])
def test_impossible_weights_are_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        with_weight(virtual_service(PLAIN), reference(), weight)


def split(stable: str, canary: str, *more: str) -> Manifest:
    entries = [f"  - {{destination: {{host: detector}}, {stable}}}", *([canary] if canary else []), *more]
    return virtual_service("- route:\n" + "\n".join(entries))


CANARY_AT = "  - {{destination: {{host: detector-canary{}}}, weight: {}}}"


@pytest.mark.parametrize(
    ("manifest", "weight", "consistent"),
    [
        (split("weight: 95", CANARY_AT.format("", 5)), 5, True),
        (split("weight: 0", CANARY_AT.format("", 100)), 100, True),
        (split("headers: {}", CANARY_AT.format("", 100).replace("weight", "headers: {}, weight")), 100, True),
        (split("weight: 95", CANARY_AT.format("", 50)), 50, False),
        (split("weight: 5", CANARY_AT.format("", 5)), 5, False),
        (split("weight: 95", CANARY_AT.format(", subset: other", 5)), 5, True),
        (split("weight: 90", CANARY_AT.format("", 5), CANARY_AT.format("", 5)), 10, False),
    ],
    ids=["ours", "all", "zero left out", "too much", "too little", "other subset", "twice"],
)
def test_what_somebody_else_wrote_is_seen_and_repaired(manifest: Manifest, weight: int, consistent: bool) -> None:
    seen = read_route(manifest, reference())
    assert (weight, consistent) == (seen.weight_percent, seen.is_consistent)
    repaired = with_weight(manifest, reference(), 20)
    assert {"detector": 80, "detector-canary": 20} == weights(repaired)
    assert read_route(repaired, reference()).is_consistent
    assert read_route(repaired, reference()).is_alike


@pytest.mark.parametrize(
    ("stable", "canary", "expected"),
    [
        ("weight: 95", "", True),
        ("headers: {}, weight: 95", "", False),
        ("weight: 95", ", subset: other", False),
        ("weight: 95", ", port: {number: 81}", False),
    ],
)
def test_an_edit_of_either_destination_is_seen(stable: str, canary: str, expected: bool) -> None:
    seen = read_route(split(stable, CANARY_AT.format(canary, 5)), reference())
    assert (5, True, expected) == (seen.weight_percent, seen.is_consistent, seen.is_alike)


def test_traffic_can_be_taken_off_beside_a_third_destination() -> None:
    third = "  - {destination: {host: intruder}, weight: 10}"
    manifest = split("weight: 40", CANARY_AT.format("", 50), third)
    seen = read_route(manifest, reference())
    assert (50, False) == (seen.weight_percent, seen.is_consistent)
    assert {"detector": 90, "detector-canary": 0, "intruder": 10} == weights(with_weight(manifest, reference(), 0))
    assert {"detector": 90, "intruder": 10} == weights(restored(manifest, reference()))
    with pytest.raises(Terminal, match="intruder"):
        with_weight(manifest, reference(), 5)


def test_a_weight_left_behind_on_the_only_destination_means_nothing() -> None:
    manifest = virtual_service(EXPLICIT.replace("100", "80"))
    assert read_route(manifest, reference()).is_consistent
    changed = with_weight(manifest, reference(), 5)
    assert {"detector": 95, "detector-canary": 5} == weights(changed)
    assert {"detector": 100} == weights(restored(changed, reference()))


@pytest.mark.parametrize(
    ("http", "route", "reason", "sentence"),
    [
        ("[]", None, "RouteMissing", "has no http route; add one that leads to detector"),
        (BY_USER, "absent", "RouteMissing", "'testers', 'old-path', 'health', 'primary', 'teams'"),
        (BY_USER, None, "RouteAmbiguous", "has 5 http routes; name the one to split in spec.traffic.route: 'testers'"),
        (SUBSET + SUBSET, "primary", "RouteAmbiguous", "has 2 http routes named 'primary'"),
        (BY_USER, "teams", "RouteUnsupported", "is a delegate and has no destinations"),
        (BY_USER, "old-path", "RouteUnsupported", "is a redirect and has no destinations"),
        (BY_USER, "health", "RouteUnsupported", "is a directResponse and has no destinations"),
        (BY_USER, "testers", "RouteUnsupported", "has destinations besides stable (detector-preview)"),
        ("- name: primary", "primary", "RouteUnsupported", "has no destinations; add stable's Service"),
        (
            "- route: [{destination: {host: detector, subset: a}, weight: 50},"
            " {destination: {host: detector, subset: b}, weight: 50}]",
            None,
            "RouteUnsupported",
            "over 2 destinations of detector (subsets: a, b)",
        ),
    ],
)
def test_what_cannot_be_split_is_refused_with_the_remedy(
    http: str, route: str | None, reason: str, sentence: str
) -> None:
    with pytest.raises(Terminal) as refused:
        read_route(virtual_service(http), reference(route))
    assert reason == refused.value.reason
    assert sentence in str(refused.value)


def test_no_http_at_all_is_a_missing_route() -> None:
    manifest = copy.deepcopy(virtual_service(PLAIN))
    del cast(Any, manifest)["spec"]["http"]
    with pytest.raises(Terminal) as refused:
        read_route(manifest, reference())
    assert refused.value.reason == "RouteMissing"


IN_TWO = """
- name: main
  route:
  - {destination: {host: detector, subset: a}, weight: 41}
  - {destination: {host: detector, subset: b}, weight: 40}
  - {destination: {host: detector-canary}, weight: 19}
"""
AWAY = """
- name: primary
  route:
  - {destination: {host: maintenance.vision.svc}, weight: 80}
  - {destination: {host: detector-canary}, weight: 20}
"""
ALONE = """
- name: primary
  route:
  - {destination: {host: detector-canary.vision, port: {number: 80}}}
"""
COPIED = """
- name: gold
  route:
  - {destination: {host: detector-canary}, weight: 20}
  - {destination: {host: detector}, weight: 80}
- name: primary
  route:
  - {destination: {host: detector}, weight: 80}
  - {destination: {host: detector-canary}, weight: 20}
"""


@pytest.mark.parametrize(
    ("http", "route", "share", "at_zero", "at_rest"),
    [
        (IN_TWO, None, 19, [[51, 49, 0]], [[51, 49]]),
        (IN_TWO, "primary", 19, [[51, 49, 0]], [[51, 49]]),
        (AWAY, None, 20, [[100, 0]], [[None]]),
        (AWAY, "absent", 20, [[100, 0]], [[None]]),
        (ALONE, "absent", 100, [[0, 100]], [[100]]),
        (ALONE, None, 100, [[0, 100]], [[100]]),
        (COPIED, None, 20, [[0, 100], [100, 0]], [[100], [None]]),
        (COPIED, "absent", 20, [[0, 100], [100, 0]], [[100], [None]]),
    ],
    ids=["subsets", "subsets and renamed", "away", "away and renamed", "alone, renamed", "alone", "twice", "renamed"],
)
def test_the_canarys_share_comes_off_routes_that_cannot_be_split(
    http: str, route: str | None, share: int, at_zero: list[list[int]], at_rest: list[list[int | None]]
) -> None:
    manifest, asked = virtual_service(http), reference(route)
    seen = read_route(manifest, asked)
    assert (share, True, False) == (seen.weight_percent, seen.has_canary, seen.is_consistent)
    assert seen.problem is not None
    with pytest.raises(Terminal) as refused:
        with_weight(manifest, asked, 5)
    assert seen.problem == (refused.value.reason, str(refused.value))
    off = with_weight(manifest, asked, 0)
    assert at_zero == _all_weights(off)
    assert (0, True) == (read_route(off, asked).weight_percent, read_route(off, asked).has_canary)
    assert off == with_weight(off, asked, 0)
    for before in (manifest, off):
        back = restored(before, asked)
        assert CANARY not in as_bytes(back)
        assert at_rest == _all_weights(back)


def _all_weights(manifest: Manifest) -> list[list[int | None]]:
    return [[entry.get("weight") for entry in route["route"]] for route in cast(Any, manifest)["spec"]["http"]]


def test_a_copy_of_the_managed_route_is_somebody_elses_weight() -> None:
    manifest, asked = virtual_service(COPIED), reference("primary")
    seen = read_route(manifest, asked)
    assert (20, False, None) == (seen.weight_percent, seen.is_consistent, seen.problem)
    changed = with_weight(manifest, asked, 50)
    assert [[0, 100], [50, 50]] == _all_weights(changed)
    assert read_route(changed, asked).is_consistent
    assert CANARY not in as_bytes(restored(changed, asked))


def test_the_route_with_the_canary_is_the_managed_one_among_several() -> None:
    """Nobody needs to have given it a name before somebody adds another."""
    split = with_weight(virtual_service(PLAIN), reference(), 20)
    cast(Any, split)["spec"]["http"].insert(0, {"redirect": {"uri": "/docs"}})
    assert 20 == read_route(split, reference()).weight_percent
    assert read_route(split, reference()).problem is None


def test_a_route_of_its_own_to_the_canary_is_left_alone() -> None:
    """For testers, say. It gives the canary nothing of stable's traffic."""
    tested = PLAIN.replace("- route", "- name: primary\n  route") + ALONE.replace("primary", "testers")
    manifest, asked = virtual_service(tested), reference("primary")
    seen = read_route(manifest, asked)
    assert (0, False, True) == (seen.weight_percent, seen.has_canary, seen.is_consistent)
    changed = with_weight(manifest, asked, 20)
    assert [[80, 20], [None]] == _all_weights(changed)
    assert as_bytes(manifest) == as_bytes(restored(changed, asked))


def _written_by(manager: str, *, routes: bool = True) -> dict[str, Any]:
    return {"manager": manager, "fieldsV1": {"f:spec": {"f:http" if routes else "f:hosts": {}}}}


@pytest.mark.parametrize(
    ("managed", "expected"),
    [
        ([_written_by("kubectl", routes=False), _written_by("modelrelease-operator")], True),
        ([_written_by("modelrelease-operator"), _written_by("argocd-controller")], False),
        ([_written_by("modelrelease-operator", routes=False), _written_by("kubectl")], False),
        ([{"manager": "modelrelease-operator"}], False),
        (None, False),
    ],
    ids=["ours", "asked for by others, too", "somebody else's", "without fields", "nobody knows"],
)
def test_whose_the_routes_are(managed: Any, expected: bool) -> None:
    manifest = virtual_service(PLAIN)
    cast(Any, manifest)["metadata"]["managedFields"] = managed
    assert expected == read_route(manifest, reference()).is_ours
