"""Grafana dashboards of the operator's metrics, as JSON: an overview, and one release in detail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_COLUMNS = 24
"""Width of Grafana's grid."""
_HEIGHT = 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_HERE = 'job=~"$job"'
_ONE = 'job=~"$job", release_namespace="$release_namespace", release="$release"'


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL and how its series are called; `{{label}}` is filled in by Grafana."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. `unit` is Grafana's word; `width` is in columns of 24."""

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    panels: tuple[Panel, ...]
    variables: tuple[tuple[str, str], ...] = ()
    """Name and query of each variable beside the data source; the first value is chosen."""


def _quantiles(metric: str, by: str = "") -> tuple[Query, ...]:
    """Median and 99th percentile of a histogram."""
    labels = f"le, {by}" if by else "le"
    suffix = f" {{{{{by}}}}}" if by else ""
    return tuple(
        Query(
            f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{_HERE}}}[$__rate_interval])))",
            f"{name}{suffix}",
        )
        for share, name in ((0.5, "median"), (0.99, "P99"))
    )


def _over_a_week(metric: str) -> tuple[Query, ...]:
    """Median by outcome: steps and releases are too few for a shorter time."""
    return (
        Query(
            f"histogram_quantile(0.5, sum by (le, outcome) (increase({metric}_bucket{{{_HERE}}}[7d])))", "{{outcome}}"
        ),
    )


