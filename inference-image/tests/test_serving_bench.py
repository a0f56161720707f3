"""The load generator counts what really happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from serving_process import ServerProcess, free_port

from serving_bench.client import closed_loop, open_loop, prepared, quantile
from yolo_serving.shapes import Split, picture

REQUESTS = [*prepared([picture(Split.HELD_OUT, 1).jpeg()]), *prepared([b"no picture"])]


def test_closed_loop_sends_all_and_sees_every_code(server: ServerProcess) -> None:
    outcome = closed_loop(server.port, REQUESTS, 4, 60)
    assert outcome.codes == Counter({200: 30, 400: 30})
    assert outcome.rate() == pytest.approx(30 / outcome.elapsed_seconds)
    assert min(outcome.seconds_by_code[200] + outcome.seconds_by_code[400]) > 0


def test_open_loop_keeps_its_rate(server: ServerProcess) -> None:
    outcome = open_loop(server.port, REQUESTS[:1], rate=40, seconds=1.5)
    assert outcome.codes == Counter({200: 60})
    assert 1.4 <= outcome.elapsed_seconds < 3


def test_latency_counts_from_when_a_request_was_due(start_server: Callable[..., ServerProcess]) -> None:
    slow = start_server(FAULT="slow:200")
    outcome = open_loop(slow.port, REQUESTS[:1], rate=50, seconds=0.2, connections=1)
    # Ten requests, 20 ms apart, one at a time, 200 ms each: the last is done after 2 s and was due after 0.18 s.
    assert max(outcome.seconds_by_code[200]) >= 1.8
    assert outcome.latest_seconds >= 1.6
    assert 0.2 <= max(outcome.answered_seconds_by_code[200]) < 1


def test_nobody_there_is_code_0() -> None:
    assert closed_loop(free_port(), REQUESTS, 2, 4).codes == Counter({0: 4})


def test_quantiles_are_of_the_values_themselves() -> None:
    values = range(100, 0, -1)
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (51, 100, 100)
    assert quantile([], 0.99) == 0
