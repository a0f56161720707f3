"""Every query of the dashboards, asked of a real Prometheus that has scraped the operator's metrics."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

from contract.prometheus_process import prometheus
from modelrelease import telemetry
from modelrelease.api.status import Phase
from modelrelease.census import Entry
from modelrelease.cli.dashboards import OVERVIEW, RELEASE, Dashboard, dashboard_json
from modelrelease.ports import Key
from simulation.world import NAME, NAMESPACE, World

DASHBOARDS = (OVERVIEW, RELEASE)
QUERIES = [
    (dashboard, panel.title, query.expression)
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    for query in panel.queries
]
VARIABLES = {"job": "proxies", "release_namespace": NAMESPACE, "release": NAME, "__rate_interval": "1m"}


class Operator:
    """Serves the metrics of this process, in which a simulated release is under way."""

    pod = "modelrelease-operator-0"

    def __init__(self) -> None:
        scrapes: list[float] = []
        self.scrapes = scrapes

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scrapes.append(time.monotonic())
                body = generate_latest(REGISTRY)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Scrapes are no news."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


async def _simulate() -> World:
    """A release that succeeded, and another one that is under way."""
    world = World()
    world.deploy_stable()
    await world.run(60)
    world.apply()
    await world.run(900, until=lambda one: bool(one.status.history) and one.status.phase.is_at_rest)
    world.apply("harbor.example.com/vision/yolov8-detect:v1.2.0")
    await world.run(300, until=lambda one: one.weight == 20)
    await world.run(10)
    return world


def _count_requests() -> None:
    """What fakes stand for in the simulation: the API server, Prometheus and the workers, each with one answer."""
    telemetry.LEADER.set(1)
    telemetry.EVENTS.labels(type="Normal", reason="StepStarted").inc()
    telemetry.RECONCILE_SECONDS.observe(0.02)
    telemetry.RECONCILE_ERRORS.labels(kind="Conflict").inc()
    for code in ("200", "409"):
        telemetry.API_REQUESTS.labels(verb="PUT", resource="virtualservices", code=code).inc()
    telemetry.API_SECONDS.labels(verb="PUT").observe(0.01)
    telemetry.QUERIES.labels(provider="default", outcome="success").inc()
    telemetry.QUERY_SECONDS.labels(provider="default").observe(0.03)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has scraped the operator several times."""
    world = asyncio.run(_simulate())
    world.census.note(Key(NAMESPACE, "stalled"), Entry(Phase.PROGRESSING, "RouteMissing"))
    _count_requests()
    REGISTRY.register(world.census)
    operator = Operator()
    try:
        with prometheus(tmp_path_factory.mktemp("prometheus"), [operator]) as url:
            end = time.monotonic() + 60
            while len(operator.scrapes) < 5:
                assert time.monotonic() < end, "prometheus does not scrape"
                time.sleep(0.1)
            yield url
    finally:
        operator.close()
        REGISTRY.unregister(world.census)


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    """The series that it answers with; a query that it cannot read raises HTTPError."""
    for name, value in VARIABLES.items():
        expression = re.sub(rf"\$\{{?{name}\b\}}?", value, expression)
    assert "$" not in expression
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as response:  # noqa: S310 - our own process
        found: list[dict[str, Any]] = json.load(response)["data"]["result"]
    return found


@pytest.mark.parametrize(
    ("dashboard", "title", "expression"),
    QUERIES,
    ids=[f"{one.uid}-{title}-{number}" for number, (one, title, _) in enumerate(QUERIES)],
)
def test_a_query_is_answered_with_series(address: str, dashboard: Dashboard, title: str, expression: str) -> None:
    assert ask(address, expression), f"{dashboard.title}: {title}"


@pytest.mark.parametrize(
    ("name", "query"), sorted({variable for dashboard in DASHBOARDS for variable in dashboard.variables})
)
def test_a_variable_has_values(address: str, name: str, query: str) -> None:
    selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()  # type: ignore[union-attr]
    assert VARIABLES[name] in {each["metric"][label] for each in ask(address, selector)}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)
def test_panels_lie_side_by_side_and_use_the_source_that_is_chosen(dashboard: Dashboard) -> None:
    document = json.loads(dashboard_json(dashboard))
    taken = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + 8)}
        assert set() == cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert {"${datasource}"} == {target["datasource"]["uid"] for target in panel["targets"]}
