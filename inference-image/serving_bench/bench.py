"""The measurements, and what was wanted of each."""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final

from serving_bench.bare import BareLoop, Rate
from serving_bench.client import Outcome, closed_loop, open_loop, prepared, quantile
from serving_bench.neighbours import Condition, Neighbours, conditions
from serving_bench.process import Process, serving
from yolo_serving.cpu_quota import usable_cores
from yolo_serving.model import Execution, load_model
from yolo_serving.settings import read_settings
from yolo_serving.shapes import Split, picture

Result = dict[str, object]
Conditional = dict[Condition, Result]

_SLICE_BATCHES: Final = 12
_UNLOADED_REQUESTS: Final = 200
_LOADED_SECONDS: Final = 3.0
_LOAD_SHARE: Final = 0.7
_OVERLOAD_CONNECTIONS: Final = 128
# Beside programs that take more than this share of the processor, what takes time says more about them.
_QUIET_SHARE: Final = 0.1
_DEADLINE_MS: Final = 1000 * read_settings({}).batching.deadline_seconds
_PICTURE_SIZES: Final = ((160, 160), (320, 240), (64, 48), (640, 480), (1280, 720), (200, 500))


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: pictures in a batch, rounds, seconds of overload, requests for the memory."""

    batch: int
    rounds: int
    overload_seconds: float
    memory_requests: int


@dataclass(slots=True)
class _Pool:
    """Latencies of all rounds together, in milliseconds, and the codes that were answered."""

    milliseconds: list[float] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.milliseconds += [1000 * seconds for seconds in outcome.seconds_by_code.get(200, [])]
        self.codes += outcome.codes

    def quantile(self, share: float) -> float:
        return round(quantile(self.milliseconds, share), 2)


@dataclass(slots=True)
class _Rates:
    """Throughput under one condition."""

    neighbours: Neighbours
    by_name: dict[str, list[Rate]] = field(default_factory=dict)

    def add(self, name: str, rate: Rate) -> None:
        self.by_name.setdefault(name, []).append(rate)

    def result(self, loops: Sequence[str], server: str) -> Result:
        """The server is compared, round by round, with the loop that turned out fastest."""
        best = max(loops, key=lambda name: _median_rate(self.by_name[name]))
        shares = [
            served.pictures_per_second / bare.pictures_per_second
            for served, bare in zip(self.by_name[server], self.by_name[best], strict=True)
        ]
        return {
            "others_share_of_processor": self.neighbours.share,
            "pictures_per_second": {name: round(_median_rate(values), 1) for name, values in self.by_name.items()},
            "cpu_ms_per_picture": {
                name: round(statistics.median(rate.cpu_ms for rate in values), 2)
                for name, values in self.by_name.items()
            },
            "fastest_bare_loop": best,
            "server_share_of_bare": round(statistics.median(shares), 3),
            "server_share_of_bare_by_round": [round(share, 2) for share in shares],
        }


@dataclass(slots=True)
class _Tail:
    """Latency unloaded and loaded under one condition; `rates` in requests per second."""

    neighbours: Neighbours
    alone: _Pool = field(default_factory=_Pool)
    loaded: _Pool = field(default_factory=_Pool)
    rates: list[float] = field(default_factory=list)

    def result(self) -> Result:
        return {
            "others_share_of_processor": self.neighbours.share,
            "unloaded_p50_ms": self.alone.quantile(0.5),
            "unloaded_p99_ms": self.alone.quantile(0.99),
            "loaded_rate": round(statistics.median(self.rates), 1),
            "loaded_p50_ms": self.loaded.quantile(0.5),
            "loaded_p99_ms": self.loaded.quantile(0.99),
            "p99_ratio": round(self.loaded.quantile(0.99) / self.alone.quantile(0.99), 2),
            "codes": _by_code(self.alone.codes + self.loaded.codes),
        }


class Bench:
    """One run of everything."""

    def __init__(self, model: Path, effort: Effort) -> None:
        self._model = model
        self._effort = effort
        self._cores = usable_cores()
        self._pictures = [picture(Split.HELD_OUT, index).jpeg() for index in range(40)]
        self._requests = prepared(self._pictures)

    def run(self) -> Result:
        """All figures: milliseconds, pictures per second, bytes, as their names say."""
        load_before = os.getloadavg()[0]
        realtime = {"MODEL_PATH": str(self._model)}
        batch = {**realtime, "SCENARIO": "batch", "MAX_BATCH": str(self._effort.batch)}
        naive = {**realtime, "INTRA_OP_THREADS": str(self._cores)}
        with (
            serving("yolo_serving", batch) as batching,
            serving("yolo_serving", realtime) as server,
            serving("serving_bench.naive", naive) as plain,
        ):
            throughput = self._throughput({"batch server": batching, "realtime server": server, "plain handler": plain})
            latency = {"realtime server": self._latency(server), "plain handler": self._latency(plain)}
            overload = self._overload(server)
        with serving("yolo_serving", realtime) as fresh:
            memory = self._memory(fresh)
        return {
            "machine": {
                "cores": self._cores,
                "processor": platform.machine(),
                "load_average": [round(load_before, 1), round(os.getloadavg()[0], 1)],
            },
            "effort": asdict(self._effort),
            "targets": targets(throughput, latency["realtime server"], overload, memory),
            "throughput": throughput,
            "latency": latency,
            "overload": overload,
            "memory": memory,
        }

    def _throughput(self, servers: Mapping[str, Process]) -> Conditional:
        """Servers and bare loops in turn."""
        _say("throughput")
        side = load_model(self._model, Execution()).card.side
        pictures = self._pictures[: self._effort.batch]
        loops = {
            "bare loop, ONNX Runtime's defaults": BareLoop(self._model, side, pictures, None),
            "bare loop, one thread": BareLoop(self._model, side, pictures, 1),
            f"bare loop, {self._cores} threads": BareLoop(self._model, side, pictures, self._cores),
            f"bare loops, {self._cores} of one thread": BareLoop(self._model, side, pictures, 1, self._cores),
        }
        for server in servers.values():
            closed_loop(server.port, self._requests, 2 * self._effort.batch, 100)
        measured: dict[Condition, _Rates] = {}
        for _ in range(self._effort.rounds):
            for condition in conditions([*servers.values()]):
                rates = measured.setdefault(condition, _Rates(Neighbours([*servers.values()])))
                with rates.neighbours.watched():
                    for name, loop in loops.items():
                        rates.add(name, loop.rate(_SLICE_BATCHES))
                    for name, server in servers.items():
                        rates.add(name, self._served_rate(server))
        return {condition: rates.result([*loops], "batch server") for condition, rates in measured.items()}

    def _served_rate(self, server: Process) -> Rate:
        """As many pictures as a bare loop's slice, twice over: a queue needs a moment to fill and to run dry."""
        count = 2 * _SLICE_BATCHES * self._effort.batch
        before = server.cpu_seconds
        outcome = closed_loop(server.port, self._requests, 3 * self._effort.batch, count)
        return Rate(outcome.rate(), 1000 * (server.cpu_seconds - before) / count)

    def _latency(self, server: Process) -> Conditional:
        """One request at a time, and 70 % of the capacity that the same round found, in turn."""
        _say("latency")
        measured: dict[Condition, _Tail] = {}
        for _ in range(self._effort.rounds):
            for condition in conditions([server]):
                tail = measured.setdefault(condition, _Tail(Neighbours([server])))
                with tail.neighbours.watched():
                    tail.rates.append(_LOAD_SHARE * self._served_rate(server).pictures_per_second)
                    tail.alone.add(closed_loop(server.port, self._requests, 1, _UNLOADED_REQUESTS))
                    tail.loaded.add(open_loop(server.port, self._requests, tail.rates[-1], _LOADED_SECONDS))
        return {condition: tail.result() for condition, tail in measured.items()}

    def _overload(self, server: Process) -> Result:
        """Twice the capacity. Times count from when a request was sent: the client shares the cores and may be late."""
        _say("overload")
        capacity = self._served_rate(server).pictures_per_second
        rate = 2 * capacity
        neighbours = Neighbours([server])
        with neighbours.watched():
            outcome = open_loop(
                server.port, self._requests, rate, self._effort.overload_seconds, connections=_OVERLOAD_CONNECTIONS
            )
        return {
            "others_share_of_processor": neighbours.share,
            "rate": round(rate, 1),
            "capacity": round(capacity, 1),
            "accepted_rate": round(outcome.codes[200] / outcome.elapsed_seconds, 1),
            "seconds": self._effort.overload_seconds,
            "codes": _by_code(outcome.codes),
            "deadline_ms": _DEADLINE_MS,
            "accepted_p99_ms": _answered_ms(outcome, 200, 0.99),
            "accepted_slowest_ms": _answered_ms(outcome, 200, 1.0),
            "accepted_after_deadline": sum(
                1000 * seconds > _DEADLINE_MS for seconds in outcome.answered_seconds_by_code.get(200, [])
            ),
            "refused_p99_ms": _answered_ms(outcome, 429, 0.99),
            "refused_slowest_ms": _answered_ms(outcome, 429, 1.0),
            "client_late_by_at_most_ms": round(1000 * outcome.latest_seconds, 1),
        }

    def _memory(self, server: Process) -> Result:
        """Resident bytes after a tenth of the requests and after all, with pictures of many sizes."""
        _say("memory")
        bodies = []
        for index, size in enumerate(_PICTURE_SIZES * 3):
            buffer = BytesIO()
            picture(Split.HELD_OUT, index).image.resize(size).save(buffer, format="JPEG")
            bodies.append(buffer.getvalue())
        requests = prepared(bodies)
        first = self._effort.memory_requests // 10
        closed_loop(server.port, requests, 8, first)
        early = server.resident_bytes
        closed_loop(server.port, requests, 8, self._effort.memory_requests - first)
        late = server.resident_bytes
        return {
            "requests": [first, self._effort.memory_requests],
            "resident_bytes": [early, late],
            "ratio": round(late / early, 4),
        }


