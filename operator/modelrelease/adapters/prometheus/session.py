"""A `requests.Session` that believes nothing: what it lets through is a complete, successful answer of the query API.

`PrometheusConnect.custom_query` hands out `data.result` and drops `warnings`, which is how Prometheus and its
federations say that an answer is partial. So the checks are done below it, in the session that it is given.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests

from modelrelease.adapters.prometheus.credentials import Credentials, Stamp
from modelrelease.errors import MetricsUnavailable
from modelrelease.telemetry import QUERIES, QUERY_SECONDS

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

    provider: what its queries are counted under.
    credentials: read anew for each query; a connection that was made with other certificates is not used again.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        limit_bytes: int,
        credentials: Credentials | None = None,
        provider: str = "default",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.trust_env = False
        self._timeout_seconds = timeout_seconds
        self._limit_bytes = limit_bytes
        self._credentials = credentials or Credentials()
        self._provider = provider
        self._monotonic = monotonic
        self._changing = threading.Lock()
        self._stamp: Stamp | None = None
        self.cert = self._credentials.certificate
        self.verify = str(self._credentials.ca_file) if self._credentials.ca_file is not None else True

    def request(self, method: Any, url: Any, *_: Any, **options: Any) -> CheckedResponse:
        """Send the query's parameters in the body: the names of 100 releases do not fit into every proxy's idea of
        a URL."""
        started = self._monotonic()
        outcome = "error"
        try:
            answer = self._ask(method, url, options["params"], started + self._timeout_seconds)
            outcome = "success"
            return answer
        finally:
            QUERIES.labels(provider=self._provider, outcome=outcome).inc()
            QUERY_SECONDS.labels(provider=self._provider).observe(self._monotonic() - started)

    def _ask(self, method: Any, url: Any, parameters: Any, deadline: float) -> CheckedResponse:
        headers = self._credentials.authorization()
        self._let_go_of_old_connections()
        try:
            response = super().request(
                method,
                url,
                data=parameters,
                headers=headers,
                verify=self.verify,
                timeout=self._timeout_seconds,
                allow_redirects=False,
                stream=True,
            )
            with response:
                return CheckedResponse(self._checked(response, deadline))
        except requests.RequestException as error:
            raise MetricsUnavailable(f"Prometheus {urlsplit(url).netloc} could not be asked: {_why(error)}.") from error
        except OSError as error:  # a certificate file that cannot be used
            raise MetricsUnavailable(f"The certificates for Prometheus cannot be used: {error}") from error

    def _let_go_of_old_connections(self) -> None:
        """Certificates are read when a connection is made; queries that are running end on the one that they have."""
        with self._changing:
            stamp = self._credentials.stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                for adapter in self.adapters.values():
                    adapter.close()

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


def _why(error: requests.RequestException) -> str:
    """What is at the bottom of the libraries' wrappings, which name their own objects and addresses in memory."""
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    root: BaseException = error
    while (inner := root.__cause__ or root.__context__) is not None:
        root = inner
    said = getattr(root, "verify_message", "") or getattr(root, "strerror", "") or str(root)
    return f"{type(root).__name__}: {said}"


def _payload(body: bytes, status: int) -> dict[str, Any]:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        start = body[:80].decode("utf-8", errors="replace")
        raise MetricsUnavailable(f"HTTP status {status} and no JSON object: {start!r}. Is this address a Prometheus?")
    return payload
