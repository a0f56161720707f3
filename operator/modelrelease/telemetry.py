"""Structured logs, and the operator's own metrics.

No label here holds the name of a release: the number of series does not grow with the number of releases. What is
shown of single releases is in `census`, and bounded.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from modelrelease.api.status import Outcome

disable_created_metrics()  # type: ignore[no-untyped-call]
"""Otherwise each counter and histogram has a second series that says since when it counts."""

_LONG = (30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
"""Seconds that steps and releases take: from half a minute to a day."""

RECONCILE_SECONDS = Histogram(
    "modelrelease_reconcile_seconds", "Time of one look at one release.", buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10)
)
RECONCILE_ERRORS = Counter("modelrelease_reconcile_errors_total", "Looks that ended in an error.", ["kind"])
QUEUE_DEPTH = Gauge("modelrelease_queue_depth", "Releases that wait to be looked at, now or later.")
QUEUE_DUE = Gauge("modelrelease_queue_due", "Releases that are due to be looked at now and wait for a worker.")
QUEUE_DELAY = Gauge("modelrelease_queue_delay_seconds", "How long the release that waits longest has been due.")
LEADER = Gauge("modelrelease_leader", "1 while this process holds the Lease.")
DECISIONS = Counter(
    "modelrelease_decisions_total",
    "Decisions about releases: Started, Advanced, Withdrawn (weight taken back within a step), and the outcomes "
    "Succeeded, RolledBack, Failed and Superseded.",
    ["outcome", "reason"],
)
STEP_SECONDS = Histogram(
    "modelrelease_step_seconds",
    "How long steps lasted that are over, by whether the release went on (Advanced) or back (Ended).",
    ["outcome"],
    buckets=_LONG,
)
RELEASE_SECONDS = Histogram(
    "modelrelease_release_seconds", "How long releases took that are over.", ["outcome"], buckets=_LONG
)
for _outcome in Outcome:
    RELEASE_SECONDS.labels(outcome=_outcome)  # from 0 on, so that the first one is an increase
EVENTS = Counter("modelrelease_events_total", "Events that were announced about releases.", ["type", "reason"])
API_REQUESTS = Counter(
    "modelrelease_api_requests_total",
    "Requests to the API server; code is the HTTP status, or none where no answer came.",
    ["verb", "resource", "code"],
)
API_SECONDS = Histogram(
    "modelrelease_api_request_seconds",
    "Time until the API server answered.",
    ["verb"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
QUERIES = Counter(
    "modelrelease_prometheus_requests_total",
    "Queries to Prometheus, by whether there was an answer that can be believed (success) or not (error).",
    ["provider", "outcome"],
)
QUERY_SECONDS = Histogram(
    "modelrelease_prometheus_request_seconds",
    "Time until Prometheus answered.",
    ["provider"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)


def show_queue(waiting: Callable[[], int], overdue_seconds: Callable[[], Sequence[float]]) -> None:
    """Have the queue's metrics say what these say whenever Prometheus asks."""
    QUEUE_DEPTH.set_function(waiting)
    QUEUE_DUE.set_function(lambda: len(overdue_seconds()))
    QUEUE_DELAY.set_function(lambda: max(overdue_seconds(), default=0.0))


TASKS = Gauge("modelrelease_tasks", "Tasks of the operator's event loop; more and more of them would be a leak.")


def configure_logging(level: str) -> None:
    """JSON lines on standard error; libraries log through the same stream from warnings on."""
    threshold = getattr(logging, level.upper())
    renderer = structlog.processors.JSONRenderer()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    # Lines of libraries are JSON too, so that no collector of logs has to read two formats.
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