def targets(throughput: Conditional, latency: Conditional, overload: Result, memory: Result) -> list[Result]:
    """What was wanted, and whether this run shows it: `met` is None where the machine was too busy to say."""
    slowest, growth = _number(overload["accepted_slowest_ms"]), _number(memory["ratio"])
    codes = overload["codes"]
    assert isinstance(codes, dict)  # noqa: S101  # made by _by_code
    others = sorted(set(codes) - {"200", "429"})
    beside, judged = _named(Condition.BESIDE_OTHERS, overload), _can_be_judged(Condition.BESIDE_OTHERS, overload)
    in_time, nothing_else = (slowest <= _DEADLINE_MS, not others) if judged else (None, None)
    deadline = f"at most {_DEADLINE_MS:g}"
    return [
        *_in_every_condition("throughput over the fastest bare loop's", throughput, "server_share_of_bare", least=0.85),
        *_in_every_condition("P99 at 70 % of capacity over P99 unloaded", latency, "p99_ratio", most=2.5),
        *_only_served(latency),
        _target(f"slowest answer at twice the capacity, ms, {beside}", slowest, deadline, met=in_time),
        _target(f"codes besides 200 and 429 at twice the capacity, {beside}", others, "none", met=nothing_else),
        _target("memory after all requests over memory after a tenth", growth, "at most 1.05", met=growth <= 1.05),
    ]


