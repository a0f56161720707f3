"""From a performance to figures, and from figures to complaints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from demo import measure
from demo.audit import Writes
from demo.manifests import outside_the_split
from demo.measure import Arm, Breach, Sight, Span
from demo.performance import Performance
from demo.records import Record
from demo.scenes import WEIGHTS, Scene
from modelrelease.api.status import Phase

_SETTLE_SECONDS = 1.0
_MOST_WRITES = 24
_LEAST_SEEN = 0.5
"""Share of the answers with exactly as many objects as the picture has; the small model has about 0.75."""


@dataclass(frozen=True, slots=True)
class Result:
    """A release in figures, as clients measured them."""

    scene: Scene
    outcome: str
    """What clients got in the end."""
    said: str
    """What the operator says of it."""
    reason: str
    seconds: float
    requests: int
    stable: Arm
    canary: Arm
    spans: list[Span]
    breach: Breach | None
    served_after_rollback: int
    final_share_percent: float | None
    route_versions: int
    """How many versions of the VirtualService were seen; what is said of its contents rests on them."""
    weight_changes: int
    is_route_untouched: bool
    is_route_restored: bool
    writes: Writes | None
    """What the API server's audit log holds of the operator; None where it was not read."""
    takeover_seconds: list[float]
    """How long nobody led, for each time that the operator was killed and another one went on."""
    sight: Sight
    """How well the new version saw."""
    leftovers: list[str]
    """Objects of the canary that are still there, as kind/name."""

    @property
    def api_writes(self) -> int | None:
        """Refreshes of figures left out."""
        return None if self.writes is None else self.writes.total

    @property
    def route_writes(self) -> int:
        """As the API server counted them; else as many as versions were seen."""
        return self.route_versions if self.writes is None else self.writes.of_routes

    def row(self, began_at: float) -> dict[str, Any]:
        """The release's entry in report.json."""
        weights = [
            [round(span.since - began_at, 1), round(span.share_percent, 2)]
            for span in self.spans
            if span.share_percent is not None
        ]
        return {
            "name": self.scene.name,
            "outcome": self.outcome,
            "seconds": round(self.seconds, 1),
            "weights": weights,
            "requests": self.requests,
            "client_errors_stable": self.stable.errors,
            "client_errors_canary": self.canary.errors,
            "served_by_canary_after_rollback": self.served_after_rollback,
            "breach_to_zero_seconds": None if self.breach is None else round(self.breach.seconds, 2),
            "reason": self.reason,
        }


def summarise(performance: Performance, original: dict[str, Any], writes: Writes | None) -> Result:
    """All figures of a release."""
    scene, release = performance.scene, performance.release
    until = max((record.due_at for record in performance.records), default=performance.ended_at)
    stable, canary = measure.arms(performance.records, release)
    tail = measure.between(performance.records, performance.ended_at, until + 1)
    final = measure.arms(tail, release)
    routes = [version.manifest for version in performance.routes if version.manifest is not None]
    after, status = performance.route_after, performance.status
    final_share = 100 * final[1].requests / len(tail) if tail else None
    return Result(
        scene=scene,
        outcome=_outcome(final_share, canary),
        said=str(status.phase),
        reason=f"{status.outcome_reason}: {status.message}",
        seconds=performance.ended_at - performance.began_at,
        requests=len(performance.records),
        stable=stable,
        canary=canary,
        spans=measure.spans(
            performance.records, _expected_shares(performance), release, until, settle_seconds=_SETTLE_SECONDS
        ),
        breach=_breach(performance),
        served_after_rollback=_served_after_rollback(performance),
        final_share_percent=final_share,
        route_versions=len(routes),
        weight_changes=len(performance.weights) - 1,
        is_route_untouched=after is not None
        and {_text(outside_the_split(route)) for route in [*routes, after]} == {_text(outside_the_split(original))},
        is_route_restored=after is not None and _text(after["spec"]) == _text(original["spec"]),
        writes=writes,
        takeover_seconds=[one.seconds for one in performance.takeovers],
        sight=measure.sight(record for record in performance.records if release.serves(record)),
        leftovers=performance.leftovers,
    )


def _outcome(final_share_percent: float | None, canary: Arm) -> str:
    """What became of a release, told from what clients got: nothing here is the operator's word."""
    if final_share_percent is None:
        return "Unknown"
    if final_share_percent == 100:
        return str(Phase.SUCCEEDED)
    if final_share_percent > 0:
        return "Split"
    return str(Phase.ROLLED_BACK if canary.requests else Phase.FAILED)


def _text(manifest: dict[str, Any]) -> str:
    """As the API server wrote it: the order of keys and every value count."""
    return json.dumps(manifest)


def _expected_shares(performance: Performance) -> list[tuple[float, int]]:
    """The share of the new version that a weight means: after a promotion stable is the new version too."""
    shares, was_full = [], False
    for when, weight in performance.weights:
        was_full = was_full or weight == 100
        is_promoted = weight == 0 and was_full and performance.scene.ends_with_new_version
        shares.append((when, 100 if is_promoted else weight))
    return shares


def _breach(performance: Performance) -> Breach | None:
    scene = performance.scene
    if scene.limit is None:
        return None
    return measure.breach(performance.records, performance.release, any_answer=scene.is_bad_from_birth)


