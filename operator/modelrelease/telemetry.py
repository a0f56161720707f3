"""Structured logs, and the operator's own metrics."""

from __future__ import annotations

import logging
import sys

import structlog
from prometheus_client import Counter, Gauge, Histogram

RECONCILE_SECONDS = Histogram(
    "modelrelease_reconcile_seconds", "Time of one look at one release.", buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10)
)
RECONCILE_ERRORS = Counter("modelrelease_reconcile_errors_total", "Looks that ended in an error.", ["kind"])
QUEUE_DEPTH = Gauge("modelrelease_queue_depth", "Releases that wait to be looked at, now or later.")
LEADER = Gauge("modelrelease_leader", "1 while this process holds the Lease.")


def configure_logging(level: str) -> None:
    """JSON lines on standard error; libraries log through the same stream from warnings on."""
    threshold = getattr(logging, level.upper())
    logging.basicConfig(stream=sys.stderr, level=max(threshold, logging.WARNING), format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
