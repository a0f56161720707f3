"""Questions to Prometheus and the way from its answers to the judge's series, without any network."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease.adapters.prometheus import INFERENCE, ISTIO, SourceDefinition
from modelrelease.adapters.prometheus.answers import is_error, read_answer
from modelrelease.adapters.prometheus.selectors import Question, pods_question, questions
from modelrelease.errors import MetricsUnavailable
from modelrelease.judge import Series
from modelrelease.ports import Key, Samples, Senders, Watched, Workload

DETECTOR = Key("vision", "detector")
WATCHED = Watched("vision", "detector", "detector-canary", "Istio", ("5xx", "0"))
STABLE_HOST = "detector.vision.svc.cluster.local"
CANARY_HOST = "detector-canary.vision.svc.cluster.local"


def question(definition: SourceDefinition = ISTIO, **watched: Watched) -> Question:
    asked = {Key("vision", name): one for name, one in watched.items()} or {DETECTOR: WATCHED}
    (only,) = questions(definition, asked, domain="cluster.local", releases_per_query=100)
    return only


def requests(host: str, *values: tuple[float, object], **labels: str) -> dict[str, Any]:
    metric = {"__name__": "istio_requests_total", "destination_service": host, "response_code": "200", **labels}
    return {"metric": metric, "values": [[at, str(value)] for at, value in values]}


def bucket(le: str, host: str = STABLE_HOST, **labels: str) -> dict[str, Any]:
    name = {"__name__": "istio_request_duration_milliseconds_bucket"}
    return requests(host, (5, 1), **{**name, "le": le, **labels})


def read(*entries: object, asked: Question | None = None) -> Samples:
    asked = asked or question()
    answer = read_answer(asked, list(entries), start_seconds=0, end_seconds=10)
    return answer[next(iter(asked.watched))]


def test_one_selector_asks_for_both_metrics_and_both_arms() -> None:
    expected = (
        '{__name__=~"istio_request_duration_milliseconds|istio_request_duration_milliseconds_bucket|istio_requests_total",'
        'reporter="source",'
        'destination_service=~"detector\\\\-canary\\\\.vision\\\\.svc\\\\.cluster\\\\.local|'
        'detector\\\\.vision\\\\.svc\\\\.cluster\\\\.local"}[60001ms]'
    )
    assert expected == question().expression(1_000.5, 1_060.5)


def test_the_inference_source_asks_by_service_and_namespace() -> None:
    selector = question(INFERENCE).selector
    assert 'service=~"detector|detector\\\\-canary"' in selector
    assert 'namespace=~"vision"' in selector
    assert "reporter" not in selector


def test_nothing_in_a_name_is_taken_as_a_pattern_or_ends_the_string() -> None:
    nasty = Watched("vision", 'a"} or up{x=~".*', "b.*\\\n", "Istio", ())
    selector = question(one=nasty).selector
    assert re.fullmatch(r'\{(\w+=~?"(\\.|[^"\\\n])*",?)+\}', selector), "matchers with whole strings, and no more"
    pattern = re.compile(json.loads(selector.partition("destination_service=~")[2].removesuffix("}")))
    domain = "vision.svc.cluster.local"
    assert pattern.fullmatch(f"{nasty.stable_service}.{domain}")
    assert pattern.fullmatch(f"{nasty.canary_service}.{domain}")
    assert not pattern.fullmatch(f"bxx\\\n.{domain}")


def test_many_releases_are_few_questions_in_a_stable_order() -> None:
    watched = {
        Key("vision", f"model-{number:03}"): Watched("vision", f"m{number}", f"m{number}-canary", "Istio", ())
        for number in reversed(range(250))
    }
    asked = questions(ISTIO, watched, domain="cluster.local", releases_per_query=100)
    assert [100, 100, 50] == [len(one.watched) for one in asked]
    assert sorted(watched) == [key for one in asked for key in one.watched]


@given(st.floats(0, 2e9), st.floats(0.001, 86_400))
def test_the_range_reaches_back_to_the_start(end: float, length: float) -> None:
    asked = question().expression(end - length, end)
    milliseconds = int(asked.rpartition("[")[2].removesuffix("ms]"))
    assert milliseconds >= length * 1000 - 1e-3
    assert milliseconds <= length * 1000 + 2.1


def test_a_series_becomes_one_of_the_judges() -> None:
    samples = read(requests(STABLE_HOST, (1, 10), (2, 12.5), job="istio", instance="10.0.0.1:15020", pod="gw-0"))
    expected = Series(
        arm="stable",
        target="istio/10.0.0.1:15020/gw-0",
        kind="requests",
        code="200",
        is_error=False,
        bound_ms=None,
        samples=((1.0, 10.0), (2.0, 12.5)),
    )
    assert Samples((expected,), 2.0) == samples


def test_arms_are_told_apart_by_host() -> None:
    samples = read(requests(CANARY_HOST, (1, 1)), requests(STABLE_HOST, (1, 1)), requests("other.host", (1, 1)))
    assert ["canary", "stable"] == [series.arm for series in samples.series]


def test_each_release_gets_its_own() -> None:
    asked = question(
        a=Watched("vision", "a", "a-canary", "Istio", ()), b=Watched("vision", "b", "b-canary", "Istio", ())
    )
    answer = read_answer(asked, [requests("b.vision.svc.cluster.local", (1, 1))], start_seconds=0, end_seconds=10)
    assert {Key("vision", "a"): 0, Key("vision", "b"): 1} == {key: len(one.series) for key, one in answer.items()}


def test_of_the_inference_source_only_the_own_namespace_counts() -> None:
    asked = question(INFERENCE)
    labels = {"__name__": "inference_requests_total", "service": "detector", "code": "503"}
    samples = read(
        {"metric": labels | {"namespace": "vision"}, "values": [[1, "1"]]},
        {"metric": labels | {"namespace": "speech"}, "values": [[1, "1"]]},
        asked=asked,
    )
    assert [("stable", "503", True)] == [(one.arm, one.code, one.is_error) for one in samples.series]


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1", "many", ""])
def test_impossible_values_are_left_out(value: str) -> None:
    assert ((2.0, 3.0),) == read(requests(STABLE_HOST, (1, value), (2, "3"))).series[0].samples
    assert Samples((), None) == read(requests(STABLE_HOST, (1, value)))


def test_only_samples_after_the_start_and_up_to_the_end_count() -> None:
    samples = read(requests(STABLE_HOST, (-1, 1), (0, 1), (0.001, 2), (10, 3), (10.001, 4)))
    assert ((0.001, 2.0), (10.0, 3.0)) == samples.series[0].samples
    assert samples.newest_seconds == 10.0


@pytest.mark.parametrize(
    ("le", "definition", "expected"),
    [
        ("25", ISTIO, 25.0),
        ("+Inf", ISTIO, math.inf),
        ("0.07", INFERENCE, 70.0),
        ("0.0005", INFERENCE, 0.5),
        ("+Inf", INFERENCE, math.inf),
    ],
)
def test_bounds_are_milliseconds(le: str, definition: SourceDefinition, expected: float) -> None:
    entry = bucket(le, __name__=definition.buckets_metric, service="detector", namespace="vision")
    (series,) = read(entry, asked=question(definition)).series
    assert ("bucket", expected) == (series.kind, series.bound_ms)


@pytest.mark.parametrize("le", ["", "NaN", "fast"])
def test_a_bucket_without_a_bound_counts_nothing(le: str) -> None:
    assert read(bucket(le)).series == ()


@pytest.mark.parametrize(
    ("labels", "codes", "expected"),
    [
        ({"response_code": "200"}, ("5xx", "0"), False),
        ({"response_code": "500"}, ("5xx", "0"), True),
        ({"response_code": "503"}, ("503",), True),
        ({"response_code": "503"}, ("500",), False),
        ({"response_code": "404"}, ("5xx", "0"), False),
        ({"response_code": "404"}, ("4xx",), True),
        ({"response_code": "429"}, ("429",), True),
        ({"response_code": "0"}, ("5xx", "0"), True),
        ({"response_code": "0"}, ("5xx",), False),
        ({"response_code": "0", "response_flags": "DC"}, ("5xx", "0"), False),
        ({"response_code": "0", "response_flags": "UF,URX"}, ("5xx", "0"), True),
        ({"response_code": "0", "response_flags": "URX,DC"}, ("5xx", "0"), False),
        ({"response_code": "503", "response_flags": "DC"}, ("5xx", "0"), True),
        ({"response_code": "200", "grpc_response_status": "0"}, ("5xx", "0"), False),
        ({"response_code": "200", "grpc_response_status": "14"}, ("5xx", "0"), True),
        ({"response_code": "200", "grpc_response_status": "13"}, ("5xx", "0"), True),
        ({"response_code": "200", "grpc_response_status": "3"}, ("5xx", "0"), False),
        ({"response_code": "200", "grpc_response_status": "8"}, ("429",), True),
        ({"response_code": "503", "grpc_response_status": ""}, ("5xx", "0"), True),
        ({"response_code": "200", "grpc_response_status": "unknown"}, ("5xx",), False),
        ({"response_code": "0", "grpc_response_status": "14"}, ("0",), True),
        ({}, ("5xx", "0"), False),
    ],
)
def test_what_an_error_is(labels: dict[str, str], codes: tuple[str, ...], expected: bool) -> None:
    assert expected is is_error(ISTIO, labels, codes)


def test_equal_series_of_different_clients_stay_apart() -> None:
    """Their counters begin again at 0 at different times."""
    samples = read(
        requests(STABLE_HOST, (1, 1), source_workload="a"), requests(STABLE_HOST, (1, 9), source_workload="b")
    )
    assert [((1.0, 1.0),), ((1.0, 9.0),)] == [series.samples for series in samples.series]


def native(*histograms: tuple[float, dict[str, Any]], **labels: str) -> dict[str, Any]:
    """A series of a native histogram, as the API has it."""
    metric = {"__name__": "istio_request_duration_milliseconds", "destination_service": STABLE_HOST}
    return {"metric": {**metric, "response_code": "200", **labels}, "histograms": [list(one) for one in histograms]}


EARLY = {"count": "3", "sum": "50", "buckets": [[0, "11.3137085", "16", "2"], [0, "22.627417", "32", "1"]]}
LATE = {"count": "6", "sum": "90", "buckets": [[0, "11.3137085", "16", "4"], [0, "22.627417", "32", "2"]]}


def test_a_native_histogram_is_read_as_buckets() -> None:
    series = {one.bound_ms: one for one in read(native((1, EARLY), (2, LATE), (11, LATE))).series}
    assert ((1.0, 2.0), (2.0, 4.0)) == series[16.0].samples
    assert ((1.0, 3.0), (2.0, 6.0)) == series[32.0].samples == series[math.inf].samples
    assert {"bucket"} == {one.kind for one in series.values()}


def test_seconds_of_a_native_histogram_become_milliseconds() -> None:
    seconds = {"count": "3", "buckets": [[0, "0.0078125", "0.015625", "2"], [0, "0.015625", "0.03125", "1"]]}
    labels = {"__name__": "inference_request_duration_seconds", "service": "detector", "namespace": "vision"}
    series = {one.bound_ms: one for one in read(native((1, seconds), **labels), asked=question(INFERENCE)).series}
    assert ((1.0, 2.0),) == series[15.625].samples


def test_a_histogram_in_both_forms_counts_once() -> None:
    samples = read(native((1, EARLY)), bucket("+Inf"), bucket("25"))
    assert [25.0, math.inf] == [one.bound_ms for one in samples.series]


def test_custom_bounds_of_a_native_histogram_resolve_nothing_between_them() -> None:
    custom = {"count": "4", "buckets": [[0, "10", "25", "3"], [0, "25", "50", "1"]]}
    bounds = [one.bound_ms for one in read(native((1, custom))).series]
    assert not [bound for bound in bounds if bound is not None and 10 < bound < 50]


@pytest.mark.parametrize("histogram", [1, {}, {"count": "many"}, {"count": "1", "buckets": [[0, "1"]]}])
def test_what_is_no_histogram_is_refused(histogram: Any) -> None:
    with pytest.raises(MetricsUnavailable):
        read(native((1, histogram)))


INGRESS, EGRESS = Workload("istio-system", "ingress"), Workload("edge", "e-gress.v2")


def sent_by(workload: Workload) -> dict[str, str]:
    return {"source_workload": workload.name, "source_workload_namespace": workload.namespace}


def of(*workloads: Workload) -> Watched:
    return replace(WATCHED, senders=Senders(workloads))


def test_only_senders_whose_requests_the_route_splits_are_asked_for_and_counted() -> None:
    asked = question(a=of(INGRESS), b=replace(of(EGRESS), stable_service="other"))
    assert 'source_workload=~"|e\\\\-gress\\\\.v2|ingress"' in asked.selector
    samples = read(
        requests(STABLE_HOST, (1, 1), **sent_by(INGRESS)),
        requests(STABLE_HOST, (1, 2), **sent_by(Workload("vision", "ingress"))),
        requests(STABLE_HOST, (1, 4), **sent_by(Workload("vision", "camera"))),
        requests(STABLE_HOST, (1, 8), **sent_by(EGRESS)),
        requests(STABLE_HOST, (1, 16)),
        asked=asked,
    )
    assert [1.0, 16.0] == [series.samples[0][1] for series in samples.series], "ours, and what does not tell"


def test_where_one_release_counts_everybody_all_are_asked_for_and_each_gets_its_own() -> None:
    asked = question(a=of(INGRESS), b=WATCHED)
    assert "source_workload" not in asked.selector
    entries = [requests(STABLE_HOST, (1, 1), **sent_by(workload)) for workload in (INGRESS, EGRESS)]
    answer = read_answer(asked, entries, start_seconds=0, end_seconds=10)
    assert {"a": 1, "b": 2} == {key.name: len(samples.series) for key, samples in answer.items()}


def test_pods_are_asked_for_what_they_report_themselves_whoever_sent_it() -> None:
    asked = pods_question(ISTIO, of(INGRESS), domain="cluster.local")
    assert asked is not None
    assert 'reporter="destination",destination_service=~"detector\\\\.vision' in asked.selector
    assert "canary" not in asked.selector
    assert "source_workload" not in asked.selector
    labels = {"reporter": "destination", "pod": "detector-1", **sent_by(EGRESS)}
    (series,) = read(requests(STABLE_HOST, (1, 5), **labels), asked=asked).series
    assert ("stable", "detector-1") == (series.arm, series.target)


def test_pods_of_a_source_that_knows_none_are_not_asked_for() -> None:
    assert pods_question(replace(ISTIO, pod_labels=None), WATCHED, domain="cluster.local") is None


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_answer_does_not_matter(random: Any) -> None:
    entries = [
        *(
            bucket(le, host, response_code=code)
            for le in ("25", "5", "+Inf")
            for host in (STABLE_HOST, CANARY_HOST)
            for code in ("200", "503")
        ),
        *(requests(host, (1, 1), (3, 2), pod=pod) for host in (STABLE_HOST, CANARY_HOST) for pod in ("a", "b")),
    ]
    expected = read(*entries)
    random.shuffle(entries)
    assert expected == read(*entries)


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        "text",
        [None],
        ["text"],
        [{"metric": {}, "value": [1, "1"]}],
        [{"values": [[1, "1"]]}],
        [{"metric": {"destination_service": STABLE_HOST}, "values": [1]}],
        [{"metric": {"destination_service": STABLE_HOST}, "values": [["now", "1"]]}],
        [{"metric": {"destination_service": STABLE_HOST}, "values": [[1]]}],
    ],
)
def test_what_is_no_matrix_is_refused(result: object) -> None:
    with pytest.raises(MetricsUnavailable):
        read_answer(question(), result, start_seconds=0, end_seconds=10)