OVERVIEW = Dashboard(
    uid="modelrelease-overview",
    title="ModelRelease / Releases",
    variables=(("job", "label_values(modelrelease_leader, job)"),),
    panels=(
        Panel(
            "Releases by phase",
            "All ModelReleases, by where they stand.",
            (Query(f"sum by (phase) (modelrelease_releases{{{_HERE}}}) > 0", "{{phase}}"),),
        ),
        Panel(
            "Under way",
            "Share of the traffic of each canary.",
            (Query(f"modelrelease_release_weight_percent{{{_HERE}}}", "{{release_namespace}}/{{release}}"),),
            unit="percent",
        ),
        Panel(
            "Decisions in the last hour",
            "What was decided about releases, and why.",
            (
                Query(
                    f"sum by (outcome, reason) (increase(modelrelease_decisions_total{{{_HERE}}}[1h]))",
                    "{{outcome}}: {{reason}}",
                ),
            ),
        ),
        Panel(
            "Waiting for a person",
            "Releases that are Stalled, by reason; the runbook has an entry for each.",
            (Query(f"sum by (reason) (modelrelease_stalled_releases{{{_HERE}}})", "{{reason}}"),),
        ),
        Panel(
            "Metrics to judge by",
            "Releases under analysis. Stale and Unavailable hold.",
            (Query(f"sum by (health) (modelrelease_analysed_releases{{{_HERE}}})", "{{health}}"),),
        ),
        Panel(
            "Evaluation lag",
            "Age of the newest samples that were weighed, of the release that is furthest behind.",
            (Query(f"max(modelrelease_evaluation_lag_seconds{{{_HERE}}})", "lag"),),
            unit="s",
        ),
        Panel(
            "Median length of releases",
            "Over a week, by outcome.",
            _over_a_week("modelrelease_release_seconds"),
            unit="s",
        ),
        Panel(
            "Median length of steps",
            "Over a week, by whether the release went on.",
            _over_a_week("modelrelease_step_seconds"),
            unit="s",
        ),
        Panel(
            "Events in the last hour",
            "What was said about releases.",
            (
                Query(
                    f"sum by (type, reason) (increase(modelrelease_events_total{{{_HERE}}}[1h]))",
                    "{{type}}: {{reason}}",
                ),
            ),
        ),
        Panel(
            "Leader", "1 for the pod that holds the Lease.", (Query(f"modelrelease_leader{{{_HERE}}}", "{{instance}}"),)
        ),
        Panel("Looks at releases", "How long they take.", _quantiles("modelrelease_reconcile_seconds"), unit="s"),
        Panel(
            "Looks that ended in an error",
            "Per second, by kind. Conflict is normal; anything that is not in the runbook is a defect.",
            (
                Query(
                    f"sum by (kind) (rate(modelrelease_reconcile_errors_total{{{_HERE}}}[$__rate_interval]))",
                    "{{kind}}",
                ),
            ),
        ),
        Panel(
            "Queue",
            "Releases that wait to be looked at: at some time, and already due.",
            (
                Query(f"sum by (instance) (modelrelease_queue_depth{{{_HERE}}})", "waiting {{instance}}"),
                Query(f"sum by (instance) (modelrelease_queue_due{{{_HERE}}})", "due {{instance}}"),
            ),
        ),
        Panel(
            "Longest wait for a worker",
            "How long the release that waits longest has been due.",
            (Query(f"max by (instance) (modelrelease_queue_delay_seconds{{{_HERE}}})", "{{instance}}"),),
            unit="s",
        ),
        Panel(
            "Left out",
            "Releases under way that are not shown one by one (metrics.mostReleases).",
            (Query(f"sum(modelrelease_releases_not_shown{{{_HERE}}})", "not shown"),),
        ),
        Panel(
            "Requests to the API server",
            "Per second, by what was done.",
            (
                Query(
                    f"sum by (verb, resource) (rate(modelrelease_api_requests_total{{{_HERE}}}[$__rate_interval]))",
                    "{{verb}} {{resource}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            "Refusals of the API server",
            "Per second, by HTTP status; none: no answer came.",
            (
                Query(
                    "sum by (code, resource) "
                    f'(rate(modelrelease_api_requests_total{{{_HERE}, code!~"2.."}}[$__rate_interval]))',
                    "{{code}} {{resource}}",
                ),
            ),
            unit="reqps",
        ),
        Panel("API server", "Time until it answers.", _quantiles("modelrelease_api_request_seconds", "verb"), unit="s"),
        Panel(
            "Queries to Prometheus",
            "Per second, by whether the answer could be believed.",
            (
                Query(
                    "sum by (provider, outcome) "
                    f"(rate(modelrelease_prometheus_requests_total{{{_HERE}}}[$__rate_interval]))",
                    "{{provider}} {{outcome}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            "Prometheus",
            "Time until it answers.",
            _quantiles("modelrelease_prometheus_request_seconds", "provider"),
            unit="s",
        ),
        Panel(
            "Memory of the operator",
            "Resident memory of each pod.",
            (Query(f"process_resident_memory_bytes{{{_HERE}}}", "{{instance}}"),),
            unit="bytes",
        ),
    ),
)

RELEASE = Dashboard(
    uid="modelrelease-release",
    title="ModelRelease / One release",
    variables=(
        ("job", "label_values(modelrelease_leader, job)"),
        ("release_namespace", "label_values(modelrelease_release_step, release_namespace)"),
        ("release", 'label_values(modelrelease_release_step{release_namespace="$release_namespace"}, release)'),
    ),
    panels=(
        Panel(
            "Phase",
            "Where the release stands; nothing where none is under way.",
            (Query(f"sum by (phase) (modelrelease_release_phase{{{_ONE}}})", "{{phase}}"),),
        ),
        Panel(
            "Weight",
            "Share of the traffic that the canary is meant to have.",
            (Query(f"max(modelrelease_release_weight_percent{{{_ONE}}})", "weight"),),
            unit="percent",
        ),
        Panel(
            "Step",
            "Number of the step, of how many.",
            (
                Query(f"max(modelrelease_release_step{{{_ONE}}})", "step"),
                Query(f"max(modelrelease_release_steps{{{_ONE}}})", "of"),
            ),
        ),
        Panel(
            "Evidence for a rollback",
            "At 1 the traffic goes back.",
            (
                Query(
                    f'max by (metric) (modelrelease_release_evidence{{{_ONE}, towards="rollback"}})',
                    "{{metric}}",
                ),
            ),
            unit="percentunit",
            width=12,
        ),
        Panel(
            "Evidence for the next step",
            "At 1 the gate is passed, for all metrics together.",
            (
                Query(
                    f'max by (metric) (modelrelease_release_evidence{{{_ONE}, towards="promotion"}})',
                    "{{metric}}",
                ),
            ),
            unit="percentunit",
            width=12,
        ),
        Panel(
            "Error rate",
            "Of both versions, in the current step.",
            (Query(f"max by (arm) (modelrelease_release_error_ratio{{{_ONE}}})", "{{arm}}"),),
            unit="percentunit",
            width=12,
        ),
        Panel(
            "P99 latency",
            "Of both versions, in the current step.",
            (Query(f"max by (arm) (modelrelease_release_latency_p99_milliseconds{{{_ONE}}})", "{{arm}}"),),
            unit="ms",
            width=12,
        ),
        Panel(
            "Requests compared",
            "In the current step.",
            (Query(f"max by (arm, metric) (modelrelease_release_requests{{{_ONE}}})", "{{arm}} {{metric}}"),),
        ),
        Panel(
            "Time in the step",
            "Since the current step began.",
            (Query(f"time() - max(modelrelease_release_step_started_timestamp_seconds{{{_ONE}}})", "time"),),
            unit="s",
        ),
        Panel(
            "Evaluation lag",
            "Age of the newest samples that were weighed.",
            (Query(f"max(modelrelease_release_evaluation_lag_seconds{{{_ONE}}})", "lag"),),
            unit="s",
        ),
    ),
)


def dashboard_json(dashboard: Dashboard) -> str:
    """As Grafana 10 and newer import it."""
    document = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["modelrelease"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": list(_variables(dashboard))},
        "panels": list(_panels(dashboard.panels)),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    for name, query in dashboard.variables:
        everything = name == "job"
        yield {
            "name": name,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "includeAll": everything,
            **({"current": {"text": "All", "value": "$__all"}, "allValue": ".*"} if everything else {}),
        }


def _panels(panels: tuple[Panel, ...]) -> Iterator[dict[str, Any]]:
    """Side by side while there is room, then below."""
    x = y = 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > _COLUMNS:
            x, y = 0, y + _HEIGHT
        yield {
            "id": number,
            "type": panel.kind,
            "title": panel.title,
            "description": panel.about,
            "datasource": _SOURCE,
            "gridPos": {"x": x, "y": y, "w": panel.width, "h": _HEIGHT},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "targets": [
                {
                    "refId": chr(ord("A") + position),
                    "datasource": _SOURCE,
                    "expr": query.expression,
                    "legendFormat": query.legend,
                }
                for position, query in enumerate(panel.queries)
            ],
        }
        x += panel.width
