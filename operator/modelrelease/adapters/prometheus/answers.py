"""From Prometheus' matrix to the judge's series."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from modelrelease.adapters.prometheus.native import bucket_samples
from modelrelease.adapters.prometheus.selectors import Arm, Question
from modelrelease.adapters.prometheus.sources import SourceDefinition
from modelrelease.errors import MetricsUnavailable
from modelrelease.judge import Series
from modelrelease.ports import Key, Samples, Watched

_CLIENT_LEFT = "DC"
"""Envoy's response flag for "downstream connection termination" (Envoy documentation, access log, response flags)."""

_HTTP_OF_GRPC = {
    "0": "200", "1": "499", "2": "500", "3": "400", "4": "504", "5": "404", "6": "409", "7": "403", "8": "429",
    "9": "400", "10": "409", "11": "400", "12": "501", "13": "500", "14": "503", "15": "500", "16": "401",
}  # fmt: skip
"""The HTTP code that a gRPC status stands for (google/rpc/code.proto), so that one set of codes serves both."""

_BOUND_DIGITS = 6
"""Seconds times 1000 are rounded to a nanosecond: 0.07 s must be the bound 70 ms and not 70.00000000000001."""


def read_answer(question: Question, result: object, *, start_seconds: float, end_seconds: float) -> dict[Key, Samples]:
    """Samples in (start, end] of each release; releases without any get none.

    Raises MetricsUnavailable where the result is not a matrix.
    """
    found: dict[Key, list[Series]] = {key: [] for key in question.watched}
    native: dict[Key, list[Series]] = {key: [] for key in question.watched}
    for labels, values, histograms in _matrix(result):
        samples = tuple(_inside(values, start_seconds, end_seconds))
        for key, arm in question.arms_of(labels):
            series = _series(question.definition, question.watched[key], arm, labels, samples) if samples else None
            if series is not None:
                found[key].append(series)
            if histograms:
                buckets = _native_series(question.definition, question.watched[key], arm, labels, histograms)
                native[key] += _between(buckets, start_seconds, end_seconds)
    return {key: _ordered(_with_one_histogram(found[key], native[key])) for key in found}


def is_error(definition: SourceDefinition, labels: Mapping[str, str], codes: tuple[str, ...]) -> bool:
    """Whether requests of this series count as failed, by the release's set of codes (`5xx`, `429`, `0`, …).

    Code 0 means that no response came; where the client had left that is nobody's fault. A gRPC status counts instead
    of the HTTP code, which is 200 for failed calls, too.
    """
    code = _code(definition, labels)
    if code == "0" and _CLIENT_LEFT in labels.get(definition.flags_label, "").split(","):
        return False
    return code in codes or (len(code) == 3 and f"{code[0]}xx" in codes)


def _code(definition: SourceDefinition, labels: Mapping[str, str]) -> str:
    code = labels.get(definition.code_label, "")
    grpc = labels.get(definition.grpc_label, "") if definition.grpc_label else ""
    return code if code == "0" else _HTTP_OF_GRPC.get(grpc, code)


def _series(
    definition: SourceDefinition,
    watched: Watched,
    arm: Arm,
    labels: Mapping[str, str],
    samples: tuple[tuple[float, float], ...],
) -> Series | None:
    is_bucket = labels.get("__name__") == definition.buckets_metric
    bound = _bound_ms(labels.get("le", ""), definition.milliseconds_per_unit) if is_bucket else None
    if is_bucket and bound is None:
        return None
    return Series(
        arm=arm,
        target="/".join(labels[name] for name in definition.target_labels if labels.get(name)),
        kind="bucket" if is_bucket else "requests",
        code=_code(definition, labels),
        is_error=is_error(definition, labels, watched.error_codes),
        bound_ms=bound,
        samples=samples,
    )


def _native_series(
    definition: SourceDefinition, watched: Watched, arm: Arm, labels: Mapping[str, str], histograms: list[Any]
) -> Iterator[Series]:
    """One series per bound, as a classic histogram has them."""
    buckets = bucket_samples(histograms, milliseconds_per_unit=definition.milliseconds_per_unit)
    for bound_ms, samples in buckets.items():
        named = {
            **labels,
            "__name__": definition.buckets_metric,
            "le": f"{bound_ms / definition.milliseconds_per_unit}",
        }
        series = _series(definition, watched, arm, named, samples)
        if series is not None:
            yield series


def _between(many: Iterable[Series], start: float, end: float) -> Iterator[Series]:
    for series in many:
        samples = tuple(_inside(series.samples, start, end))
        if samples:
            yield replace(series, samples=samples)


def _with_one_histogram(found: list[Series], native: list[Series]) -> list[Series]:
    """A Prometheus may store the same histogram in both forms; counted once, in the classic one."""
    return found if any(series.kind == "bucket" for series in found) else found + native


def _bound_ms(le: str, milliseconds_per_unit: float) -> float | None:
    bound = _number(le) * milliseconds_per_unit
    return None if math.isnan(bound) else round(bound, _BOUND_DIGITS) if math.isfinite(bound) else bound


def _inside(values: Iterable[tuple[float, float]], start: float, end: float) -> Iterator[tuple[float, float]]:
    """Samples in (start, end]; NaN, infinite and negative values count nothing and are left out."""
    return ((at, value) for at, value in values if start < at <= end and math.isfinite(value) and value >= 0)


def _matrix(result: object) -> Iterator[tuple[dict[str, str], list[tuple[float, float]], list[Any]]]:
    """Labels, samples and native histograms of each series."""
    if not isinstance(result, list):
        raise MetricsUnavailable("Prometheus answered without a list of series.")
    for entry in result:
        labels, values, histograms = _entry(entry)
        yield labels, [_sample(value) for value in values], histograms


def _entry(entry: Any) -> tuple[dict[str, str], list[Any], list[Any]]:
    fields = entry if isinstance(entry, dict) else {}
    labels, histograms = fields.get("metric"), fields.get("histograms", [])
    values = fields.get("values", [] if histograms else None)
    if not isinstance(labels, dict) or not isinstance(values, list) or not isinstance(histograms, list):
        raise MetricsUnavailable("Prometheus answered a series without labels or samples; was that a range query?")
    return {str(name): str(value) for name, value in labels.items()}, values, histograms


def _sample(raw: Any) -> tuple[float, float]:
    if not isinstance(raw, list) or len(raw) != 2 or not isinstance(raw[0], int | float):
        raise MetricsUnavailable(f"Prometheus answered {str(raw)[:80]!r} where a time and a value should be.")
    return float(raw[0]), _number(str(raw[1]))


def _number(text: str) -> float:
    """A sample value or bucket bound as Prometheus prints them (`NaN` and `+Inf` included); NaN for anything else."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _ordered(series: list[Series]) -> Samples:
    """The same answer in the same order, however Prometheus sorted it: the judge's state must not depend on it."""
    ordered = sorted(
        series,
        key=lambda one: (one.arm, one.target, one.kind, one.bound_ms or 0.0, one.code, one.is_error, one.samples),
    )
    newest = max((one.samples[-1][0] for one in ordered), default=None)
    return Samples(tuple(ordered), newest)
