"""From a performance to figures, and from figures to complaints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from demo import measure
from demo.manifests import outside_the_split
from demo.measure import Arm, Breach, Span
from demo.performance import Performance
from demo.scenes import WEIGHTS, Scene

_SETTLE_SECONDS = 1.0
_MOST_WRITES = 24
_LONGEST_BREACH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """A release in figures, as clients measured them."""

    scene: Scene
    outcome: str
    reason: str
    seconds: float
    requests: int
    stable: Arm
    canary: Arm
    spans: list[Span]
    breach: Breach | None
    served_after_rollback: int
    final_share_percent: float | None
    is_route_untouched: bool
    is_route_restored: bool
    api_writes: int | None

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


def summarise(performance: Performance, original: dict[str, Any], api_writes: int | None) -> Result:
    """All figures of a release."""
    scene, release = performance.scene, performance.release
    until = max((record.due_at for record in performance.records), default=performance.ended_at)
    stable, canary = measure.arms(performance.records, release)
    tail = measure.between(performance.records, performance.ended_at, until + 1)
    final = measure.arms(tail, release)
    routes = [version.manifest for version in performance.routes if version.manifest is not None]
    status = performance.status
    return Result(
        scene=scene,
        outcome=str(status.phase),
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
        final_share_percent=100 * final[1].requests / len(tail) if tail else None,
        is_route_untouched={_text(outside_the_split(route)) for route in routes}
        <= {_text(outside_the_split(original))},
        is_route_restored=not routes or _text(routes[-1]["spec"]) == _text(original["spec"]),
        api_writes=api_writes,
    )


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
    if scene.ends_with_new_version or scene.steers:
        return None
    return measure.breach(performance.records, performance.release, any_answer=scene.is_bad_from_birth)


def _served_after_rollback(performance: Performance) -> int:
    """Answers of the canary to requests that were due after its weight was 0 for good and proxies knew."""
    if performance.scene.ends_with_new_version or not performance.weights:
        return 0
    back_at = performance.weights[-1][0] + _SETTLE_SECONDS
    late = measure.between(performance.records, back_at, float("inf"))
    return sum(record.version == performance.release.version for record in late)


def complaints(result: Result, declared: Sequence[int] = WEIGHTS) -> list[str]:
    """One sentence for each expectation that does not hold. `declared`: the weights of the strategy's steps."""
    return [f"{result.scene.name}: {sentence}" for sentence in _complaints(result, list(declared))]


def _complaints(result: Result, declared: list[int]) -> Iterator[str]:
    scene = result.scene
    if result.outcome != scene.expected:
        yield f"ended {result.outcome} instead of {scene.expected} ({result.reason})"
    if result.stable.errors:
        yield f"stable's clients saw {result.stable.errors} errors"
    if result.served_after_rollback:
        yield f"the canary answered {result.served_after_rollback} requests after the rollback"
    expected_share = 100.0 if scene.ends_with_new_version else 0.0
    if result.final_share_percent != expected_share:
        yield f"in the end {_percent(result.final_share_percent)} of the requests got the new version, not all or none"
    if not result.is_route_untouched:
        yield "something in the VirtualService outside the managed split changed"
    if not result.is_route_restored:
        yield "the VirtualService is not what it was before the release"
    if not scene.gets_traffic and result.canary.requests:
        yield f"the canary got {result.canary.requests} requests, and should have got none"
    if result.breach is not None and result.breach.seconds > _LONGEST_BREACH_SECONDS:
        yield f"the canary served for {result.breach.seconds:.1f} s after it went bad"
    if scene.is_full_course:
        yield from _complaints_about_course(result, declared)


def _complaints_about_course(result: Result, declared: list[int]) -> Iterator[str]:
    if result.canary.errors:
        yield f"the canary's clients saw {result.canary.errors} errors"
    served = [span.weight_percent for span in result.spans if span.weight_percent > 0]
    if served[: len(declared)] != declared:
        yield f"the canary was served at {served} instead of {declared} per cent"
    for span in result.spans:
        if span.requests and not span.is_as_expected:
            yield (
                f"at {span.weight_percent} % clients got {_percent(span.share_percent)} of {span.requests} requests "
                f"from the new version (sampling error {span.sampling_error_percent:.1f} points)"
            )
    if result.api_writes is not None and result.api_writes > _MOST_WRITES:
        yield f"the operator wrote {result.api_writes} times to the API server; at most {_MOST_WRITES} are allowed"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f} %"
