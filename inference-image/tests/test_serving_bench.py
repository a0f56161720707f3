"""The load generator counts what really happened."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from serving_process import ServerProcess, free_port
from tiny_detector import SIDE

from serving_bench.__main__ import tell
from serving_bench.bare import BareLoop
from serving_bench.bench import Conditional, targets
from serving_bench.client import closed_loop, open_loop, prepared, quantile
from serving_bench.neighbours import Condition
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


def measured(figure: str, beside: float, before: float, others_share: float) -> Conditional:
    return {
        Condition.BESIDE_OTHERS: {figure: beside, "others_share_of_processor": others_share},
        Condition.BEFORE_OTHERS: {figure: before, "others_share_of_processor": 0.5},
    }


def served_latency(beside: float, before: float, others_share: float, *more_codes: str) -> Conditional:
    codes = dict.fromkeys(("200", *more_codes), 10)
    ratios = measured("p99_ratio", beside, before, others_share)
    return {condition: {**result, "codes": codes} for condition, result in ratios.items()}


def test_a_p99_that_is_met_by_refusing_is_no_p99(capsys: pytest.CaptureFixture[str]) -> None:
    overload = {"accepted_slowest_ms": 160.0, "codes": {"200": 1}, "others_share_of_processor": 0.05}
    shares = measured("server_share_of_bare", 0.9, 0.9, 0.05)
    told = targets(shares, served_latency(1.1, 1.1, 0.05, "429"), overload, {"ratio": 1.01})
    assert tell(told) == 1
    missed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSED")]
    assert len(missed) == 2
    assert all("codes besides 200 unloaded and at 70 %" in line for line in missed)


@pytest.mark.parametrize(
    ("p99_ratios", "slowest", "others_share", "words"),
    [
        ((2.4, 1.1), 160.0, 0.05, ["met", "met", "met"]),
        ((3.1, 1.1), 160.0, 0.05, ["MISSED", "met", "met"]),
        ((2.4, 1.1), 1486.0, 0.05, ["met", "met", "MISSED"]),
        # Beside busy programs it is told, but nobody is blamed for it.
        ((3.1, 1.1), 1486.0, 0.62, ["not judged", "met", "not judged"]),
        ((2.4, 2.6), 160.0, 0.62, ["not judged", "MISSED", "not judged"]),
    ],
)
def test_a_missed_target_fails_the_run_in_every_condition_that_can_be_judged(
    p99_ratios: tuple[float, float],
    slowest: float,
    others_share: float,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    overload = {
        "accepted_slowest_ms": slowest,
        "codes": {"200": 1, "429": 1},
        "others_share_of_processor": others_share,
    }
    told = targets(
        measured("server_share_of_bare", 0.9, 0.9, others_share),
        served_latency(*p99_ratios, others_share),
        overload,
        {"ratio": 1.01},
    )
    assert tell(told) == int("MISSED" in words)
    lines = [line for line in capsys.readouterr().out.splitlines() if "P99" in line or "slowest" in line]
    assert [line[:10].strip() for line in lines] == words


def test_bare_loops_run_at_once_count_all_their_pictures(tiny_model: Path) -> None:
    pictures = [picture(Split.HELD_OUT, index).jpeg() for index in range(4)]
    loops = BareLoop(tiny_model, SIDE, pictures, 1, loops=2)
    started = time.monotonic()
    rate = loops.rate(5)
    assert rate.pictures_per_second >= 2 * 5 * 4 / (time.monotonic() - started)
