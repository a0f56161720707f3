"""The operator's own metrics, from where they are defined."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics import MetricWrapperBase

from modelrelease import telemetry
from modelrelease.census import Census
from modelrelease.cli.reference.markdown import code, table
from modelrelease.cli.reference.markdown import page as whole_page


def page() -> str:
    """One row per metric."""
    return whole_page(
        "Metrics of the operator",
        "operator/modelrelease/telemetry.py or census.py",
        "Served on port 8080 under `/metrics`, in the Prometheus text format, by each replica. A histogram has the "
        "series `_bucket`, `_sum` and `_count`.",
        table(("metric", "type", "labels", "meaning"), sorted([*_rows(), *_census()])),
        "Metrics with the labels `release_namespace` and `release` show releases one by one: only those under way, and "
        "at most `metrics.mostReleases` of them. Only the holder of the Lease tells where releases stand.",
        "What releases are judged by does not come from here but from Istio or the model server: see "
        "[configuration](configuration.md#source).",
    )


def _census() -> Iterator[tuple[str, str, str, str]]:
    for family in Census(lambda: 0.0).collect():
        labels = ", ".join(map(code, getattr(family, "_labelnames", ())))
        yield code(family.name), family.type, labels, family.documentation


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for collector in vars(telemetry).values():
        if isinstance(collector, MetricWrapperBase):
            labels = ", ".join(map(code, collector._labelnames))
            for family in collector.describe():
                suffix = "_total" if family.type == "counter" else ""
                yield code(family.name + suffix), family.type, labels, family.documentation