def _in_every_condition(
    what: str, measured: Conditional, figure: str, *, least: float = -math.inf, most: float = math.inf
) -> list[Result]:
    """One line per condition; beside busy neighbours it is told, but not judged."""
    wanted = f"at most {most:g}" if math.isfinite(most) else f"at least {least:g}"
    lines = []
    for condition, result in measured.items():
        value = _number(result[figure])
        met = least <= value <= most if _can_be_judged(condition, result) else None
        lines.append(_target(f"{what}, {_named(condition, result)}", value, wanted, met=met))
    return lines


def _only_served(latency: Conditional) -> list[Result]:
    """Below its capacity the server refuses nobody: a P99 of those alone who were let in is easily met."""
    lines = []
    for condition, result in latency.items():
        codes = result["codes"]
        assert isinstance(codes, dict)  # noqa: S101  # made by _by_code
        others = sorted(set(codes) - {"200"})
        met = not others if _can_be_judged(condition, result) else None
        what = f"codes besides 200 unloaded and at 70 % of capacity, {_named(condition, result)}"
        lines.append(_target(what, others, "none", met=met))
    return lines


def _can_be_judged(condition: Condition, measured: Result) -> bool:
    return condition is Condition.BEFORE_OTHERS or _number(measured["others_share_of_processor"]) <= _QUIET_SHARE


def _named(condition: Condition, measured: Result) -> str:
    if condition is Condition.BEFORE_OTHERS:
        return condition
    return f"{condition} (which took {_number(measured['others_share_of_processor']):.0%} of the processor)"


def _target(what: str, value: object, wanted: str, *, met: bool | None) -> Result:
    return {"what": what, "value": value, "wanted": wanted, "met": met}


def _number(value: object) -> float:
    assert isinstance(value, float)  # noqa: S101  # a figure of this module
    return value


def _median_rate(rates: Sequence[Rate]) -> float:
    return statistics.median(rate.pictures_per_second for rate in rates)


def _answered_ms(outcome: Outcome, code: int, share: float) -> float:
    return round(1000 * quantile(outcome.answered_seconds_by_code.get(code, []), share), 2)


def _by_code(codes: Counter[int]) -> dict[str, int]:
    return {str(code): count for code, count in sorted(codes.items())}


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
