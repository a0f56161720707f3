"""What both arms did while a release ran, slice by slice: for `explain` and `report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from modelrelease.api.model import Model
from modelrelease.api.status import Time
from modelrelease.cli.measured import measured_windows
from modelrelease.judge import Arm, Window
from modelrelease.judge.latency import Histogram, histogram_of, quantile_ms
from modelrelease.ports import Metrics, Watched

AROUND_SECONDS = 60.0
"""Shown before and after, so that what was normal is seen."""
SLICES = 120
"""A plot has no more points than a person sees."""


class ArmSlice(Model):
    """One arm in one slice of time."""

    requests: int = Field(description="Requests that ended in it.")
    error_rate: float | None = Field(description="Share of failed ones; null without requests.")
    p99_milliseconds: float | None = Field(
        description="P99 latency, interpolated within a bucket; for people to look at."
    )


class Slice(Model):
    """A slice of time."""

    start: Time = Field(description="When it begins.")
    end: Time = Field(description="When it ends.")
    stable: ArmSlice = Field(description="The version that served before.")
    canary: ArmSlice = Field(description="The version that was released.")

    @property
    def canary_share(self) -> float | None:
        """Of all requests, those to the canary."""
        total = self.stable.requests + self.canary.requests
        return self.canary.requests / total if total else None


@dataclass(frozen=True, slots=True)
class Span:
    """When a release ran; unix seconds."""

    start: float
    end: float


async def slices_of(metrics: Metrics, watched: Watched, span: Span, interval_seconds: float) -> list[Slice]:
    """Both arms during the release and a minute around it. Raises MetricsUnavailable."""
    around = (span.start - AROUND_SECONDS, span.end + AROUND_SECONDS)
    found = await measured_windows(metrics, watched, around, interval_seconds)
    together = max(1, -(-len(found) // SLICES))
    return [slice_of(found[at : at + together]) for at in range(0, len(found), together)]


def slice_of(some: Sequence[Window]) -> Slice:
    """Neighbouring windows put together."""
    return Slice(
        start=some[0].start_seconds,
        end=some[-1].end_seconds,
        stable=_arm([window.stable for window in some]),
        canary=_arm([window.canary for window in some]),
    )


def _arm(arms: Sequence[Arm]) -> ArmSlice:
    requests = sum(arm.requests for arm in arms)
    histogram = Histogram()
    for arm in arms:
        histogram = histogram.plus(histogram_of(arm))
    return ArmSlice(
        requests=requests,
        error_rate=sum(arm.errors for arm in arms) / requests if requests else None,
        p99_milliseconds=quantile_ms(histogram),
    )


def totals(slices: Sequence[Slice], span: Span) -> dict[str, tuple[int, float | None]]:
    """(requests, error rate) per arm while the release ran."""
    inside = [one for one in slices if one.start >= span.start - 1 and one.end <= span.end + AROUND_SECONDS]
    found: dict[str, tuple[int, float | None]] = {}
    for name in ("stable", "canary"):
        arms: list[ArmSlice] = [getattr(one, name) for one in inside]
        requests = sum(arm.requests for arm in arms)
        errors = sum(arm.requests * (arm.error_rate or 0.0) for arm in arms)
        found[name] = requests, errors / requests if requests else None
    return found