def _served_after_rollback(performance: Performance) -> int:
    """Requests that went to the canary although due after its weight was 0 for good and proxies knew."""
    if performance.scene.ends_with_new_version or not performance.weights:
        return 0
    back_at = performance.weights[-1][0] + _SETTLE_SECONDS
    late = measure.between(performance.records, back_at, float("inf"))
    return sum(performance.release.serves(record) for record in late)


def complaints(result: Result, declared: Sequence[int] = WEIGHTS) -> list[str]:
    """One sentence for each expectation that does not hold. `declared`: the weights of the strategy's steps."""
    return [f"{result.scene.name}: {sentence}" for sentence in _complaints(result, list(declared))]


def _complaints(result: Result, declared: list[int]) -> Iterator[str]:
    scene = result.scene
    for who, outcome in (("at the clients it", result.outcome), ("by its status it", result.said)):
        if outcome != scene.expected:
            yield f"{who} ended {outcome} instead of {scene.expected} ({result.reason})"
    if result.stable.errors:
        yield f"stable's clients saw {result.stable.errors} errors"
    if result.served_after_rollback:
        yield f"the canary got {result.served_after_rollback} requests after the rollback"
    expected_share = 100.0 if scene.ends_with_new_version else 0.0
    if result.final_share_percent != expected_share:
        yield f"in the end {_percent(result.final_share_percent)} of the requests got the new version, not all or none"
    if not result.is_route_untouched:
        yield "something in the VirtualService outside the managed split changed"
    if result.route_writes > result.weight_changes + 1:
        yield (
            f"the VirtualService was written {result.route_writes} times for {result.weight_changes} changes of the "
            "weight; besides these, only the one that puts the route back is allowed"
        )
    if not result.is_route_restored:
        yield "the VirtualService is not what it was before the release"
    if result.leftovers:
        yield f"of the canary there is still {', '.join(result.leftovers)}"
    if len(result.takeover_seconds) < scene.kills:
        yield (
            f"of {scene.kills} kills of the operator {len(result.takeover_seconds)} were followed by another one that "
            "led before the release was over"
        )
    yield from _complaints_about_shares(result)
    yield from _complaints_about_canary(result)
    if scene.is_full_course:
        yield from _complaints_about_course(result, declared)


def _complaints_about_shares(result: Result) -> Iterator[str]:
    for span in result.spans:
        if span.requests and not span.is_as_expected:
            yield (
                f"at {span.weight_percent} % clients got {_percent(span.share_percent)} of {span.requests} requests "
                f"from the new version (sampling error {span.sampling_error_percent:.1f} points)"
            )


def _complaints_about_canary(result: Result) -> Iterator[str]:
    scene, canary, breach = result.scene, result.canary, result.breach
    if not scene.gets_traffic:
        if canary.requests:
            yield f"the canary got {canary.requests} requests, and should have got none"
        return
    if not result.route_versions:
        yield "no version of the VirtualService was seen, so nobody knows what became of the rest of it"
    if scene.fails and not canary.errors:
        yield "no client saw the errors that this version makes, so nothing was shown"
    if not scene.fails and canary.errors:
        yield f"the canary's clients saw {canary.errors} errors"
    if scene.limit is None:
        return
    if breach is None:
        yield "no client got a bad answer, so nothing was measured"
    elif breach.bad_answers > scene.limit.bad_answers:
        yield f"clients got {breach.bad_answers} bad answers; at most {scene.limit.bad_answers} are allowed"
    elif breach.seconds > scene.limit.seconds:
        yield f"the canary served for {breach.seconds:.1f} s after it went bad, more than {scene.limit.seconds:g} s"


def _complaints_about_course(result: Result, declared: list[int]) -> Iterator[str]:
    served = [span.weight_percent for span in result.spans if span.weight_percent > 0]
    if served[: len(declared)] != declared:
        yield f"the canary was served at {served} instead of {declared} per cent"
    for span in [span for span in result.spans if span.weight_percent > 0][: len(declared)]:
        if not span.canary_requests:  # at 1 % of few requests, none at all is within the sampling error
            yield f"at {span.weight_percent} % no client got the new version, of {span.requests} requests"
    seen = result.sight
    if seen.exact < _LEAST_SEEN * max(1, seen.answers):
        yield f"of {seen.answers} pictures the new version found as many objects as are there in only {seen.exact}"
    if result.api_writes is not None and result.api_writes > _MOST_WRITES:
        yield f"the operator wrote {result.api_writes} times to the API server; at most {_MOST_WRITES} are allowed"


def complaints_about_traffic(performances: Sequence[Performance], records: Sequence[Record], sent: int) -> list[str]:
    """What no single release can see: requests without a record, and errors between the releases.

    `records`: all requests, read after the traffic was stopped; `sent`: how many the load generator says it sent.
    """
    found = []
    if len(records) != sent:
        found.append(f"of {sent} requests that were sent, {len(records)} have a record")
    watched = [(performance.began_at, performance.watched_until) for performance in performances]
    first = min((since for since, _ in watched), default=math.inf)
    between = [
        record
        for record in records
        if record.is_error
        and record.due_at >= first
        and not any(since <= record.due_at < until for since, until in watched)
    ]
    if between:
        one = between[0]
        found.append(f"outside of the releases clients saw {len(between)} errors, like {one.status} {one.problem!r}")
    return found


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f} %"
