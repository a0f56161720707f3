"""A `requests.Session` that believes nothing: what it lets through is a complete, successful answer of the query API.

`PrometheusConnect.custom_query` hands out `data.result` and drops `warnings`, which is how Prometheus and its
federations say that an answer is partial. So the checks are done below it, in the session that it is given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from modelrelease.errors import MetricsUnavailable

_CHUNK_BYTES = 64 * 1024
_QUOTED_CHARACTERS = 300


class CheckedResponse(requests.Response):
    """An answer that was read and checked already."""

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__()
        self.status_code = 200
        self._payload = payload

    def json(self, **_: Any) -> dict[str, Any]:
        return self._payload


class GuardedSession(requests.Session):
    """Follows no redirect, reads at most `limit_bytes` within `timeout_seconds`, and refuses all but plain success.

    Raises MetricsUnavailable with a sentence that quotes what came instead.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        limit_bytes: int,
        token_file: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.trust_env = False
        self._timeout_seconds = timeout_seconds
        self._limit_bytes = limit_bytes
        self._token_file = token_file
        self._monotonic = monotonic

    def request(self, method: Any, url: Any, *_: Any, **options: Any) -> CheckedResponse:
        """Send the query's parameters in the body: the names of 100 releases do not fit into every proxy's idea of
        a URL."""
        deadline = self._monotonic() + self._timeout_seconds
        try:
            response = super().request(
                method,
                url,
                data=options["params"],
                headers=self._authorization(),
                verify=options["verify"],
                timeout=self._timeout_seconds,
                allow_redirects=False,
                stream=True,
            )
            with response:
                return CheckedResponse(self._checked(response, deadline))
        except requests.RequestException as error:
            raise MetricsUnavailable(f"Prometheus could not be asked: {type(error).__name__}: {error}") from error

    def _authorization(self) -> dict[str, str]:
        """Read anew each time, since mounted tokens are replaced while they are used."""
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"}
        except OSError as error:
            raise MetricsUnavailable(f"The token for Prometheus could not be read: {error}") from error

    def _checked(self, response: requests.Response, deadline: float) -> dict[str, Any]:
        if 300 <= response.status_code < 400:
            raise MetricsUnavailable(
                f"Prometheus redirects to {response.headers.get('Location', 'nowhere')!r}; redirects are not followed. "
                "Configure the address that answers."
            )
        body = self._body(response, deadline)
        payload = _payload(body, response.status_code)
        if response.status_code != 200 or payload.get("status") != "success":
            reason = payload.get("error") or f"HTTP status {response.status_code}"
            raise MetricsUnavailable(f"Prometheus refused the query: {str(reason)[:_QUOTED_CHARACTERS]}")
        if payload.get("warnings"):
            quoted = str(payload["warnings"])[:_QUOTED_CHARACTERS]
            raise MetricsUnavailable(f"Prometheus answered with warnings, so its answer may be partial: {quoted}")
        data = payload.get("data")
        if not isinstance(data, dict) or data.get("resultType") != "matrix" or "result" not in data:
            raise MetricsUnavailable("Prometheus answered something else than a matrix.")
        return payload

    def _body(self, response: requests.Response, deadline: float) -> bytes:
        """All of the body; size and time are checked as it comes, since neither has to be announced truthfully."""
        body = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._limit_bytes:
                raise MetricsUnavailable(f"Prometheus' answer is larger than {self._limit_bytes} bytes.")
            if self._monotonic() > deadline:
                raise MetricsUnavailable(f"Prometheus took longer than {self._timeout_seconds:g} s to answer.")
        return bytes(body)


def _payload(body: bytes, status: int) -> dict[str, Any]:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        start = body[:80].decode("utf-8", errors="replace")
        raise MetricsUnavailable(f"HTTP status {status} and no JSON object: {start!r}. Is this address a Prometheus?")
    return payload
