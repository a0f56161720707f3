"""Durations: what is read, refused, shown, and stored without loss."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrelease.api.durations import PATTERN, exact_duration, format_duration, parse_duration
from modelrelease.api.spec import Strategy


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("1.5s", 1.5), ("0s", 0), ("1m30s500ms", 90.5)],
)
def test_durations_are_read_as_kubernetes_writes_them(text: str, seconds: float) -> None:
    assert seconds == parse_duration(text)


@pytest.mark.parametrize("text", ["", "90", "-5m", "5 minutes", "1d", "1h 30m", "9999999h", "1h1h1h1h1h", True, None])
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration; write for example 30s, 10m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "250ms"), (1.5, "2s"), (59.7, "1m"), (90, "1m30s"), (3600, "1h"), (5400.4, "1h30m")]
)
def test_people_read_whole_seconds(seconds: float, text: str) -> None:
    assert text == format_duration(seconds)


@given(st.integers(min_value=0, max_value=999_999 * 3_600 * 1_000_000))
def test_what_is_stored_comes_back_to_the_microsecond(microseconds: int) -> None:
    text = exact_duration(microseconds / 1_000_000)
    assert re.match(PATTERN, text)
    assert microseconds / 1_000_000 == pytest.approx(parse_duration(text), abs=1e-6)


@given(st.integers(min_value=1, max_value=100_000))
def test_a_snapshot_keeps_what_a_person_wrote(milliseconds: int) -> None:
    strategy = Strategy.model_validate({"drainDelay": f"{milliseconds}ms"})
    stored = strategy.model_dump(mode="json", by_alias=True)
    assert strategy == Strategy.model_validate(stored)
