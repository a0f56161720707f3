"""The port `Metrics`, kept with one Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from modelrelease.adapters.prometheus.answers import read_answer
from modelrelease.adapters.prometheus.credentials import Credentials
from modelrelease.adapters.prometheus.selectors import Question, pods_question, questions
from modelrelease.adapters.prometheus.session import GuardedSession
from modelrelease.adapters.prometheus.sources import INFERENCE, ISTIO, SourceDefinition
from modelrelease.errors import MetricsUnavailable
from modelrelease.judge import Series
from modelrelease.ports import Key, Samples, Watched

_RELEASES_PER_QUERY = 100
_THREADS = 4


def _default_sources() -> dict[str, SourceDefinition]:
    return {"Istio": ISTIO, "Inference": INFERENCE}


@dataclass(frozen=True, slots=True)
class Provider:
    """A Prometheus of the operator's configuration.

    name: what `spec.analysis.provider` says.
    url: the address that `/api/v1/query` comes after.
    scrape_interval_seconds: how often it scrapes the sources.
    credentials: how the operator shows itself, and whom it trusts.
    sources: what `spec.analysis.source` may say.
    cluster_domain: last part of the hosts in `destination_service`.
    timeout_seconds: per query, connecting and reading included.
    limit_bytes: largest answer that is read.
    """

    name: str
    url: str
    scrape_interval_seconds: float = 15.0
    credentials: Credentials = field(default_factory=Credentials)
    sources: Mapping[str, SourceDefinition] = field(default_factory=_default_sources)
    cluster_domain: str = "cluster.local"
    timeout_seconds: float = 5.0
    limit_bytes: int = 64 * 1024 * 1024


class PrometheusMetrics:
    """Implements `ports.Metrics`.

    The client library blocks; it runs in a few threads of its own, so that a Prometheus that hangs holds up nothing
    but its own queries. A thread is bound by the session's timeouts and ends by itself.
    """

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.scrape_interval_seconds = provider.scrape_interval_seconds
        session = GuardedSession(
            timeout_seconds=provider.timeout_seconds,
            limit_bytes=provider.limit_bytes,
            credentials=provider.credentials,
            provider=provider.name,
        )
        self._client = PrometheusConnect(
            url=provider.url.rstrip("/"), session=session, retry=Retry(total=0), method="POST"
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"prometheus-{provider.name}")

    def close(self) -> None:
        """Let go of connections and threads; a query that is running ends by its own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def query(
        self, watched: Mapping[Key, Watched], *, start_seconds: float, end_seconds: float
    ) -> Mapping[Key, Samples]:
        """A release whose source is not defined gets no samples: its owner is told elsewhere, and the others go on."""
        samples = {key: Samples((), None) for key in watched}
        for answer in await self._ask_all(self._questions(watched), start_seconds, end_seconds):
            samples.update(answer)
        return samples

    async def query_pods(
        self, watched: Watched, *, start_seconds: float, end_seconds: float
    ) -> Mapping[str, tuple[Series, ...]]:
        definition = self.provider.sources.get(watched.source)
        question = definition and pods_question(definition, watched, domain=self.provider.cluster_domain)
        found: dict[str, list[Series]] = {}
        for answer in await self._ask_all([question] if question else [], start_seconds, end_seconds):
            for samples in answer.values():
                for series in samples.series:
                    found.setdefault(series.target, []).append(series)
        return {target: tuple(series) for target, series in found.items()}

    async def _ask_all(self, asked: Sequence[Question], start: float, end: float) -> list[dict[Key, Samples]]:
        loop = asyncio.get_running_loop()
        answers = [loop.run_in_executor(self._threads, self._ask, question, start, end) for question in asked]
        rounds = -(-len(answers) // _THREADS)
        try:
            async with asyncio.timeout(2 * self.provider.timeout_seconds * max(rounds, 1)):
                return await asyncio.gather(*answers)
        except TimeoutError as error:
            raise MetricsUnavailable("Prometheus did not answer in time.") from error

    def _questions(self, watched: Mapping[Key, Watched]) -> list[Question]:
        return [
            question
            for source, definition in sorted(self.provider.sources.items())
            for question in questions(
                definition,
                {key: one for key, one in watched.items() if one.source == source},
                domain=self.provider.cluster_domain,
                releases_per_query=_RELEASES_PER_QUERY,
            )
        ]

    def _ask(self, question: Question, start_seconds: float, end_seconds: float) -> dict[Key, Samples]:
        """One instant query of raw samples. Runs in a thread, the reading of its answer included."""
        try:
            result: object = self._client.custom_query(
                question.expression(start_seconds, end_seconds),
                params={"time": f"{end_seconds:.3f}", "timeout": f"{self.provider.timeout_seconds:g}s"},
            )
        except PrometheusApiClientException as error:
            raise MetricsUnavailable(f"Prometheus refused the query: {error}") from error
        return read_answer(question, result, start_seconds=start_seconds, end_seconds=end_seconds)
