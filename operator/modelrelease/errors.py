"""The errors that cross module borders; adapters translate library errors into these.

ReleaseError
├── Retryable            the world may answer differently soon; the key is looked at again after a delay
│   ├── Conflict         somebody wrote first: drop the decision, read again, decide again
│   ├── Throttled        the API server asked to wait `retry_after_seconds`
│   ├── Unauthorized     the API server does not know who asks, also after a new login
│   └── MetricsUnavailable   Prometheus gave no usable answer; this is no evidence for anything
├── Terminal             only a person can change it; said in the `Stalled` condition with `reason`
│   └── Forbidden        the operator lacks a permission
└── InvalidResource      what a user wrote cannot be read; the message says what to write instead
"""

from __future__ import annotations


class ReleaseError(Exception):
    """Base of all errors that the reconciler knows how to handle."""


class Retryable(ReleaseError):
    """A failure that is expected to pass by itself."""

    retry_after_seconds: float | None = None


class Conflict(Retryable):
    """An optimistic write lost against another writer (409)."""


class Throttled(Retryable):
    """The API server answered 429 and said how long to wait."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unauthorized(Retryable):
    """The API server does not know who asks (401). In a pod that passes, once the kubelet has renewed the token."""


class MetricsUnavailable(Retryable):
    """Prometheus could not be asked, or its answer was refused."""


class Terminal(ReleaseError):
    """Nothing but a person's action helps; `reason` is a CamelCase condition reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Forbidden(Terminal):
    """The API server refused a verb (403)."""

    def __init__(self, message: str) -> None:
        super().__init__("Forbidden", message)


class InvalidResource(ReleaseError):
    """A user's input that cannot be understood; the message names the field and the remedy."""
