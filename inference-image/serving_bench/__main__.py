"""`python -m serving_bench MODEL.onnx RESULT.json`: throughput, tail latency, memory and overload of the server.

Only ratios on one machine count, and only of figures that were taken side by side: everything that is compared takes
turns, round by round, so that whatever else the machine does falls on all. The load generator shares the cores with
the server; the bare loop has them for itself. Throughput and latency are measured in two conditions by turns: beside
other programs, with the share of the processor that these took, and before all of them (real-time scheduling) where
root or CAP_SYS_NICE permits it, for a few seconds at a time. Status 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from serving_bench.bench import Bench, Effort

_WORDS = {"True": "met       ", "False": "MISSED    ", "None": "not judged"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m serving_bench", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--overload-seconds", type=float, default=60)
    parser.add_argument("--memory-requests", type=int, default=10_000)
    options = parser.parse_args(arguments)
    effort = Effort(options.batch, options.rounds, options.overload_seconds, options.memory_requests)
    result = Bench(options.model.resolve(), effort).run()
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(options.result.read_text(encoding="utf-8"))
    targets = result["targets"]
    assert isinstance(targets, list)  # noqa: S101  # as Bench.run writes it
    return tell(targets)


def tell(targets: Sequence[Mapping[str, object]]) -> int:
    """Prints one line per target; 1 when one is missed."""
    for target in targets:
        print(f"{_WORDS[str(target['met'])]} {target['what']}: {target['value']} (wanted {target['wanted']})")
    return int(any(target["met"] is False for target in targets))


if __name__ == "__main__":
    sys.exit(main())
