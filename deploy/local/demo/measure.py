"""What the records say: shares, error rates, P99 and the time from a breach to its end. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from demo.records import NOT_PARSED, Record


@dataclass(frozen=True, slots=True)
class Release:
    """How a request is told to have been served by the new version of a release."""

    version: str
    """What the new version says in `x-model-version`."""
    service: str
    """The canary's Service: names the arm where no pod answered."""

    def serves(self, record: Record) -> bool:
        """True where the new version answered, or where the gateway had picked its Service and got no answer."""
        if record.version:
            return record.version == self.version
        return f"||{self.service}." in record.upstream


@dataclass(frozen=True, slots=True)
class Arm:
    """One version's figures over some records."""

    requests: int
    errors: int
    p99_milliseconds: float | None

    @property
    def error_rate(self) -> float | None:
        return self.errors / self.requests if self.requests else None


@dataclass(frozen=True, slots=True)
class Span:
    """A time during which the route had one weight, and what the clients got in it."""

    since: float
    until: float
    weight_percent: int
    requests: int
    canary_requests: int

    @property
    def share_percent(self) -> float | None:
        return 100 * self.canary_requests / self.requests if self.requests else None

    @property
    def sampling_error_percent(self) -> float:
        """Four standard deviations of a share of `requests` independent draws, and one request for the edges."""
        if not self.requests:
            return 100.0
        p = self.weight_percent / 100
        return 100 * (4 * math.sqrt(p * (1 - p) / self.requests) + 1 / self.requests)

    @property
    def is_as_expected(self) -> bool:
        """True also where there were too few requests to tell: then the error is large."""
        share = self.share_percent
        return share is not None and abs(share - self.weight_percent) <= self.sampling_error_percent


def quantile(values: Iterable[float], q: float) -> float | None:
    """The smallest value that at least a share `q` of the values does not exceed; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None


def between(records: Iterable[Record], since: float, until: float) -> list[Record]:
    """Requests that were due in [since, until)."""
    return [record for record in records if since <= record.due_at < until]


def arms(records: Iterable[Record], release: Release) -> tuple[Arm, Arm]:
    """Stable's and the canary's figures."""
    by_arm: tuple[list[Record], list[Record]] = ([], [])
    for record in records:
        by_arm[release.serves(record)].append(record)
    return _arm(by_arm[0]), _arm(by_arm[1])


def _arm(records: Sequence[Record]) -> Arm:
    errors = sum(record.is_error for record in records)
    return Arm(len(records), errors, quantile((record.milliseconds for record in records), 0.99))


def spans(
    records: Sequence[Record],
    changes: Sequence[tuple[float, int]],
    release: Release,
    until: float,
    *,
    settle_seconds: float = 1.0,
) -> list[Span]:
    """What clients got between changes of the weight.

    `changes`: (when, weight in per cent) as the API server held them, oldest first. The first `settle_seconds` of each
    span are left out: proxies learn of a weight later than the API server, and requests are under way.
    """
    found = []
    ends = [when for when, _ in changes[1:]] + [until]
    for (since, weight), end in zip(changes, ends, strict=True):
        inside = between(records, since + settle_seconds, end)
        canary = sum(release.serves(record) for record in inside)
        found.append(Span(since, end, weight, len(inside), canary))
    return found


@dataclass(frozen=True, slots=True)
class Breach:
    """From the moment at which the canary went bad, as clients saw it, to the last answer that it gave."""

    began_at: float
    last_answer_at: float
    canary_errors: int
    bad_answers: int
    """As many answers of the kind that it began with."""

    @property
    def seconds(self) -> float:
        return self.last_answer_at - self.began_at


def breach(records: Sequence[Record], release: Release, *, any_answer: bool = False) -> Breach | None:
    """The breach: from the end of the first failed request that the canary got to the end of its last one.

    With `any_answer` it begins at the first answer: for a canary that is bad without failing, such as a slow one.
    None where the canary gave no reason.
    """
    served = [record for record in records if release.serves(record)]
    failed = [record for record in served if any_answer or record.is_error]
    if not failed:
        return None
    began = min(record.ended_at for record in failed)
    last = max(record.ended_at for record in served)
    errors = sum(record.is_error for record in served if record.ended_at >= began)
    return Breach(began, last, errors, len(failed))


@dataclass(frozen=True, slots=True)
class Sight:
    """How well the model saw: objects found in the answers that were looked into, of the objects that were there."""

    answers: int
    exact: int
    """Answers with exactly as many objects as the picture has."""


def sight(records: Iterable[Record]) -> Sight:
    """Counted over the answers that the load generator parsed."""
    parsed = [record for record in records if record.boxes != NOT_PARSED]
    return Sight(len(parsed), sum(record.boxes == record.shapes for record in parsed))


@dataclass(frozen=True, slots=True)
class Bin:
    """One point of a plot: figures of the requests that were due in it."""

    middle: float
    requests: int
    canary_share_percent: float | None
    stable: Arm
    canary: Arm


def bins(records: Sequence[Record], release: Release, since: float, until: float, width_seconds: float) -> list[Bin]:
    """The time from `since` to `until` cut into equal pieces; the last may be shorter."""
    count = max(1, math.ceil((until - since) / width_seconds))
    sorted_in: list[list[Record]] = [[] for _ in range(count)]
    for record in records:
        index = math.floor((record.due_at - since) / width_seconds)
        if 0 <= index < count and record.due_at < until:
            sorted_in[index].append(record)
    return [_bin(piece, release, since + (i + 0.5) * width_seconds) for i, piece in enumerate(sorted_in)]


def _bin(records: Sequence[Record], release: Release, middle: float) -> Bin:
    stable, canary = arms(records, release)
    share = 100 * canary.requests / len(records) if records else None
    return Bin(middle, len(records), share, stable, canary)
