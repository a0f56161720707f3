"""The judge without the operator: counts of two arms in, a verdict out. No cluster, no network, no clock.

Each line of the input is a window of ten seconds, in which both arms served side by side: stable's requests and how
many of them failed, then the canary's. An answer is written for each, until there is a verdict:

    printf '950 5 50 0\n940 4 51 9\n940 4 51 9\n' | python examples/judge.py 5

The argument is the canary's weight in percent; it shows the judge when a window holds enough to be compared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from modelrelease.judge import Arm, Settings, Window, assess, begin, enter_step, observe

SECONDS = 10.0


def verdicts(lines: Iterable[str], weight: int) -> Iterator[str]:
    """What the judge says after each window."""
    settings = Settings(weights=(weight, 100), interval_seconds=SECONDS)
    # With stable's history the first stakes fit its error rate, and bursts are discounted; without, they are typical.
    state = begin(settings, at_seconds=0.0, baseline=[])
    state = enter_step(state, settings, step=0, at_seconds=0.0)
    for line in lines:
        stable, stable_failed, canary, canary_failed = map(int, line.split())
        at = state.cursor_seconds
        window = Window(at, at + SECONDS, Arm(stable, stable_failed), Arm(canary, canary_failed))
        state = observe(state, settings, window)
        found = assess(state, settings)
        errors = found.metrics[0]
        shown = f"{errors.rollback_evidence:4.0%} of a rollback, {errors.promotion_evidence:4.0%} of a promotion"
        if found.rollback:
            yield f"{shown}: roll back, {found.blame}"
            return
        yield f"{shown}: {'good enough for more traffic' if found.gate_passed else 'wait'}"


def main() -> None:
    """Reads the windows from the standard input."""
    for verdict in verdicts(sys.stdin, int(sys.argv[1])):
        sys.stdout.write(f"{verdict}\n")


if __name__ == "__main__":
    main()
