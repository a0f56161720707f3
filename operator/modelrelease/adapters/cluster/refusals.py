"""What the API server's refusals mean to the rest of the operator: the one place that reads `ApiException`."""

from __future__ import annotations

import json
import math
from email.utils import parsedate_to_datetime

from kubernetes.aio.client.exceptions import ApiException

from modelrelease.errors import Conflict, Forbidden, ReleaseError, Retryable, Terminal, Throttled, Unauthorized

_DEFAULT_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 300.0
"""A wrong clock behind an HTTP date must not put a release to sleep for hours."""

_FAULTY_REQUESTS = frozenset({400, 405, 406, 413, 415, 422})


def translated(error: ApiException, doing: str, now_seconds: float, who: str = "The operator") -> ReleaseError:
    """The error that the reconciler understands.

    Args:
        error: the library's exception, holding status, headers and body.
        doing: what was tried, such as `replace virtualservices vision/detector`.
        now_seconds: unix time, to read a Retry-After that is a date.
        who: begins the sentence about a missing permission.
    """
    status, sentence = int(error.status or 0), _sentence(error)
    text = f"Could not {doing}: {sentence}"
    if status == 409 or _is_other_uid(error):
        return Conflict(text)
    if status == 403:
        return Forbidden(f"{who} may not {doing}: {sentence}")
    if status == 429:
        return Throttled(text, _wait_seconds(error, now_seconds) or _DEFAULT_WAIT_SECONDS)
    if status == 401:
        return Unauthorized(f"{text} (HTTP 401)")
    if status in _FAULTY_REQUESTS:
        return Terminal("Invalid", text)
    passing = Retryable(f"{text} (HTTP {status})")
    passing.retry_after_seconds = _wait_seconds(error, now_seconds)
    return passing


def _is_other_uid(error: ApiException) -> bool:
    """A merge patch that names another uid is refused as 422 on metadata.uid; it means that the object was replaced."""
    if error.status != 422:
        return False
    details = _status(error).get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return any(isinstance(cause, dict) and cause.get("field") == "metadata.uid" for cause in causes or [])


def _sentence(error: ApiException) -> str:
    message = _status(error).get("message")
    if isinstance(message, str) and message:
        return message
    return str(error.reason or "no reason given")


def _status(error: ApiException) -> dict[str, object]:
    """The `Status` object in the body; empty where something else than the API server answered."""
    try:
        body = json.loads(error.body or "")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _wait_seconds(error: ApiException, now_seconds: float) -> float | None:
    """Retry-After as RFC 9110 allows it: seconds or an HTTP date."""
    raw = (error.headers or {}).get("Retry-After")
    if not raw:
        return None
    try:
        wait = float(raw)
    except ValueError:
        try:
            wait = parsedate_to_datetime(raw).timestamp() - now_seconds
        except ValueError:
            return None
    return min(max(wait, 0.0), _LONGEST_WAIT_SECONDS) if math.isfinite(wait) else None
