"""Figures from records: shares, arms, breaches, and what counts as sampling error."""

from __future__ import annotations

import random

import pytest

from demo.measure import Breach, Release, Span, arms, bins, breach, quantile, sight, spans
from demo.records import NOT_PARSED, Record

NEW = Release("v2", "model-canary")
TO_CANARY = "outbound|80||model-canary.vision.svc.cluster.local;"
TO_STABLE = "outbound|80||model.vision.svc.cluster.local;"


def record(at: float, version: str = "v1", status: int = 200, *, upstream: str = "", took: float = 0.01) -> Record:
    return Record(at, at + took, status, version, upstream)


@pytest.mark.parametrize(
    ("seen", "is_canary"),
    [
        (record(0, "v2"), True),
        (record(0, "v1"), False),
        (record(0, "v2", upstream=TO_STABLE), True),  # stable after its promotion
        (record(0, "", 503, upstream=TO_CANARY), True),
        (record(0, "", 503, upstream=TO_STABLE), False),
        (record(0, "", 0), False),
    ],
)
def test_arm_is_told_by_version_and_else_by_the_gateways_choice(seen: Record, is_canary: bool) -> None:
    assert NEW.serves(seen) is is_canary


def test_arms_count_errors_and_the_slowest_hundredth() -> None:
    records = [record(i, took=0.010) for i in range(99)] + [record(99, took=0.5), record(100, "v2", 500, took=0.02)]

    stable, canary = arms(records, NEW)

    assert (stable.requests, stable.errors, round(stable.p99_milliseconds or 0)) == (100, 0, 10)
    assert (canary.requests, canary.errors, canary.error_rate) == (1, 1, 1.0)
    assert arms([], NEW)[0].error_rate is None


CASES = [([], 0.5, None), ([3, 1, 2], 0.5, 2), ([1, 2], 0.99, 2), ([5], 0, 5)]


@pytest.mark.parametrize(("values", "q", "expected"), CASES)
def test_quantile_is_a_value_that_occurred(values: list[float], q: float, expected: float | None) -> None:
    assert quantile(values, q) == expected


def test_spans_leave_out_the_second_in_which_proxies_learn() -> None:
    records = [record(t / 10, "v2" if t % 2 else "v1") for t in range(100)]

    found = spans(records, [(0.0, 0), (5.0, 50)], NEW, 10.0, settle_seconds=1.0)

    assert [(span.since, span.until, span.weight_percent, span.requests) for span in found] == [
        (0.0, 5.0, 0, 40),
        (5.0, 10.0, 50, 40),
    ]
    assert found[1].share_percent == 50
    assert [span.is_as_expected for span in found] == [False, True]


def test_a_fair_split_is_as_expected_and_a_wrong_one_is_not() -> None:
    dice = random.Random(7)  # noqa: S311 - reproducible
    for weight in (1, 5, 20, 50):
        fair = sum(dice.random() < weight / 100 for _ in range(2000))
        assert Span(0, 1, weight, 2000, fair).is_as_expected
    assert not Span(0, 1, 20, 2000, 500).is_as_expected
    assert not Span(0, 1, 100, 2000, 1998).is_as_expected
    assert not Span(0, 1, 5, 0, 0).is_as_expected


def test_breach_runs_from_the_first_failed_answer_to_the_last_one_of_the_canary() -> None:
    records = [
        record(1, "v2"),
        record(2, "v2", 500),
        record(3, "v1", 500),
        record(4, "", 503, upstream=TO_CANARY),
        record(5, "v2"),
        record(9, "v1"),
    ]

    assert breach(records, NEW) == Breach(2.01, 5.01, 2, 2)
    assert breach(records, NEW, any_answer=True) == Breach(1.01, 5.01, 2, 4)
    assert breach([record(1, "v2"), record(2, "v1", 500)], NEW) is None


def test_bins_cover_the_time_and_hold_each_request_once() -> None:
    records = [record(t / 10, "v2" if t >= 30 else "v1") for t in range(45)]

    found = bins(records, NEW, 0.0, 4.5, 1.0)

    assert [piece.middle for piece in found] == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert sum(piece.requests for piece in found) == 45
    assert [piece.canary_share_percent for piece in found] == [0, 0, 0, 100, 100]


def test_sight_counts_only_answers_that_were_looked_into() -> None:
    records = [
        Record(0, 1, 200, "v1", "", boxes=2, shapes=2),
        Record(0, 1, 200, "v1", "", boxes=1, shapes=2),
        Record(0, 1, 200, "v1", "", boxes=NOT_PARSED, shapes=2),
    ]
    assert (sight(records).answers, sight(records).exact) == (2, 1)
