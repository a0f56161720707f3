"""The whole cluster, as a person uses it: build an image, run pods, send requests, read the metrics."""

from __future__ import annotations

import http.client
import json
import signal
import string
import time
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localcluster.cluster import Cluster
from localcluster.image_source import Build
from localcluster.part import wait_until
from localcluster.ports import GATEWAY
from localcluster.progress import Silent
from localcluster.supervision import State

pytestmark = pytest.mark.e2e

ECHO = Path(__file__).with_name("echo")
IMAGE = "registry.example.com/test/echo:v1"
REQUESTS = 300
_SETTLING_SECONDS = 3

INSIDE = """
import ssl, urllib.request as web
from pathlib import Path
keys = Path("/var/run/secrets/kubernetes.io/serviceaccount")
def get(url, **extra):
    trust = ssl.create_default_context(cafile=keys / "ca.crt")
    request = web.Request(url, headers={"Authorization": "Bearer " + (keys / "token").read_text()})
    return web.urlopen(request, timeout=5, context=trust if url.startswith("https") else None).read().decode()
print("v1" in get("https://kubernetes.default/api"), "v1" in get("https://10.96.0.1/api"))
print(get("http://prometheus.istio-system:9090/-/ready").strip(), get("http://canary/"))
"""


@dataclass(frozen=True, slots=True)
class Echo:
    """Two Deployments behind one route, 80 to 20."""

    cluster: Cluster
    namespace: str
    digest: str

    def ask(self, count: int) -> Counter[str]:
        """Who answered how often, through the gateway."""
        connection = http.client.HTTPConnection(GATEWAY.address, GATEWAY.port, timeout=5)
        answers: Counter[str] = Counter()
        for _ in range(count):
            connection.request("GET", "/", headers={"Host": f"{self.namespace}.example.com"})
            answer = connection.getresponse()
            answers[f"{answer.read().decode()} {answer.status}"] += 1
        connection.close()
        return answers

    def metric(self, query: str, label: str) -> dict[str, float]:
        """The result of an instant query by one label."""
        url = f"{self.cluster.prometheus_url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - an address of this machine
            rows = json.load(answer)["data"]["result"]
        return {row["metric"].get(label, ""): float(row["value"][1]) for row in rows}

    def settled_requests(self) -> dict[str, float]:
        """Requests per Service, once nothing more arrives: Envoy flushes and Prometheus scrapes each second."""
        selected = f'{{destination_service_namespace="{self.namespace}"}}'
        query = f"sum by (destination_service_name) (istio_requests_total{selected})"
        seen = self.metric(query, "destination_service_name")
        for _ in range(10):
            time.sleep(_SETTLING_SECONDS)
            now = self.metric(query, "destination_service_name")
            if now == seen and now.keys() == {"stable", "canary"}:
                return now
            seen = now
        raise AssertionError(f"the number of requests does not come to rest: {seen}")

    def pod_exec(self, deployment: str, code: str) -> str:
        """Run Python in a pod."""
        return self.cluster.kubectl(
            "exec", "--namespace", self.namespace, f"deployment/{deployment}", "--", "python3", "-c", code
        )


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    cluster = Cluster()
    cluster.up()
    digest = cluster.build_image(Build(IMAGE, ECHO, ECHO / "Dockerfile"))
    namespace = f"echo-{uuid.uuid4().hex[:8]}"
    manifests = string.Template((ECHO / "pods.yaml").read_text(encoding="utf-8")).substitute(namespace=namespace)
    for name in ("stable", "canary"):
        arm = string.Template((ECHO / "arm.yaml").read_text(encoding="utf-8"))
        manifests += arm.substitute(namespace=namespace, name=name, image=IMAGE)
    cluster.access.apply(manifests)
    try:
        for name in ("stable", "canary"):
            cluster.kubectl(
                "rollout", "status", f"deployment/{name}", "--namespace", namespace, "--timeout=60s", timeout_seconds=70
            )
        started = Echo(cluster, namespace, digest)
        assert wait_until(lambda: set(started.ask(20)) <= {"stable 200", "canary 200"}, 20)
        yield started
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--timeout=60s", timeout_seconds=70)


def test_traffic_is_split_by_weight_and_counted_to_the_request(echo: Echo) -> None:
    before = echo.settled_requests()

    answers = echo.ask(REQUESTS)

    after = echo.settled_requests()
    assert {f"{name} 200": after[name] - before[name] for name in after} == dict(answers)
    assert 0.10 <= answers["canary 200"] / REQUESTS <= 0.30


def test_times_are_measured_under_istios_name(echo: Echo) -> None:
    echo.ask(10)
    selected = f'{{le="+Inf",destination_service_namespace="{echo.namespace}"}}'
    query = f"sum by (destination_service_name) (istio_request_duration_milliseconds_bucket{selected})"

    assert wait_until(
        lambda: echo.metric(query, "destination_service_name").get("stable", 0) > 0, 10, pause_seconds=0.5
    )


def test_pods_are_scraped_by_their_annotations(echo: Echo) -> None:
    query = f'echo_up{{namespace="{echo.namespace}"}}'

    assert wait_until(lambda: set(echo.metric(query, "app")) == {"stable", "canary"}, 20, pause_seconds=0.5)


def test_a_pod_reaches_api_server_prometheus_and_other_services_by_name(echo: Echo) -> None:
    assert echo.pod_exec("stable", INSIDE) == "True True\nPrometheus Server is Ready. canary\n"


def test_a_pod_reports_the_digest_of_its_image(echo: Echo) -> None:
    path = "{.items[0].status.containerStatuses[0].imageID}"

    said = echo.cluster.kubectl("get", "pods", "--namespace", echo.namespace, f"--output=jsonpath={path}")

    assert said == f"{IMAGE.rpartition(':')[0]}@{echo.digest}"


def test_an_image_that_did_not_change_is_not_built_again(echo: Echo) -> None:
    archives = {path: path.stat().st_mtime_ns for path in echo.cluster.cache.images.iterdir()}

    assert echo.cluster.build_image(Build(IMAGE, ECHO, ECHO / "Dockerfile")) == echo.digest
    assert {path: path.stat().st_mtime_ns for path in echo.cluster.cache.images.iterdir()} == archives


def test_a_killed_part_comes_back_with_the_next_up(echo: Echo) -> None:
    others = {row.name: row.pid for row in echo.cluster.status() if row.name != "kube-scheduler"}
    first = echo.cluster.pid("kube-scheduler")
    assert echo.cluster.send("kube-scheduler", signal.SIGKILL) is True

    echo.cluster.up(Silent())

    assert echo.cluster.pid("kube-scheduler") not in {None, first}
    assert {row.name: row.pid for row in echo.cluster.status() if row.name != "kube-scheduler"} == others
    assert {row.state for row in echo.cluster.status()} == {State.READY}
