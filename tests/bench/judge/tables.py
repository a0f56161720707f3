"""``python -m tests.bench.judge.tables``: the planner's tables of ``docs/how-it-decides.md``, as Markdown."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

from modelrelease.judge import Margin, Rates, Settings, requests_to_detect, requests_to_pass

from .traffic import slower_share, threshold

TRAFFIC = (1, 10, 50, 200, 1000)
BUGS = (("0.5 % → 1 %", 0.01), ("0.5 % → 1.5 %", 0.015), ("0.5 % → 5 %", 0.05), ("0.5 % → 20 %", 0.2))


def shown(seconds: float) -> str:
    """A time with one or two significant figures."""
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600), (math.inf, "d", 86_400)):
        if seconds < limit:
            value = seconds / size
            return f"{value:.0f} {unit}" if value >= 10 or unit == "s" else f"{value:.1f} {unit}"
    return "never"


def detection(weight: int) -> Iterator[str]:
    """Mean time to the rollback, and the time that is enough in 95 of 100 cases."""
    settings, kappa = Settings(), weight / (100 - weight)
    margin = Margin(settings.errors.max_ratio, settings.errors.max_increase)
    yield f"| errors, at {weight} % | " + " | ".join(f"{rps} rps" for rps in TRAFFIC) + " |"
    yield "|---|" + "---|" * len(TRAFFIC)
    for name, rate in BUGS:
        found = requests_to_detect(settings, Rates(rate, 0.005, kappa), margin)
        cells = [(found.mean / (rps * weight / 100), found.quantile(0.95) / (rps * weight / 100)) for rps in TRAFFIC]
        yield f"| {name} | " + " | ".join(f"{shown(mean)}, {shown(late)}" for mean, late in cells) + " |"


def gates() -> Iterator[str]:
    """Mean time until an identical canary passes each gate, by its slowest metric."""
    settings = Settings()
    yield "| gate | " + " | ".join(f"{rps} rps" for rps in TRAFFIC) + " |"
    yield "|---|" + "---|" * len(TRAFFIC)
    totals = [0.0] * len(TRAFFIC)
    for weight, following in ((1, 5), (5, 20), (20, 50), (50, 100)):
        harm = 100 * settings.harm_budget / following if following < 100 else 0.0
        kappa = weight / (100 - weight)
        slow = slower_share(threshold().bound_ms)
        needed = max(
            requests_to_pass(settings, Rates(0.005, 0.005, kappa), Margin(1.1, max(harm, 0.001))).mean,
            requests_to_pass(settings, Rates(slow, slow, kappa), Margin(threshold().ratio, harm)).mean,
        )
        times = [max(60.0, needed / (rps * weight / 100)) for rps in TRAFFIC]
        totals = [total + one for total, one in zip(totals, times, strict=True)]
        yield f"| {weight} % → {following} % | " + " | ".join(map(shown, times)) + " |"
    yield "| **together** | " + " | ".join(f"**{shown(total)}**" for total in totals) + " |"


if __name__ == "__main__":
    for lines in (detection(1), detection(20), gates()):
        sys.stdout.write("\n".join(lines) + "\n\n")
