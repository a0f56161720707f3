"""`python -m serving_bench MODEL.onnx RESULT.json`: throughput, tail latency, memory and overload of the server.

Only ratios on one machine count: the bare loop and the handler without batching run on the same cores, with the same
model, pictures and number of threads. The load generator shares the cores with the server.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from serving_bench.client import Outcome, closed_loop, open_loop, prepared
from serving_bench.process import Process, serving
from yolo_serving.cpu_quota import usable_cores
from yolo_serving.detections import Thresholds, detect
from yolo_serving.model import Execution, Model, load_model
from yolo_serving.pictures import decode, fill_input, letterbox
from yolo_serving.shapes import Split, picture

Result = dict[str, object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m serving_bench", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement under load")
    parser.add_argument("--overload-seconds", type=float, default=60)
    options = parser.parse_args(arguments)
    bench = Bench(options.model.resolve(), options.batch, options.seconds, options.overload_seconds)
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(json.dumps(bench.run(), indent=1) + "\n", encoding="utf-8")
    print(options.result.read_text(encoding="utf-8"))
    return 0


class Bench:
    """One run of everything."""

    def __init__(self, model: Path, batch: int, seconds: float, overload_seconds: float) -> None:
        self._model = model
        self._batch = batch
        self._seconds = seconds
        self._overload_seconds = overload_seconds
        self._threads = usable_cores()
        self._pictures = [picture(Split.HELD_OUT, index).jpeg() for index in range(40)]
        self._requests = prepared(self._pictures)

    def run(self) -> Result:
        """All figures: seconds, milliseconds, pictures per second, bytes, as their names say."""
        result: Result = {
            "machine": {"cores": self._threads, "processor": platform.machine(), "load": os.getloadavg()[0]},
            "batch": self._batch,
        }
        environment = {
            "MODEL_PATH": str(self._model),
            "INTRA_OP_THREADS": str(self._threads),
            "MAX_BATCH": str(self._batch),
        }
        # Alternating, so that whatever else the machine does falls on all three.
        rates: dict[str, list[float]] = {"bare": [], "server": [], "naive": []}
        with serving("yolo_serving", environment) as server, serving("serving_bench.naive", environment) as naive:
            _say("throughput")
            for _ in range(3):
                rates["bare"].append(self._bare_rate())
                rates["server"].append(self._closed(server).rate())
                rates["naive"].append(self._closed(naive).rate())
            capacity = statistics.median(rates["server"])
            result["pictures_per_second"] = {name: _rounded(values) for name, values in rates.items()}
            result["server_share_of_bare"] = round(capacity / statistics.median(rates["bare"]), 3)
            result["latency"] = {
                "server": self._latency(server, capacity),
                "naive": self._latency(naive, statistics.median(rates["naive"])),
            }
            result["overload"] = {"server": self._overload(server, capacity)}
        with serving("yolo_serving", environment) as fresh:
            result["memory"] = self._memory(fresh)
        return result

    def _closed(self, server: Process) -> Outcome:
        return closed_loop(server.port, self._requests, 2 * self._batch, 600)

    def _bare_rate(self) -> float:
        """Pictures per second of a loop that decodes a batch, runs it and finds its detections."""
        model = load_model(self._model, Execution(threads=self._threads))
        model.warm_up([self._batch])
        return _rate(lambda: self._bare_batch(model), 600 // self._batch) * self._batch

    def _bare_batch(self, model: Model) -> None:
        fitted = [letterbox(decode(body, 25_000_000), model.card.side) for body in self._pictures[: self._batch]]
        batch = np.empty((self._batch, 3, model.card.side, model.card.side), np.float32)
        for row, (pixels, _) in zip(batch, fitted, strict=True):
            fill_input(pixels, row)
        for head, (_, box) in zip(model.run(batch), fitted, strict=True):
            found = detect(head, Thresholds())
            box.to_original(found.boxes)

    def _latency(self, server: Process, capacity: float) -> Result:
        """P50 and P99 with one request at a time, and at 70 % of the capacity."""
        _say("latency")
        alone = closed_loop(server.port, self._requests, 1, 400)
        before = server.cpu_seconds
        loaded = open_loop(server.port, self._requests, 0.7 * capacity, self._seconds)
        return {
            "unloaded_p50_ms": round(alone.quantile_ms(0.5), 2),
            "unloaded_p99_ms": round(alone.quantile_ms(0.99), 2),
            "loaded_rate": round(0.7 * capacity, 1),
            "loaded_p50_ms": round(loaded.quantile_ms(0.5), 2),
            "loaded_p99_ms": round(loaded.quantile_ms(0.99), 2),
            "p99_ratio": round(loaded.quantile_ms(0.99) / alone.quantile_ms(0.99), 2),
            "cpu_ms_per_request": round(1000 * (server.cpu_seconds - before) / sum(loaded.codes.values()), 2),
            "codes": {str(code): count for code, count in loaded.codes.items()},
        }

    def _overload(self, server: Process, capacity: float) -> Result:
        """Twice the capacity."""
        _say("overload")
        outcome = open_loop(server.port, self._requests, 2 * capacity, self._overload_seconds, connections=128)
        return {
            "rate": round(2 * capacity, 1),
            "seconds": self._overload_seconds,
            "codes": {str(code): count for code, count in sorted(outcome.codes.items())},
            "accepted_p99_ms": round(outcome.quantile_ms(0.99), 1),
            "accepted_slowest_ms": round(outcome.quantile_ms(1.0), 1),
            "refused_p99_ms": round(outcome.quantile_ms(0.99, 429), 1),
        }

    def _memory(self, server: Process) -> Result:
        """Resident bytes after 1,000 and after 10,000 requests with pictures of many sizes."""
        _say("memory")
        sizes = [(160, 160), (320, 240), (64, 48), (640, 480), (1280, 720), (200, 500)]
        bodies = []
        for index, size in enumerate(sizes * 3):
            buffer = BytesIO()
            picture(Split.HELD_OUT, index).image.resize(size).save(buffer, format="JPEG")
            bodies.append(buffer.getvalue())
        requests = prepared(bodies)
        closed_loop(server.port, requests, 8, 1000)
        early = server.resident_bytes
        closed_loop(server.port, requests, 8, 9000)
        late = server.resident_bytes
        return {"after_1000_bytes": early, "after_10000_bytes": late, "ratio": round(late / early, 4)}


def _rate(function: Callable[[], None], times: int) -> float:
    started = time.monotonic()
    for _ in range(times):
        function()
    return times / (time.monotonic() - started)


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 1) for value in values]


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
